"""The demo's services: ordinary code, without a line of OpenTelemetry."""
