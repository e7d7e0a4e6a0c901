"""Hosts and wires: where a request goes and the form it has there."""
