"""PURE: a statement, and unpacked records -> the statement over both."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import TextClause, bindparam, text
from sqlalchemy.types import NullType

from storage.packing.arrays import BinaryArray, Part, parameters, source
from storage.packing.needs import TRANSACTION

# A type and a collation that arrays do not have.
_AS_STORED = {
    "component": 'component COLLATE "C" AS component',
    TRANSACTION: "CAST(CAST(CAST(xmin AS text) AS xid8) AS xid) AS xmin",
}
_WITH = re.compile(r"\s*WITH\s+(?:RECURSIVE\s+)?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Edge:
    """Only records whose ``key`` is beyond a value: all of them are there, stored or unpacked."""

    key: str
    compare: Literal["<", ">"]
    value: Any


@dataclass(frozen=True, slots=True)
class Shadow:
    """A table with the unpacked records beside its own, as a common table expression of its name."""

    schema: str | None
    """The table's schema as SQL; None: the unpacked records alone are the table."""
    table: str
    columns: Sequence[str]
    parts: Sequence[Part]
    edge: Edge | None = None

    def body(self) -> str:
        """Return the SQL behind AS."""
        where = f" WHERE {self.edge.key} {self.edge.compare} :packed_edge_{self.table}" if self.edge else ""
        arms = []
        if self.schema is not None:
            arms.append(f"SELECT {', '.join(self.columns)} FROM {self.schema}.{self.table}{where}")  # noqa: S608 - ours
        if self.parts:
            # The same type and collation on both sides: only then the planner looks through UNION ALL, to the indexes.
            columns = ", ".join(_AS_STORED.get(c, c) for c in self.columns)
            arms.append(f"SELECT {columns} FROM {source(self.table, self.columns)}{where}")  # noqa: S608
        return " UNION ALL ".join(arms)

    def binds(self) -> dict[str, Any]:
        """Return the parameters of ``body``."""
        edge = {f"packed_edge_{self.table}": self.edge.value} if self.edge else {}
        return edge | (parameters(self.table, self.columns, self.parts) if self.parts else {})


def shadowed(statement: Any, shadows: Iterable[Shadow]) -> Any:
    """PURE: return the statement with the tables of ``shadows`` in front."""
    if isinstance(statement, TextClause):
        return _text_shadowed(statement, shadows)
    for shadow in shadows:
        body = text(shadow.body()).bindparams(*_bindparams(shadow))
        cte = body.columns().cte(shadow.table).prefix_with("NOT MATERIALIZED", dialect="postgresql")
        statement = statement.add_cte(cte)
    return statement


def _text_shadowed(statement: TextClause, shadows: Iterable[Shadow]) -> TextClause:
    own = statement.text
    keyword = _WITH.match(own)
    before = keyword[0] if keyword else "WITH "
    rest = f", {own[keyword.end() :]}" if keyword else f" {own}"
    made = ", ".join(f"{s.table} AS NOT MATERIALIZED ({s.body()})" for s in shadows)
    binds = [bind for s in shadows for bind in _bindparams(s)]
    return text(before + made + rest).bindparams(*statement._bindparams.values(), *binds)  # noqa: SLF001


def _bindparams(shadow: Shadow) -> list[Any]:
    return [
        bindparam(name, value, type_=NullType() if isinstance(value, BinaryArray) else None)
        for name, value in shadow.binds().items()
    ]
