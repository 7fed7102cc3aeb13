"""The way to PostgreSQL for each of the three roles: from settings, or from the data directory of an embedded one."""

from dataclasses import dataclass, field
from importlib.util import find_spec

import structlog

from otel_ingest.config import Settings
from storage import embedded, roles
from storage.config import StorageConfig
from storage.errors import PermanentStoreError, RetryableStoreError

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Access:
    """A URL for each role. ``owner``: None where this process may not migrate or make tokens.

    ``write_role`` and ``read_role``: taken on with SET ROLE, where one URL serves for all.
    """

    owner: str | None = field(repr=False)
    write: str = field(repr=False)
    read: str = field(repr=False)
    write_role: str | None = None
    read_role: str | None = None
    erase: str | None = field(default=None, repr=False)
    """Where logger_clear deletes; None: nowhere."""
    erase_role: str | None = None
    sql: str | None = field(default=None, repr=False)
    """Where logger_sql asks; None: nowhere. Never the owner's with SET ROLE, which a statement could undo."""

    def writing(self, settings: Settings) -> StorageConfig:
        """Return the configuration of the write side."""
        return _config(settings, self.write, self.write_role)

    def reading(self, settings: Settings) -> StorageConfig:
        """Return the configuration of the read side."""
        return _config(settings, self.read, self.read_role)

    def erasing(self, settings: Settings) -> StorageConfig | None:
        """Return the configuration of deletion on demand; None where there is no way to do it."""
        return _config(settings, self.erase, self.erase_role) if self.erase is not None else None

    def asking(self, settings: Settings) -> StorageConfig | None:
        """Return the configuration of logger_sql; None where it is switched off.

        Raises PermanentStoreError where it is on and there is no parser or no login for it.
        """
        if not settings.sql_tool:
            return None
        if find_spec("pgparse") is None:
            raise PermanentStoreError("OTEL_INGEST_SQL_TOOL needs an extra: pip install 'otel-ingest[sql]'")
        if self.sql is None:
            raise PermanentStoreError(
                "OTEL_INGEST_SQL_TOOL needs OTEL_INGEST_DATABASE_SQL_URL, the URL of a login that is the role "
                f"{roles.SQL}; `otel-ingest migrate --roles` makes it one"
            )
        return _config(settings, self.sql, None)

    def owning(self, settings: Settings) -> StorageConfig:
        """Return the configuration of the owner. Raises PermanentStoreError where there is none."""
        if self.owner is None:
            raise PermanentStoreError(
                "this needs the owner of the schema: set OTEL_INGEST_DATABASE_URL to its URL for this command"
            )
        return _config(settings, self.owner, None)


def _config(settings: Settings, url: str, role: str | None) -> StorageConfig:
    return StorageConfig(
        url=url,
        role=role,
        writers=settings.writers,
        readers=settings.readers,
        read_timeout_s=settings.read_timeout_s,
        cold_url=settings.cold_url,
    )


async def running(settings: Settings) -> Access:
    """Return the way to the configured PostgreSQL, or to the embedded one that is running. Raises StoreError."""
    if settings.is_external:
        return await external(settings)
    return Access(
        embedded.connection_url(settings.data_dir),
        embedded.role_url(settings.data_dir, roles.WRITER),
        embedded.role_url(settings.data_dir, roles.READER),
        erase=embedded.role_url(settings.data_dir, roles.ERASER),
        sql=embedded.role_url(settings.data_dir, roles.SQL),
    )


async def external(settings: Settings) -> Access:
    """Return the way to a PostgreSQL of one's own; one URL alone takes on the roles it may. Raises StoreError."""
    owner, write, read, erase, sql = (
        None if secret is None else secret.get_secret_value()
        for secret in (
            settings.database_url,
            settings.database_write_url,
            settings.database_read_url,
            settings.database_erase_url,
            settings.database_sql_url,
        )
    )
    fallback = owner or write
    if fallback is None:
        raise PermanentStoreError("OTEL_INGEST_DATABASE_READ_URL alone cannot store anything; set the write URL too")
    taken: dict[str, str | None] = {}
    if owner is not None and None in (write, read, erase):
        try:
            taken = await roles.usable(owner)
        except RetryableStoreError as error:
            _log.warning("the roles of the database cannot be looked for now; one user does all", reason=str(error))
    return Access(
        owner,
        write or fallback,
        read or fallback,
        taken.get(roles.WRITER) if write is None else None,
        taken.get(roles.READER) if read is None else None,
        erase or owner,
        taken.get(roles.ERASER) if erase is None else None,
        sql=sql,
    )
