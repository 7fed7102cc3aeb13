"""Configuration of the store, as code passes it; the settings a user writes are in the composition root."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class StorageConfig:
    """Where PostgreSQL is and how much of it is used."""

    url: str = field(repr=False)
    """postgresql://…; never shown, it may hold a password."""
    writers: int = 2
    """Connections that COPY at the same time, and one more for upkeep."""
    readers: int = 4
    """Connections for reading at the same time."""
    read_timeout_s: float = 10.0
    """Seconds one read statement may take."""
    connect_timeout_s: int = 5
    """Seconds to wait for a connection: half of what the SDKs wait for an answer."""
    write_timeout_s: float = 60.0
    """Seconds one write statement may take before PostgreSQL is taken for stuck."""
