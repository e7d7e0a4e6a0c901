"""Where telemetry meets other tools: importers of their logs, and an exporter of ours to OpenTelemetry."""
