"""Encoding of rows: the layout COPY BINARY wants, and what is read back from it."""

import struct

import pytest

from storage.batch import Batch
from storage.columns import LOG_RECORDS, METRIC_POINTS, SPANS, TELEMETRY_TABLES, TelemetryTable
from storage.rows import LogRow, MetricPointRow, Row, SpanRow
from tests.factories import RESOURCE, SCOPE, batch_of, log_row, metric_point_row, span_row

DAY_US = 86_400_000_000
KINDS = zip(TELEMETRY_TABLES, (LogRow, SpanRow, MetricPointRow), strict=True)
SAMPLES = ((LOG_RECORDS, log_row()), (SPANS, span_row()), (METRIC_POINTS, metric_point_row()))


def fields_of(encoded: bytes) -> list[bytes | None]:
    """Take a COPY BINARY tuple apart, by the documentation alone."""
    (count,) = struct.unpack_from("!h", encoded)
    fields: list[bytes | None] = []
    at = 2
    for _ in range(count):
        (length,) = struct.unpack_from("!i", encoded, at)
        at += 4
        fields.append(None if length < 0 else encoded[at : at + length])
        at += max(0, length)
    assert at == len(encoded)
    return fields


@pytest.mark.parametrize(("table", "kind"), tuple(KINDS))
def test_rows_have_the_fields_of_the_columns(table: TelemetryTable, kind: type[Row]) -> None:
    """One list of columns: a row's fields are its table's columns, in their order."""
    assert kind._fields == tuple(column.name for column in table.columns)


@pytest.mark.parametrize(("table", "row"), SAMPLES)
def test_a_tuple_has_a_field_for_each_column(table: TelemetryTable, row: Row) -> None:
    """Each column once, NULL where the row says None."""
    fields = fields_of(batch_of([row], table).rows[0])

    assert [field is None for field in fields] == [value is None for value in row]


def test_values_are_laid_out_as_postgresql_reads_them() -> None:
    """Time counts from 2000, integers are big endian, text is UTF-8, jsonb begins with its version."""
    row = log_row(time=946_684_800_000_000 + 7, span_id=-2, body="ü", attributes=b"{}")
    fields = dict(zip(LogRow._fields, fields_of(batch_of([row]).rows[0]), strict=True))

    assert fields["time"] == (7).to_bytes(8, "big")
    assert fields["span_id"] == b"\xff" * 7 + b"\xfe"
    assert fields["body"] == "ü".encode()
    assert fields["attributes"] == b"\x01{}"


@pytest.mark.parametrize(
    ("time_us", "day"), [(0, 0), (-1, -1), (DAY_US - 1, 0), (DAY_US, 1), (20_000 * DAY_US, 20_000)]
)
def test_a_batch_knows_the_days_of_its_rows(time_us: int, day: int) -> None:
    """The day is that of UTC, before 1970 too; read back from the bytes it is the same."""
    batch = batch_of([log_row(time=time_us, time_unix_nano=0)])

    assert batch.days == {day}
    assert batch.day_of_row(0) == day


@pytest.mark.parametrize(("table", "row"), SAMPLES)
def test_a_row_says_what_it_names(table: TelemetryTable, row: Row) -> None:
    """Resource and scope are read back from the bytes, in every table."""
    batch: Batch = batch_of([row], table)

    assert batch.interned_of_row(0) == (RESOURCE.id, SCOPE.id)


@pytest.mark.parametrize(("table", "row"), SAMPLES)
def test_each_value_stands_in_its_own_field(table: TelemetryTable, row: Row) -> None:
    """Any one column changed, set or taken away changes that field of the tuple, and no other."""
    before = fields_of(batch_of([row], table).rows[0])
    for place, column in enumerate(table.columns):
        value = getattr(row, column.name)
        others = {bool: not value, str: "öther", bytes: b"o" * 16, int: 77, float: 7.5, type(None): None}
        other = others[type(value)]
        if value is None:
            other = {"text": "x", "uuid": b"u" * 16, "double": 1.5}.get(column.type, b"[]")
            other = 5 if column.type in {"bigint", "integer"} else other
        after = fields_of(batch_of([row._replace(**{column.name: other})], table).rows[0])
        assert [i for i, (a, b) in enumerate(zip(before, after, strict=True)) if a != b] == [place], column.name
        if column.nullable and value is not None:
            gone = fields_of(batch_of([row._replace(**{column.name: None})], table).rows[0])
            assert gone[place] is None


def test_a_batch_weighs_its_rows() -> None:
    """size_bytes is what the writer will send for it."""
    batch = batch_of([log_row(), log_row(body="longer than the other")])

    assert batch.size_bytes == sum(map(len, batch.rows))
