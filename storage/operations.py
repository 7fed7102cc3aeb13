"""Alembic operations for tables partitioned by time, and their part in autogenerate and ``alembic check``.

Importing this module gives migrations ``op.create_time_partitioned_table``, ``op.drop_time_partitioned_table``,
``op.register_time_partitioned_table``, ``op.forget_time_partitioned_table`` and ``op.alter_partition_period``.
Autogenerate writes them where ``context.configure`` names the plug-in: ``autogenerate_plugins=[…, PLUGIN]``.

A table says in ``Table.info`` what it is partitioned by (``storage.models.time_partitioned``), the database in its
catalog and in ``time_partitions``. Only the period of the migration is compared: what was chosen at run time stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from alembic.autogenerate import renderers
from alembic.autogenerate.render import render_op_text
from alembic.operations import MigrateOperation, Operations
from alembic.operations.ops import CreateTableOp, DropTableOp
from alembic.runtime.plugins import Plugin
from alembic.util import CommandError, DispatchPriority, PriorityDispatchResult
from sqlalchemy import Table, column, delete, insert, inspect, select, table, text, update
from sqlalchemy.schema import SchemaItem

from storage.models import TIME_PARTITIONED
from storage.periods import PERIODS

if TYPE_CHECKING:
    from alembic.autogenerate.api import AutogenContext
    from alembic.operations.ops import UpgradeOps

PLUGIN = "otel_ingest.time_partitions"
_BY = "postgresql_partition_by"

_registry = table(
    "time_partitions", column("table_name"), column("partition_column"), column("default_period"), column("period")
)
_KEYS = text("""
SELECT c.relname AS name, pg_get_partkeydef(c.oid) AS key
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = current_schema() AND c.relkind = 'p' AND NOT c.relispartition
""")


def _checked(period: str) -> str:
    if period not in PERIODS:
        raise CommandError(f"period={period!r}; one of {', '.join(PERIODS)}")
    return period


@Operations.register_operation("create_time_partitioned_table")
class CreateTimePartitionedTableOp(MigrateOperation):
    """Make a table partitioned by ranges of a timestamptz column, without any partition, and note its period."""

    def __init__(self, create: CreateTableOp, by: str, period: str) -> None:
        self.create, self.by, self.period = create, by, _checked(period)

    @classmethod
    def create_time_partitioned_table(
        cls, operations: Operations, name: str, *columns: SchemaItem, by: str = "time", period: str = "day", **kw: Any
    ) -> Table:
        """Make table ``name``; ``by`` must be in its primary key. ``kw``: as of ``op.create_table``."""
        create = CreateTableOp(name, columns, **(kw | {_BY: f"RANGE ({by})"}))
        made: Table = operations.invoke(cls(create, by, period))
        return made

    def reverse(self) -> DropTimePartitionedTableOp:
        """Return the operation that undoes it."""
        return DropTimePartitionedTableOp(self.create.reverse(), self.by, self.period)

    def to_diff_tuple(self) -> tuple[Any, ...]:
        """Return what ``alembic check`` prints."""
        return ("add_time_partitioned_table", self.create.table_name, self.by, self.period)


@Operations.register_operation("drop_time_partitioned_table")
class DropTimePartitionedTableOp(MigrateOperation):
    """Drop such a table with all its partitions, and what is noted of it."""

    def __init__(self, drop: DropTableOp, by: str, period: str) -> None:
        self.drop, self.by, self.period = drop, by, _checked(period)

    @classmethod
    def drop_time_partitioned_table(cls, operations: Operations, name: str, **kw: Any) -> None:
        """Drop table ``name``. ``kw``: as of ``op.drop_table``."""
        operations.invoke(cls(DropTableOp(name, **kw), "time", "day"))

    def reverse(self) -> CreateTimePartitionedTableOp:
        """Return the operation that makes the table again, without its rows."""
        return CreateTimePartitionedTableOp(self.drop.reverse(), self.by, self.period)

    def to_diff_tuple(self) -> tuple[Any, ...]:
        """Return what ``alembic check`` prints."""
        return ("remove_time_partitioned_table", self.drop.table_name)


@Operations.register_operation("register_time_partitioned_table")
class RegisterTimePartitionedTableOp(MigrateOperation):
    """Note the period of a table that is partitioned by time already."""

    def __init__(self, name: str, by: str, period: str) -> None:
        self.name, self.by, self.period = name, by, _checked(period)

    @classmethod
    def register_time_partitioned_table(
        cls, operations: Operations, name: str, *, by: str = "time", period: str = "day"
    ) -> None:
        """Note that new partitions of table ``name`` last a ``period``."""
        operations.invoke(cls(name, by, period))

    def reverse(self) -> ForgetTimePartitionedTableOp:
        """Return the operation that undoes it."""
        return ForgetTimePartitionedTableOp(self.name, self.by, self.period)

    def to_diff_tuple(self) -> tuple[Any, ...]:
        """Return what ``alembic check`` prints."""
        return ("register_time_partitioned_table", self.name, self.by, self.period)


@Operations.register_operation("forget_time_partitioned_table")
class ForgetTimePartitionedTableOp(MigrateOperation):
    """Forget the period of a table; the table stays."""

    def __init__(self, name: str, by: str, period: str) -> None:
        self.name, self.by, self.period = name, by, _checked(period)

    @classmethod
    def forget_time_partitioned_table(
        cls, operations: Operations, name: str, *, by: str = "time", period: str = "day"
    ) -> None:
        """Forget what ``register_time_partitioned_table`` noted of table ``name``."""
        operations.invoke(cls(name, by, period))

    def reverse(self) -> RegisterTimePartitionedTableOp:
        """Return the operation that undoes it."""
        return RegisterTimePartitionedTableOp(self.name, self.by, self.period)

    def to_diff_tuple(self) -> tuple[Any, ...]:
        """Return what ``alembic check`` prints."""
        return ("forget_time_partitioned_table", self.name)


@Operations.register_operation("alter_partition_period")
class AlterPartitionPeriodOp(MigrateOperation):
    """Change the period of a table's new partitions; those that are there keep their bounds."""

    def __init__(self, name: str, period: str, existing_period: str) -> None:
        self.name, self.period, self.existing_period = name, _checked(period), _checked(existing_period)

    @classmethod
    def alter_partition_period(cls, operations: Operations, name: str, period: str, *, existing_period: str) -> None:
        """Have new partitions of table ``name`` last a ``period``, unless another was chosen at run time."""
        operations.invoke(cls(name, period, existing_period))

    def reverse(self) -> AlterPartitionPeriodOp:
        """Return the operation that undoes it."""
        return AlterPartitionPeriodOp(self.name, self.existing_period, self.period)

    def to_diff_tuple(self) -> tuple[Any, ...]:
        """Return what ``alembic check`` prints."""
        return ("modify_partition_period", self.name, self.existing_period, self.period)


class PartitionKeyDiffersOp(MigrateOperation):
    """The database partitions a table by something else: PostgreSQL cannot change that, so nothing can be written."""

    def __init__(self, name: str, there: str | None, wanted: str) -> None:
        self.name, self.there, self.wanted = name, there, wanted

    def reverse(self) -> PartitionKeyDiffersOp:
        """Return itself: neither way can be written."""
        return self

    def to_diff_tuple(self) -> tuple[Any, ...]:
        """Return what ``alembic check`` prints."""
        return ("partition_key_differs", self.name, self.there, self.wanted)


@Operations.implementation_for(CreateTimePartitionedTableOp)
def _create(operations: Operations, operation: CreateTimePartitionedTableOp) -> Table:
    made: Table = operations.invoke(operation.create)
    _note(operations, operation.create.table_name, operation.by, operation.period)
    return made


@Operations.implementation_for(DropTimePartitionedTableOp)
def _drop(operations: Operations, operation: DropTimePartitionedTableOp) -> None:
    operations.invoke(operation.drop)
    operations.execute(delete(_registry).where(_registry.c.table_name == operation.drop.table_name))


@Operations.implementation_for(RegisterTimePartitionedTableOp)
def _register(operations: Operations, operation: RegisterTimePartitionedTableOp) -> None:
    _note(operations, operation.name, operation.by, operation.period)


@Operations.implementation_for(ForgetTimePartitionedTableOp)
def _forget(operations: Operations, operation: ForgetTimePartitionedTableOp) -> None:
    operations.execute(delete(_registry).where(_registry.c.table_name == operation.name))


@Operations.implementation_for(AlterPartitionPeriodOp)
def _alter(operations: Operations, operation: AlterPartitionPeriodOp) -> None:
    change = update(_registry).where(_registry.c.table_name == operation.name)
    operations.execute(change.values(default_period=operation.period))


def _note(operations: Operations, name: str, by: str, period: str) -> None:
    operations.execute(insert(_registry).values(table_name=name, partition_column=by, default_period=period))


@renderers.dispatch_for(CreateTimePartitionedTableOp)
def _render_create(context: AutogenContext, operation: CreateTimePartitionedTableOp) -> str:
    create = operation.create
    kw = {name: value for name, value in create.kw.items() if name != _BY}
    plain = CreateTableOp(
        create.table_name,
        create.columns,
        schema=create.schema,
        comment=create.comment,
        prefixes=create.prefixes,
        _namespace_metadata=create._namespace_metadata,  # noqa: SLF001 - as ``CreateTableOp`` copies itself
        _constraints_included=create._constraints_included,  # noqa: SLF001
        **kw,
    )
    rendered = render_op_text(context, plain).replace("create_table(", "create_time_partitioned_table(", 1)
    return f"{rendered.removesuffix(')').rstrip()},\nby={operation.by!r},\nperiod={operation.period!r}\n)"


@renderers.dispatch_for(DropTimePartitionedTableOp)
def _render_drop(context: AutogenContext, operation: DropTimePartitionedTableOp) -> str:
    return render_op_text(context, operation.drop).replace("drop_table(", "drop_time_partitioned_table(", 1)


@renderers.dispatch_for(RegisterTimePartitionedTableOp)
def _render_register(_: AutogenContext, operation: RegisterTimePartitionedTableOp) -> str:
    what = f"{operation.name!r}, by={operation.by!r}, period={operation.period!r}"
    return f"op.register_time_partitioned_table({what})"


@renderers.dispatch_for(ForgetTimePartitionedTableOp)
def _render_forget(_: AutogenContext, operation: ForgetTimePartitionedTableOp) -> str:
    return f"op.forget_time_partitioned_table({operation.name!r}, by={operation.by!r}, period={operation.period!r})"


@renderers.dispatch_for(AlterPartitionPeriodOp)
def _render_alter(_: AutogenContext, operation: AlterPartitionPeriodOp) -> str:
    what = f"{operation.name!r}, {operation.period!r}, existing_period={operation.existing_period!r}"
    return f"op.alter_partition_period({what})"


@renderers.dispatch_for(PartitionKeyDiffersOp)
def _render_key(_: AutogenContext, operation: PartitionKeyDiffersOp) -> str:
    raise CommandError(
        f"{operation.name} is partitioned by {operation.there or 'nothing'}, the models say {operation.wanted}; "
        "PostgreSQL cannot change that: write a migration that makes another table and moves the rows"
    )


def _compare(context: AutogenContext, upgrade: UpgradeOps, _: Sequence[str | None]) -> PriorityDispatchResult:
    """Put our operations in the place of those for tables, and add what differs in keys and periods."""
    connection, metadata = context.connection, context.metadata
    assert connection is not None  # noqa: S101 - autogenerate has one
    assert metadata is not None  # noqa: S101
    wanted = {
        name: found.info[TIME_PARTITIONED]
        for name, found in metadata.tables.items()  # type: ignore[union-attr]
        if TIME_PARTITIONED in found.info
    }
    keys: dict[str, str] = {row.name: row.key for row in connection.execute(_KEYS)}
    noted: dict[str, tuple[str, str]] = {}
    if inspect(connection).has_table("time_partitions"):
        columns = _registry.c.table_name, _registry.c.partition_column, _registry.c.default_period
        noted = {name: (by, period) for name, by, period in connection.execute(select(*columns))}
    upgrade.ops[:] = [_ours(operation, wanted, noted) for operation in upgrade.ops]
    present = {name for name in wanted if inspect(connection).has_table(name)}
    for name in sorted(present):
        upgrade.ops.extend(_differences(name, wanted[name], keys.get(name), noted.get(name)))
    return PriorityDispatchResult.CONTINUE


def _ours(
    operation: MigrateOperation, wanted: dict[str, tuple[str, str]], noted: dict[str, tuple[str, str]]
) -> MigrateOperation:
    if isinstance(operation, CreateTableOp) and operation.table_name in wanted:
        return CreateTimePartitionedTableOp(operation, *wanted[operation.table_name])
    if isinstance(operation, DropTableOp) and operation.table_name in noted:
        return DropTimePartitionedTableOp(operation, *noted[operation.table_name])
    return operation


def _differences(
    name: str, wanted: tuple[str, str], key: str | None, noted: tuple[str, str] | None
) -> list[MigrateOperation]:
    by, period = wanted
    if key is None or key.replace('"', "") != f"RANGE ({by})":
        return [PartitionKeyDiffersOp(name, key, f"RANGE ({by})")]
    if noted is None:
        return [RegisterTimePartitionedTableOp(name, by, period)]
    return [] if noted[1] == period else [AlterPartitionPeriodOp(name, period, noted[1])]


_plugin = Plugin(PLUGIN)
_plugin.add_autogenerate_comparator(_compare, "schema", priority=DispatchPriority.LAST)
