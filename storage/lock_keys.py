"""The advisory locks of a store, each its own: two that were one would keep each other out."""

_BASE = 0x6F74_6C70_0000  # "otlp"

(
    PARTITIONS,
    MIGRATIONS,  # and the grants that follow them
    DIGESTS,
    TURN,
    RETENTION,
    SEALING,
    COLD,
) = range(_BASE + 1, _BASE + 8)
# _BASE + 10 is the counts', in SQL: alembic/versions/0014 and 0035.
