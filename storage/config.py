"""Configuration of the store, as code passes it; the settings a user writes are in the composition root."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Windows:
    """How long a request that comes again is known, in seconds; see ``storage.digests`` for the periods.

    Windows may differ between receivers of one database, the periods must not. A window is at most its period.
    """

    unnamed_s: float = 15 * 60
    """Requests known by their content."""
    named_s: float = 48 * 3600
    """Requests that their sender named."""
    unnamed_period_s: float = 3600
    named_period_s: float = 4 * 86_400


@dataclass(frozen=True, slots=True)
class StorageConfig:
    """Where PostgreSQL is and how much of it is used."""

    url: str = field(repr=False)
    """postgresql://…; never shown, it may hold a password."""
    role: str | None = None
    """A role that each connection takes on; None: the one of the URL."""
    writers: int = 2
    """Connections that COPY at the same time; four more are for upkeep, counts, tokens and new days."""
    readers: int = 4
    """Connections for reading at the same time."""
    read_timeout_s: float = 10.0
    """Seconds one read statement may take."""
    sql_timeout_s: float = 5.0
    """Seconds a statement of logger_sql may take: less than a question of ours, for nobody planned it."""
    connect_timeout_s: int = 5
    """Seconds to wait for a connection: half of what the SDKs wait for an answer."""
    write_timeout_s: float = 60.0
    """Seconds one write statement may take before PostgreSQL is taken for stuck."""
    lock_timeout_s: float = 1.0
    """Seconds a write waits for a lock: another receiver stores the same request, or somebody changes a table."""
    cold_url: str = ""
    """Where cold files are: a directory, or a URL that fsspec knows; empty: nowhere."""
