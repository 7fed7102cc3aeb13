"""Columns as parameters: PostgreSQL's binary arrays handed to the driver as they are, and the FROM that reads them.

Every column of a telemetry table has one of these types, the ones of ``storage.columns``.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import psycopg
from psycopg.adapt import Buffer, Dumper
from psycopg.pq import Format

from storage.columns import TELEMETRY_TABLES
from storage.packing.block import PackedColumn
from storage.packing.codec import joined
from storage.packing.needs import TRANSACTION


@dataclass(frozen=True, slots=True)
class _Type:
    """A type's name in SQL, its oid and that of its arrays: fixed numbers of PostgreSQL (pg_type.dat)."""

    sql: str
    oid: int
    array_oid: int


_TYPES = {
    "timestamptz": _Type("timestamptz", 1184, 1185),
    "bigint": _Type("bigint", 20, 1016),
    "integer": _Type("integer", 23, 1007),
    "boolean": _Type("boolean", 16, 1000),
    "uuid": _Type("uuid", 2950, 2951),
    "double": _Type("double precision", 701, 1022),
    "text": _Type("text", 25, 1009),
    "jsonb": _Type("jsonb", 3802, 3807),
    "bytea": _Type("bytea", 17, 1001),
}
# ``id`` is of every table, and of no list of columns: COPY does not send it.
COLUMN_TYPES: Mapping[str, Mapping[str, _Type]] = {
    table.name: {"id": _TYPES["bigint"]} | {c.name: _TYPES[c.type] for c in table.columns} for table in TELEMETRY_TABLES
}
_PREFIX = "packed_"


@dataclass(frozen=True, slots=True)
class BinaryArray:
    """A binary array on its way to a parameter; the statement casts it to its type."""

    data: bytes


class _Dumper(Dumper):
    """Passes the bytes on; no oid: the cast around the parameter says the type."""

    format = Format.BINARY
    oid = 0

    def dump(self, obj: BinaryArray) -> Buffer | None:
        """Return the bytes."""
        return obj.data


psycopg.adapters.register_dumper(BinaryArray, _Dumper)


@dataclass(frozen=True, slots=True)
class Part:
    """Unpacked columns of one block, by name."""

    records: int
    columns: Mapping[str, PackedColumn]

    @property
    def size_bytes(self) -> int:
        """Return how much it adds to the parameters."""
        return sum(len(column.elements) for column in self.columns.values())


def types_of(table: str) -> Mapping[str, _Type]:
    """PURE: return the types of what a block holds."""
    return {**COLUMN_TYPES[table], TRANSACTION: _TYPES["bigint"]}


def names(table: str) -> list[str]:
    """PURE: return the columns of a telemetry table, in the order they are packed in."""
    return list(COLUMN_TYPES[table])


def packed_names(table: str) -> list[str]:
    """PURE: return what a block of a telemetry table holds: its columns, and of which transaction each record is."""
    return [*names(table), TRANSACTION]


def source(table: str, columns: Sequence[str]) -> str:
    """PURE: return the FROM item of unpacked columns, as ``u`` with their names."""
    types = types_of(table)
    arrays = ", ".join(rf"CAST(:{_PREFIX}{table}_{c} AS {types[c].sql}[])" for c in columns)
    return f"unnest({arrays}) AS u ({', '.join(columns)})"


def parameters(table: str, columns: Iterable[str], parts: Sequence[Part]) -> dict[str, BinaryArray]:
    """PURE: return the parameters of ``source``: the columns of some blocks, one behind the other."""
    types = types_of(table)
    records = sum(part.records for part in parts)
    found = {}
    for name in columns:
        elements = b"".join(part.columns[name].elements for part in parts)
        has_null = any(part.columns[name].has_null for part in parts)
        array = joined(types[name].oid, records, elements, has_null=has_null)
        found[f"{_PREFIX}{table}_{name}"] = BinaryArray(array)
    return found
