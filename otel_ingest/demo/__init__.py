"""The demo: three small services, and one whole trace of theirs read back through MCP."""
