"""Five roles: the owner migrates and makes tokens; the writer adds; the reader looks; the eraser deletes; one runs SQL.

The writer cannot read or delete telemetry, nor list tokens; the reader can select telemetry and nothing else; the
eraser deletes telemetry and adds to the audit log, which it can neither read nor change; the role of logger_sql can
select from the documented views and nothing else. What a wrong statement could
do is thereby PostgreSQL's to refuse, not ours to avoid. Everything here is idempotent.
"""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import psycopg
from psycopg import sql

from storage import lock_keys
from storage.dberrors import translate
from storage.engine import psycopg_url, session_options
from storage.errors import PermanentStoreError
from storage.plain_sql.allowed import VIEWS

WRITER = "otel_ingest_writer"
READER = "otel_ingest_reader"
ERASER = "otel_ingest_eraser"
SQL = "otel_ingest_sql"
# A start waits for this while PostgreSQL answers nothing, and the senders wait for the start.
_CONNECT_TIMEOUT_S = 3

_TELEMETRY = ("log_records", "spans", "metric_points")
_DIGESTS = tuple(f"{ring}_{n}" for ring in ("request_digests", "batch_id_digests") for n in range(3))

# Every table stands here; a test holds this against the models.
WRITER_TABLES: Mapping[str, str] = {
    **dict.fromkeys(_TELEMETRY, "INSERT"),
    # Only ever added to; a function of the owner adds them up.
    "log_count_deltas": "INSERT",
    "span_count_deltas": "INSERT",
    "span_detail_deltas": "INSERT",
    "log_counts": "",
    "span_counts": "",
    **dict.fromkeys(("span_names", "span_times", "span_calls"), ""),
    # The owner packs, and writes cold files.
    "packed_blocks": "",
    "cold_files": "",
    "cold_chunks": "",
    # ON CONFLICT (id) reads the column it names.
    "resources": "SELECT (id), INSERT",
    "scopes": "SELECT (id), INSERT",
    # Claimed, looked up, noted, and emptied when their period is over.
    **dict.fromkeys(_DIGESTS, "SELECT, INSERT, UPDATE, TRUNCATE"),
    "spooled_requests": "SELECT, INSERT, DELETE",
    # Pruned by age, number and size; not read.
    "rejected_records": "SELECT (id,received_at,record_bytes), INSERT, DELETE",
    "level_overrides": "SELECT, INSERT, UPDATE, DELETE",
    "agents": "SELECT, INSERT, UPDATE, DELETE",
    # Only ever added to.
    "audit_log": "SELECT, INSERT",
    "clear_previews": "",
    "alembic_version": "SELECT",
    "time_partitions": "SELECT",
    "retention_rules": "SELECT",
    "tokens": "",
}
READER_TABLES: Mapping[str, str] = {
    **dict.fromkeys(_TELEMETRY, "SELECT"),
    **dict.fromkeys(("log_counts", "log_count_deltas", "span_counts", "span_count_deltas"), "SELECT"),
    **dict.fromkeys(("span_detail_deltas", "span_names", "span_times", "span_calls"), "SELECT"),
    "packed_blocks": "SELECT",
    "cold_files": "SELECT",
    "cold_chunks": "SELECT",
    "resources": "SELECT",
    "scopes": "SELECT",
    "rejected_records": "SELECT",
    **dict.fromkeys((*_DIGESTS, "spooled_requests", "level_overrides", "agents", "audit_log"), ""),
    "clear_previews": "",
    "alembic_version": "SELECT",
    "time_partitions": "SELECT",
    "retention_rules": "SELECT",
    "tokens": "",
}
ERASER_TABLES: Mapping[str, str] = {
    **dict.fromkeys(_TELEMETRY, "SELECT, DELETE"),
    # What is deleted is taken from the counts in its transaction.
    **dict.fromkeys(("log_count_deltas", "span_count_deltas", "span_detail_deltas"), "INSERT"),
    **dict.fromkeys(("log_counts", "span_counts", "span_names", "span_times", "span_calls"), ""),
    # Packed records are rows again before they go, and their block is written anew without them.
    **dict.fromkeys(_TELEMETRY, "SELECT, INSERT, DELETE"),
    "packed_blocks": "SELECT, INSERT, DELETE",
    # A chunk with such a record becomes blocks; its file is written anew by the owner.
    "cold_files": "SELECT",
    "cold_chunks": "SELECT, DELETE",
    **dict.fromkeys(("resources", "scopes", "rejected_records", *_DIGESTS, "spooled_requests"), ""),
    **dict.fromkeys(("level_overrides", "agents"), ""),
    "clear_previews": "SELECT, INSERT, UPDATE, DELETE",
    "audit_log": "INSERT",
    "alembic_version": "SELECT",
    "time_partitions": "SELECT",
    "retention_rules": "SELECT, INSERT, DELETE",
    "tokens": "",
}
SQL_VIEWS: Mapping[str, str] = dict.fromkeys(VIEWS, "SELECT")
TABLES_OF: Mapping[str, Mapping[str, str]] = {
    WRITER: WRITER_TABLES,
    READER: READER_TABLES,
    ERASER: ERASER_TABLES,
    SQL: SQL_VIEWS,
}
_WRITER_FUNCTIONS = (
    "otel_ingest_make_partition(text, date)",
    "otel_ingest_make_partition(text, timestamptz, timestamptz)",
    "otel_ingest_compact_counts()",
    "otel_ingest_compact_spans()",
    "otel_ingest_catch_up_spans()",
    "otel_ingest_find_token(bytea)",
    "otel_ingest_touch_tokens(bigint[])",
)
_SEQUENCES = tuple(f"{table}_id_seq" for table in _TELEMETRY)

# What PostgreSQL lets everybody do by default and no reader needs: large objects are writes, and an advisory lock can
# hold up partitions and migrations. Only a superuser can take them from PUBLIC.
_PUBLIC_FUNCTIONS = """
SELECT p.oid::regprocedure::text FROM pg_proc p
WHERE p.pronamespace = 'pg_catalog'::regnamespace
  AND (p.proname IN ('lo_create', 'lo_creat', 'lo_from_bytea', 'lo_put', 'lo_open', 'lo_unlink', 'lo_truncate',
                     'lo_truncate64', 'lowrite')
       OR p.proname LIKE 'pg\\_advisory\\_%' OR p.proname LIKE 'pg\\_try\\_advisory\\_%')
"""

# Second line, for a session that does not ask for less: limits of the login itself.
_READER_SETTINGS = {
    "default_transaction_read_only": "on",
    "statement_timeout": "30s",
    "idle_in_transaction_session_timeout": "60s",
    "lock_timeout": "5s",
    "work_mem": "16MB",
}
_LOGIN_CONNECTIONS_MAX = 20  # of one login for dashboards: a page of panels at once, never all that PostgreSQL has
_WRITER_SETTINGS = {"idle_in_transaction_session_timeout": "5min"}
# What a statement that somebody else wrote may take of the machine: no second process, little memory and time.
_SQL_SETTINGS = _READER_SETTINGS | {
    "statement_timeout": "10s",
    "idle_in_transaction_session_timeout": "15s",
    "lock_timeout": "1s",
    "max_parallel_workers_per_gather": "0",
    "jit": "off",
}
_TEMP_FILE_LIMIT = "256MB"  # of sorts and hashes on disk; only a superuser can bound it
_SETTINGS_OF = {WRITER: _WRITER_SETTINGS, READER: _READER_SETTINGS, ERASER: _WRITER_SETTINGS, SQL: _SQL_SETTINGS}
_SQL_CONNECTIONS_MAX = 8
_ALL = ", ".join(TABLES_OF)


def url_as(url: str, role: str, password: str) -> str:
    """PURE: return the URL of the same database for another user."""
    return psycopg_url(url).set(username=role, password=password).render_as_string(hide_password=False)


def statements(schema: str, database: str, *, superuser: bool) -> list[str]:
    """PURE: return what makes the roles and gives each its rights, in order: a script for the schema's owner."""
    script = [_create(role) for role in TABLES_OF]
    for role, settings in _SETTINGS_OF.items():
        script += [f"ALTER ROLE {role} SET {name} = '{value}'" for name, value in settings.items()]
    script.append(f"ALTER ROLE {SQL} NOINHERIT CONNECTION LIMIT {_SQL_CONNECTIONS_MAX}")
    script += [
        f"REVOKE CREATE ON SCHEMA {schema} FROM PUBLIC",
        f"REVOKE TEMPORARY ON DATABASE {database} FROM PUBLIC",
        f"REVOKE ALL ON ALL TABLES IN SCHEMA {schema} FROM {_ALL}",
        f"REVOKE ALL ON ALL SEQUENCES IN SCHEMA {schema} FROM {_ALL}",
        f"GRANT CONNECT ON DATABASE {database} TO {_ALL}",
        f"GRANT USAGE ON SCHEMA {schema} TO {_ALL}",
    ]
    for role, tables in TABLES_OF.items():
        script += [f"GRANT {rights} ON {schema}.{table} TO {role}" for table, rights in tables.items() if rights]
    script += [f"GRANT SELECT ON {schema}.{view} TO {READER}" for view in VIEWS]  # for psql and dashboards
    script += [f"GRANT USAGE ON SEQUENCE {schema}.{name} TO {WRITER}" for name in _SEQUENCES]
    script += [f"GRANT EXECUTE ON FUNCTION {schema}.{name} TO {WRITER}" for name in _WRITER_FUNCTIONS]
    if superuser:
        script += [_from_public(), f"ALTER ROLE {SQL} SET temp_file_limit = '{_TEMP_FILE_LIMIT}'"]
    return script


def _create(role: str) -> str:
    return (
        f"DO $$ BEGIN IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = '{role}') "  # noqa: S608 - names of ours
        f"THEN CREATE ROLE {role} NOLOGIN; END IF; END $$"
    )


def _from_public() -> str:
    """Take what is in ``_PUBLIC_FUNCTIONS`` from everybody; the writer keeps the locks it takes turns with."""
    return f"""DO $$ DECLARE f text; BEGIN
  FOR f IN {_PUBLIC_FUNCTIONS} LOOP
    EXECUTE 'REVOKE EXECUTE ON FUNCTION ' || f || ' FROM PUBLIC';
    IF f LIKE '%advisory%' THEN EXECUTE 'GRANT EXECUTE ON FUNCTION ' || f || ' TO {WRITER}'; END IF;
  END LOOP;
END $$"""


async def script(url: str) -> list[str]:
    """Return ``statements`` for the database at ``url``, as its user may run them. Raises StoreError."""
    return await asyncio.to_thread(_script, url)


def _script(url: str) -> list[str]:
    with _connection(url) as connection:
        return _statements_for(connection)


def login_of(url: str) -> tuple[str, str]:
    """PURE: return the user and the password of a URL; empty: not named."""
    parsed = psycopg_url(url)
    return parsed.username or "", str(parsed.password or "")


async def grant(url: str, passwords: Mapping[str, str] | None = None, members: Mapping[str, str] | None = None) -> None:
    """Make the roles and grant their rights, as the owner at ``url``.

    ``passwords`` makes logins of the roles; ``members`` (role -> user) makes users that exist members of them.
    Raises StoreError: PermanentStoreError where the owner may not create roles.
    """
    await asyncio.to_thread(_grant, url, passwords or {}, members or {})


def _grant(url: str, passwords: Mapping[str, str], members: Mapping[str, str]) -> None:
    with _connection(url) as connection:
        connection.execute("SELECT pg_advisory_xact_lock(%s)", [lock_keys.MIGRATIONS])
        for statement in _statements_for(connection):
            connection.execute(statement.encode())
        for role, password in passwords.items():
            verifier = connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256").decode()
            login = sql.SQL("ALTER ROLE {} LOGIN PASSWORD {}")
            connection.execute(login.format(sql.Identifier(role), sql.Literal(verifier)))
        for role, user in members.items():
            if user and user != role:
                member = sql.SQL("GRANT {} TO {}")
                connection.execute(member.format(sql.Identifier(role), sql.Identifier(user)))


async def make_login(url: str, name: str, password: str) -> None:
    """Make the login ``name``, or give it a new password: it may what the reader may, with its limits.

    Raises StoreError: PermanentStoreError where the owner at ``url`` may not make roles, or the name is taken.
    """
    await asyncio.to_thread(_make_login, url, name, password)


def _make_login(url: str, name: str, password: str) -> None:
    role = sql.Identifier(name)
    with _connection(url) as connection:
        connection.execute("SELECT pg_advisory_xact_lock(%s)", [lock_keys.MIGRATIONS])
        for statement in _statements_for(connection):
            connection.execute(statement.encode())
        row = connection.execute(
            "SELECT rolsuper OR rolcreaterole OR rolcreatedb OR EXISTS (SELECT FROM pg_auth_members m JOIN pg_roles g "
            "ON g.oid = m.roleid WHERE m.member = r.oid AND g.rolname <> %s) FROM pg_roles r WHERE rolname = %s",
            [READER, name],
        ).fetchone()
        if row is not None and row[0]:
            raise PermanentStoreError(f"there is a role {name} that may more than read; choose another name")
        if row is None:
            connection.execute(sql.SQL("CREATE ROLE {}").format(role))
        verifier = connection.pgconn.encrypt_password(password.encode(), name.encode(), b"scram-sha-256").decode()
        login = sql.SQL("ALTER ROLE {} LOGIN PASSWORD {} CONNECTION LIMIT {}")
        connection.execute(login.format(role, sql.Literal(verifier), sql.Literal(_LOGIN_CONNECTIONS_MAX)))
        for setting, value in _READER_SETTINGS.items():
            change = sql.SQL("ALTER ROLE {} SET {} = {}")
            connection.execute(change.format(role, sql.Identifier(setting), sql.Literal(value)))
        connection.execute(sql.SQL("GRANT {} TO {}").format(sql.Identifier(READER), role))


def _statements_for(connection: "psycopg.Connection[tuple[object, ...]]") -> list[str]:
    row = connection.execute(
        "SELECT quote_ident(current_schema()), quote_ident(current_database()), "
        "(SELECT rolsuper FROM pg_roles WHERE rolname = current_user)"
    ).fetchone()
    assert row is not None  # noqa: S101 - a SELECT without FROM has one row
    return statements(str(row[0]), str(row[1]), superuser=bool(row[2]))


async def usable(url: str) -> dict[str, str | None]:
    """Return each role, or None where the user at ``url`` may not take it on or it lacks its rights.

    For a single URL: SET ROLE is a second line then, for the session could go back. Raises StoreError.
    """
    return await asyncio.to_thread(_usable, url)


def _usable(url: str) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    with _connection(url) as connection:
        for role in TABLES_OF:
            try:
                with connection.transaction():
                    connection.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(role)))
                    found[role] = None if _missing(connection, role) else role
            except psycopg.Error:
                found[role] = None
    return found


_MEMBERSHIPS = f"""
SELECT EXISTS (SELECT FROM pg_roles WHERE rolname NOT IN (current_user, '{SQL}')
               AND pg_has_role(current_user, oid, 'MEMBER'))
"""  # noqa: S608 - a name of ours
_TABLES = """
SELECT EXISTS (SELECT FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p')
               AND has_table_privilege(oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER'))
"""
_EXCESS = {
    "is a superuser": "SELECT rolsuper FROM pg_roles WHERE rolname = current_user",
    "may make roles or databases": "SELECT rolcreaterole OR rolcreatedb FROM pg_roles WHERE rolname = current_user",
    "is a member of other roles": _MEMBERSHIPS,
    "may use tables": _TABLES,
    "may create objects": "SELECT has_schema_privilege(current_schema(), 'CREATE')",
}


async def too_much(url: str) -> list[str]:
    """Return what the user at ``url`` may beyond the role of logger_sql, in words. Raises StoreError."""
    return await asyncio.to_thread(_too_much, url)


def _too_much(url: str) -> list[str]:
    with _connection(url) as connection:
        found = [(words, connection.execute(question.encode()).fetchone()) for words, question in _EXCESS.items()]
    return [words for words, row in found if row is None or row[0]]


async def missing(url: str, role: str) -> list[str]:
    """Return the rights of ``role`` that the user at ``url`` does not have, in words. Raises StoreError."""
    return await asyncio.to_thread(_missing_at, url, role)


def _missing_at(url: str, role: str) -> list[str]:
    with _connection(url) as connection:
        return _missing(connection, role)


def _missing(connection: "psycopg.Connection[tuple[object, ...]]", role: str) -> list[str]:
    """Return the rights of ``role`` that the current user lacks. Raises psycopg.Error: a table is not there."""
    tables = TABLES_OF[role]
    asked = [
        (f"{right} on {table}", "SELECT has_any_column_privilege(%s, %s)", [table, right.split(" ", 1)[0]])
        if "(" in right
        else (f"{right} on {table}", "SELECT has_table_privilege(%s, %s)", [table, right])
        for table, rights in tables.items()
        for right in rights.split(", ")
        if right
    ]
    if role == WRITER:
        asked += [(f"USAGE on {s}", "SELECT has_sequence_privilege(%s, 'USAGE')", [s]) for s in _SEQUENCES]
        asked += [(f"EXECUTE on {f}", "SELECT has_function_privilege(%s, 'EXECUTE')", [f]) for f in _WRITER_FUNCTIONS]
    lacking = []
    for words, question, parameters in asked:
        row = connection.execute(question.encode(), parameters).fetchone()
        if row is None or not row[0]:
            lacking.append(words)
    return lacking


@contextmanager
def _connection(url: str) -> "Iterator[psycopg.Connection[tuple[object, ...]]]":
    """Yield a connection in a transaction; its errors are ours."""
    conninfo = psycopg_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    try:
        with psycopg.connect(conninfo, connect_timeout=_CONNECT_TIMEOUT_S, options=session_options()) as connection:
            yield connection
    except psycopg.Error as error:
        raise translate(error) from error
