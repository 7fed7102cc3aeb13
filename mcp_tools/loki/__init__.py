"""Loki's query API over the same store: LogQL -> tree -> questions -> Loki's JSON (docs/grafana.md)."""
