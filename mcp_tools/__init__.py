"""The read side: questions in, answers out, through MCP, a JSON API and the terminal.

Despite its name this package holds all three doors, because they share the tool functions, the way arguments are
read, the errors and the rendering.
"""
