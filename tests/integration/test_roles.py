"""What the writer and the reader may do, and every kind of statement that each is refused."""

import time
from collections.abc import Callable
from datetime import UTC, datetime

import psycopg
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from storage import migrate, models, partitions, roles, tokens
from storage.config import StorageConfig
from storage.engine import read_engine, write_engine
from storage.errors import PermanentStoreError
from storage.filters import LogQuery
from storage.reader import Reader
from storage.sink import PostgresSink
from tests.factories import batch_of, log_row

PASSWORDS = {roles.WRITER: "w" * 20, roles.READER: "r" * 20, roles.ERASER: "e" * 20, roles.SQL: "s" * 20}
PARTITION = partitions.partition_name("log_records", int(time.time() // 86_400))

# SQLSTATE 42501 insufficient_privilege unless said otherwise.
FORBIDDEN_TO_BOTH = [
    "DELETE FROM log_records",
    "UPDATE log_records SET component = 'x'",
    "TRUNCATE log_records",
    "DROP TABLE log_records",
    f"DROP TABLE {PARTITION}",
    f"DELETE FROM {PARTITION}",  # noqa: S608
    f"ALTER TABLE log_records DETACH PARTITION {PARTITION}",
    "ALTER TABLE log_records DISABLE TRIGGER ALL",
    "DELETE FROM spans",
    "DELETE FROM metric_points",
    "DELETE FROM resources",
    "UPDATE resources SET component = 'x'",
    "SELECT token_hash FROM tokens",
    "SELECT name FROM tokens",
    "INSERT INTO tokens (name, role, token_hash) VALUES ('x', 'admin', 'x')",
    "UPDATE tokens SET role = 'admin'",
    "DELETE FROM audit_log",
    "UPDATE audit_log SET caller = 'x'",
    "UPDATE alembic_version SET version_num = '0'",
    "CREATE TABLE mine (x int)",
    "CREATE TEMP TABLE mine (x int)",
    "CREATE SCHEMA mine",
    "CREATE FUNCTION mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "CREATE ROLE mine",
    "CREATE EXTENSION dblink",
    "CREATE SERVER mine FOREIGN DATA WRAPPER mine",
    "ALTER ROLE otel_ingest_writer SUPERUSER",
    "ALTER SYSTEM SET fsync = off",
    "SET ROLE otel_ingest",
    "SET session_replication_role = replica",
    "COPY log_records TO '/tmp/otel-ingest-stolen'",
    "COPY resources FROM PROGRAM 'echo 1'",
    "COPY (SELECT 1) TO PROGRAM 'cat'",
    "SELECT pg_read_file('postgresql.conf')",
    "SELECT pg_ls_dir('.')",
    "SELECT rolpassword FROM pg_authid",
    "SELECT lo_from_bytea(0, 'x')",
    "SELECT lo_create(0)",
    "SELECT pg_reload_conf()",
]
FORBIDDEN = {
    roles.WRITER: [
        *FORBIDDEN_TO_BOTH,
        "SELECT * FROM log_records",
        f"SELECT * FROM {PARTITION}",  # noqa: S608
        "COPY log_records TO STDOUT",
        "SELECT component FROM resources",
        "SELECT otel_ingest_make_partition('tokens', '2020-01-01')",
        "SELECT otel_ingest_make_partition('resources; DROP TABLE tokens', '2020-01-01')",
        "SELECT otel_ingest_make_partition('tokens', '2020-01-01 00:00+00', '2020-01-02 00:00+00')",
        "UPDATE time_partitions SET period = 'hour'",
        "DELETE FROM retention_rules",
        "INSERT INTO retention_rules (signal, keep_s, reason, set_by) VALUES ('logs', 1, '', '')",
    ],
    roles.ERASER: [
        *(
            statement
            for statement in FORBIDDEN_TO_BOTH
            if not statement.startswith("DELETE FROM") or "audit" in statement
        ),
        "DELETE FROM resources",
        "SELECT * FROM audit_log",
        "TRUNCATE audit_log",
        "INSERT INTO log_records (time) VALUES (now())",
        "UPDATE spans SET name = 'x'",
        "SELECT component FROM resources",
        "SELECT * FROM otel_ingest_find_token('x')",
        "SELECT otel_ingest_make_partition('log_records', '2020-01-01')",
        "SELECT * FROM level_overrides",
    ],
    roles.READER: [
        *FORBIDDEN_TO_BOTH,
        "INSERT INTO resources VALUES (gen_random_uuid(), 'x', '{}', 0, '')",
        "COPY scopes FROM STDIN",
        f"INSERT INTO {PARTITION} SELECT * FROM log_records",  # noqa: S608
        "SELECT nextval('log_records_id_seq')",
        "SELECT * FROM request_digests_0",
        "SELECT otel_ingest_make_partition('log_records', '2020-01-01')",
        "SELECT otel_ingest_make_partition('log_records', '2020-01-01 00:00+00', '2020-01-02 00:00+00')",
        "SELECT * FROM otel_ingest_find_token('x')",
        "SELECT otel_ingest_touch_tokens('{1}')",
        "SELECT pg_advisory_lock(1)",
        "SELECT pg_try_advisory_xact_lock(1)",
        "DO $$ BEGIN LOCK TABLE log_records IN ACCESS EXCLUSIVE MODE; END $$",
    ],
    roles.SQL: [
        *FORBIDDEN_TO_BOTH,
        "SELECT * FROM log_records",
        f"SELECT * FROM {PARTITION}",  # noqa: S608
        "SELECT * FROM resources",
        "SELECT * FROM packed_blocks",
        "SELECT * FROM otel_red(now(), now())",
        "SELECT * FROM audit_log",
        "INSERT INTO audit_log DEFAULT VALUES",
        "SELECT * FROM otel_ingest_find_token('x')",
        "SELECT pg_advisory_lock(1)",
        "SET ROLE otel_ingest_reader",
        "SET temp_file_limit = -1",
        "COPY otel_logs TO PROGRAM 'cat'",
    ],
}


@pytest.fixture
async def as_role(engine: AsyncEngine, database_url: str) -> Callable[[str], str]:
    """Return the URL for a role, on a database with today's partitions and the roles' rights."""
    await partitions.maintain(engine, datetime.now(UTC), ahead=1)
    await roles.grant(database_url, PASSWORDS)
    return lambda role: roles.url_as(database_url, role, PASSWORDS[role])


def libpq(url: str) -> str:
    """Return a URL that psycopg takes."""
    return url.replace("+psycopg", "")


@pytest.mark.parametrize("role", list(roles.TABLES_OF))
def test_what_each_role_is_refused(as_role: Callable[[str], str], role: str) -> None:
    """Every statement of the list, in a session without limits of its own: refused for want of the right."""
    allowed = []
    with psycopg.connect(libpq(as_role(role)), autocommit=True) as connection:
        connection.execute("SELECT set_config('default_transaction_read_only', 'off', false)")
        for statement in FORBIDDEN[role]:
            try:
                connection.execute(statement.encode())
            except psycopg.Error as error:
                if error.sqlstate not in {"42501", "42704"}:  # 42704: the foreign data wrapper itself is not there
                    allowed.append((statement, error.sqlstate, str(error)))
            else:
                allowed.append((statement, "", "done"))

    assert not allowed


async def test_the_writer_stores_and_the_reader_finds(as_role: Callable[[str], str]) -> None:
    """What they are for works with their rights: rows of a day without a partition, tokens, a search."""
    writing = write_engine(StorageConfig(as_role(roles.WRITER)))
    reading = read_engine(StorageConfig(as_role(roles.READER)))
    now = time.time_ns() // 1000
    old = now - 400 * 86_400 * 10**6
    await PostgresSink(writing).write([batch_of([log_row(time=t, body="seen") for t in (now, old)])])
    page = await Reader(reading).find_logs(LogQuery(text="seen", limit=10))
    info = await Reader(reading).store_info()
    assert await tokens.verify(writing, "oti_read_" + "x" * 43) is None
    await writing.dispose()
    await reading.dispose()

    assert len(page.items) == 2
    assert info.partitions["log_records"] >= 4


async def test_tokens_are_checked_by_the_writer(as_role: Callable[[str], str], engine: AsyncEngine) -> None:
    """It can ask for one by its hash and note its use; it cannot list them."""
    plaintext, made = await tokens.create(engine, "agent", "read")
    writing = write_engine(StorageConfig(as_role(roles.WRITER)))

    found = await tokens.verify(writing, plaintext)
    assert found is not None
    assert found.id == made.id
    assert (await tokens.list_tokens(engine))[0].last_used_at is not None
    with pytest.raises(PermanentStoreError, match="42501"):
        await tokens.list_tokens(writing)
    await writing.dispose()


def test_the_reader_has_limits_of_its_own(as_role: Callable[[str], str]) -> None:
    """Read only, with a time limit and little memory, before any client asks for it."""
    with psycopg.connect(libpq(as_role(roles.READER))) as connection:
        shown = [
            connection.execute(f"SHOW {name}".encode()).fetchone()
            for name in ("transaction_read_only", "statement_timeout", "work_mem")
        ]

    assert shown == [("on",), ("30s",), ("16MB",)]


async def test_one_url_takes_on_the_roles(as_role: Callable[[str], str], database_url: str) -> None:
    """The owner's URL with SET ROLE: the reader's engine cannot write though its user could."""
    as_role(roles.READER)
    assert await roles.usable(database_url) == {role: role for role in roles.TABLES_OF}

    reading = read_engine(StorageConfig(database_url, role=roles.READER))
    async with reading.connect() as connection:
        who = (await connection.exec_driver_sql("SELECT current_user, session_user")).one()
    await reading.dispose()
    assert tuple(who) == (roles.READER, "otel_ingest")


async def test_without_rights_the_roles_are_not_taken_on(database_url: str) -> None:
    """Another database of the same cluster, where nothing was granted: the one user does all, as before."""
    assert await roles.usable(database_url) == dict.fromkeys(roles.TABLES_OF)


async def test_granting_again_changes_nothing(as_role: Callable[[str], str], database_url: str) -> None:
    """Grants follow every migration; the schema check stays clean beside them, downgrade and upgrade work."""
    as_role(roles.WRITER)
    await roles.grant(database_url)
    await roles.grant(database_url)
    assert await roles.missing(as_role(roles.WRITER), roles.WRITER) == []
    assert await roles.missing(as_role(roles.READER), roles.READER) == []
    assert await roles.missing(as_role(roles.ERASER), roles.ERASER) == []

    await migrate.check(database_url)
    await migrate.downgrade(database_url, "0004")
    await migrate.upgrade(database_url)
    assert await roles.missing(as_role(roles.WRITER), roles.WRITER) == [
        "INSERT on log_count_deltas",
        "INSERT on span_count_deltas",
        "INSERT on span_detail_deltas",
        "SELECT on time_partitions",
        "SELECT on retention_rules",
        "EXECUTE on otel_ingest_make_partition(text, date)",
        "EXECUTE on otel_ingest_make_partition(text, timestamptz, timestamptz)",
        "EXECUTE on otel_ingest_compact_counts()",
        "EXECUTE on otel_ingest_compact_spans()",
        "EXECUTE on otel_ingest_catch_up_spans()",
        "EXECUTE on otel_ingest_find_token(bytea)",
        "EXECUTE on otel_ingest_touch_tokens(bigint[])",
    ]


def test_every_table_has_its_rights_decided() -> None:
    """A new table stands in both lists, with or without rights."""
    known = {*models.metadata.tables, "alembic_version"}

    assert set(roles.WRITER_TABLES) == known
    assert set(roles.READER_TABLES) == known
    assert set(roles.ERASER_TABLES) == known


async def test_the_script_can_be_run_by_hand(database_url: str) -> None:
    """``migrate --print-roles``: one statement after the other, as psql runs them."""
    script = await roles.script(database_url)
    with psycopg.connect(libpq(database_url), autocommit=True) as connection:
        connection.execute((";\n".join(script) + ";").encode())

    assert await roles.usable(database_url) == {role: role for role in roles.TABLES_OF}
