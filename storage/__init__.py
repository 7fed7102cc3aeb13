"""The store: the one place of SQL, and the types that flow into and out of it.

In:  ``rows`` (what decode yields) -> ``batch`` (COPY bytes) -> ``sink`` (COPY, COMMIT) -> partitions.
Out: ``filters`` (questions) -> ``queries`` (SQL) -> ``views`` (answers).

``columns`` is the one list of columns that the row types, the tables and COPY are made from.
Nothing here imports ``otel_ingest``, ``mcp_tools`` or ``instrumentation``.
"""
