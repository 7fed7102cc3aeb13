"""Alembic's operations for tables partitioned by time: what autogenerate writes, and that it works both ways."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata, produce_migrations, render_python_code
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.util import CommandError
from sqlalchemy import BigInteger, Column, Connection, DateTime, Index, MetaData, Table, Text, create_engine, text

from storage import migrate, models
from storage.engine import psycopg_url
from storage.operations import PLUGIN
from storage.periods import Period


def events(metadata: MetaData, period: Period = "week", by: str = "at") -> Table:
    """Add a table that no migration knows yet."""
    return Table(
        "events",
        metadata,
        Column(by, DateTime(timezone=True), primary_key=True),
        Column("id", BigInteger, primary_key=True, autoincrement=False),
        Column("name", Text, nullable=False, comment="What happened"),
        Index("events_name_idx", "name"),
        postgresql_partition_by=f"RANGE ({by})",
        info=models.time_partitioned(by, period),
    )


@contextmanager
def connected(url: str) -> Iterator[Connection]:
    """Yield a connection in a transaction that is rolled back."""
    engine = create_engine(psycopg_url(url))
    with engine.connect() as connection:
        yield connection
    engine.dispose()


def context(connection: Connection, metadata: MetaData) -> MigrationContext:
    """Return what autogenerate compares: only the tables of ``metadata``."""

    def known(name: str | None, kind: str, _: Any) -> bool:
        return kind != "table" or name in {*metadata.tables, "events"}

    options = {
        "target_metadata": metadata,
        "autogenerate_plugins": ["alembic.autogenerate.*", PLUGIN],
        "include_name": known,
        "compare_type": True,
    }
    return MigrationContext.configure(connection, opts=options)


def written(connection: Connection, metadata: MetaData) -> tuple[str, str]:
    """Return the code of upgrade and downgrade that autogenerate writes."""
    script = produce_migrations(context(connection, metadata), metadata)
    assert script.upgrade_ops is not None
    assert script.downgrade_ops is not None
    return render_python_code(script.upgrade_ops), render_python_code(script.downgrade_ops)


def run(connection: Connection, code: str) -> None:
    """Run the code of a migration."""
    import sqlalchemy as sa
    from sqlalchemy.dialects import postgresql

    body = "\n".join(line.removeprefix("    ") for line in code.splitlines())
    with Operations.context(MigrationContext.configure(connection)) as op:
        exec(body, {"op": op, "sa": sa, "postgresql": postgresql})  # noqa: S102 - what autogenerate wrote


def noted(connection: Connection) -> list[tuple[str, ...]]:
    """Return what the database knows of the table."""
    rows = connection.execute(
        text(
            "SELECT t.table_name, t.default_period, pg_get_partkeydef('events'::regclass) FROM time_partitions t "
            "WHERE t.table_name = 'events'"
        )
    )
    return [tuple(row) for row in rows]


def test_a_new_table_goes_up_and_down(database_url: str) -> None:
    """Autogenerate writes the operation; run, nothing differs any more; the way down leaves nothing."""
    metadata = MetaData()
    events(metadata)
    with connected(database_url) as connection:
        up, down = written(connection, metadata)
        assert "op.create_time_partitioned_table('events'," in up
        assert "by='at'," in up
        assert "period='week'" in up
        assert "partition_by" not in up
        assert "info=" not in up
        assert "op.drop_time_partitioned_table('events')" in down

        run(connection, up)
        assert noted(connection) == [("events", "week", "RANGE (at)")]
        assert compare_metadata(context(connection, metadata), metadata) == []
        run(connection, down)
        assert connection.execute(text("SELECT to_regclass('events')")).scalar_one() is None
        left = connection.execute(text("SELECT count(*) FROM time_partitions WHERE table_name = 'events'"))
        assert left.scalar_one() == 0


def test_a_table_that_leaves_the_models_is_dropped(database_url: str) -> None:
    """Its operation undoes itself: the way back makes the table with its key and period."""
    metadata = MetaData()
    events(metadata)
    with connected(database_url) as connection:
        run(connection, written(connection, metadata)[0])
        up, down = written(connection, MetaData())

        assert "op.drop_time_partitioned_table('events')" in up
        run(connection, up)
        run(connection, down)
        assert noted(connection) == [("events", "week", "RANGE (at)")]


def test_a_changed_period_is_an_operation(database_url: str) -> None:
    """The migration's period is compared; what was chosen at run time is the user's and stays."""
    old, new = MetaData(), MetaData()
    events(old)
    events(new, "hour")
    with connected(database_url) as connection:
        run(connection, written(connection, old)[0])
        connection.execute(text("UPDATE time_partitions SET period = 'day' WHERE table_name = 'events'"))
        assert compare_metadata(context(connection, old), old) == []

        up, down = written(connection, new)
        assert "op.alter_partition_period('events', 'hour', existing_period='week')" in up
        run(connection, up)
        assert noted(connection) == [("events", "hour", "RANGE (at)")]
        run(connection, down)
        assert noted(connection) == [("events", "week", "RANGE (at)")]


def test_a_partitioned_table_that_is_not_noted_is_registered(database_url: str) -> None:
    """A table that was partitioned by hand before: its period is written down, the table itself is left."""
    metadata = MetaData()
    events(metadata, "day")
    with connected(database_url) as connection:
        run(connection, written(connection, metadata)[0])
        connection.execute(text("DELETE FROM time_partitions WHERE table_name = 'events'"))

        up, down = written(connection, metadata)
        assert "op.register_time_partitioned_table('events', by='at', period='day')" in up
        run(connection, up)
        assert compare_metadata(context(connection, metadata), metadata) == []
        run(connection, down)
        assert noted(connection) == []


def test_another_key_cannot_be_migrated(database_url: str) -> None:
    """The check names it; writing a migration for it stops with a sentence that says what to do."""
    there, wanted = MetaData(), MetaData()
    events(there)
    table = events(wanted, by="at")
    table.info.update(models.time_partitioned("id", "week"))
    with connected(database_url) as connection:
        run(connection, written(connection, there)[0])

        differences = compare_metadata(context(connection, wanted), wanted)
        assert differences == [("partition_key_differs", "events", "RANGE (at)", "RANGE (id)")]
        with pytest.raises(CommandError, match=r"RANGE \(at\), the models say RANGE \(id\).*moves the rows"):
            written(connection, wanted)


def test_a_period_that_there_is_not_is_refused(database_url: str) -> None:
    """Before anything is made."""
    with (
        connected(database_url) as connection,
        Operations.context(MigrationContext.configure(connection)) as op,
        pytest.raises(CommandError, match="hour, day, week"),
    ):
        op.create_time_partitioned_table("events", Column("time", DateTime(timezone=True)), period="month")  # type: ignore[attr-defined]


async def test_the_check_is_clean_with_every_kind_of_partition(database_url: str) -> None:
    """Hours, days and weeks present, another period chosen: ``alembic check`` finds nothing to do."""
    with connected(database_url) as connection:
        for period, day in (("hour", "2026-01-01"), ("day", "2026-02-01"), ("week", "2026-03-02")):
            connection.execute(text("UPDATE time_partitions SET period = :p"), {"p": period})
            for table in models.TABLES:
                begin = f"timestamptz '{day} 00:00:00+00'"
                make = f"SELECT otel_ingest_make_partition('{table}', {begin}, {begin} + interval '1 {period}')"
                connection.execute(text(make))
        connection.commit()

    await migrate.check(database_url)
