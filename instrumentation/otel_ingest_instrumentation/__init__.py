"""OpenTelemetry for an application by its environment alone; imports nothing else of the project."""
