"""Telemetry and results in DuckDB, and the report made from them."""
