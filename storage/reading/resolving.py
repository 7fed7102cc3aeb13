"""What a question asks of resources alone is looked up first: there are few, and rows name them by their ids.

``attributes @> … OR resources.attributes @> …`` over a join can use no index at all; with the ids in its place it is a
condition on the one table, and it is gone where no resource meets it.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    ARRAY,
    Boolean,
    Column,
    ColumnElement,
    Table,
    Uuid,
    cast,
    false,
    func,
    literal,
    select,
)
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql import operators, visitors

from storage.models import resources

_IDS_MAX = 1_000
"""Ids that are put into a statement, 16 bytes each; more are looked up by it."""


async def resolved(
    connection: AsyncConnection, table: Table, conditions: Sequence[ColumnElement[bool]]
) -> list[ColumnElement[bool]]:
    """Return conditions on ``table`` that hold for the same rows, and name no column of resources where they need not.

    Raises SQLAlchemyError.
    """
    asked: list[ColumnElement[bool]] = []

    def noted(element: ColumnElement[bool]) -> ColumnElement[bool]:
        asked.append(element)
        return element

    _replaced(conditions, noted)
    if not asked:
        return list(conditions)
    answers = {id(element): await _rows_of(connection, table, element) for element in asked}
    return _replaced(conditions, lambda element: answers[id(element)])


def _replaced(conditions: Sequence[ColumnElement[bool]], replace: Any) -> list[ColumnElement[bool]]:
    """Return the conditions with each largest part that asks of resources alone replaced."""

    def of_resources(element: Any, **_: Any) -> Any:
        return replace(element) if _is_of_resources(element) else None

    return [visitors.replacement_traverse(condition, {}, of_resources) for condition in conditions]


def _is_of_resources(element: Any) -> bool:
    if not isinstance(element, ColumnElement) or not isinstance(element.type, Boolean):
        return False
    # Where a row's resource is not there, "is not true" holds: that is for what is left to say.
    if getattr(element, "operator", None) in (operators.is_, operators.is_not, operators.inv):
        return False
    columns = [part for part in visitors.iterate(element) if isinstance(part, Column)]
    return bool(columns) and all(column.table is resources for column in columns)


async def _rows_of(connection: AsyncConnection, table: Table, element: ColumnElement[bool]) -> ColumnElement[bool]:
    """Return that a row of ``table`` names a resource for which ``element`` holds."""
    found = select(resources.c.id).where(element)
    ids = sorted((await connection.execute(found.limit(_IDS_MAX + 1))).scalars())
    if not ids:
        return false()
    if len(ids) > _IDS_MAX:
        return table.c.resource_id.in_(found)
    one_of: ColumnElement[bool] = table.c.resource_id == func.any(cast(literal(ids, ARRAY(Uuid)), ARRAY(Uuid)))
    return one_of
