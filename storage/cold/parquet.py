"""Unpacked records -> a Parquet file, a row group at a time: zstd, each column in the encoding that suits it.

Rows lie by component and time, so that the edges that Parquet keeps of each row group tell which to read; a Bloom
filter of its trace ids does the same for a trace.
"""

from collections.abc import Sequence
from typing import Any

from storage.cold.location import module
from storage.cold.values import arrow_types, to_arrow
from storage.packing.arrays import Part, packed_names, types_of

ROW_GROUP_RECORDS = 16_384
"""Records of one row group, some MB; what one record of a file costs to read."""
_LEVEL = 9
_DELTA = {"timestamptz", "bigint", "integer"}
# More distinct values than this share of a row group: a dictionary would be longer than the values.
_DICTIONARY_SHARE = 0.5
_EDGES = {"time", "id", "component", "severity_number", "status_code", "duration_ns", "name", "event_name"}
_FALSE_POSITIVES = 0.05
_TRACES_MIN = 64


class ParquetFile:
    """A file that is being written to ``file``; ``add`` and ``end`` block."""

    def __init__(self, table: str, file: Any) -> None:
        """Take an open file. Raises PermanentStoreError where pyarrow is not installed."""
        self._pa, self._pq = module("pyarrow"), module("pyarrow.parquet")
        self._types = {name: types_of(table)[name].sql for name in packed_names(table)}
        known = arrow_types(self._pa)
        self._schema = self._pa.schema([(name, known[sql]) for name, sql in self._types.items()])
        self._file = file
        self._writer: Any = None

    def add(self, parts: Sequence[Part]) -> None:
        """Write some records as one row group."""
        count = sum(part.records for part in parts)
        columns = []
        for name, sql in self._types.items():
            arrays = [to_arrow(self._pa, sql, part.columns[name], part.records) for part in parts]
            columns.append(self._pa.concat_arrays(arrays))
        whole = self._pa.Table.from_arrays(columns, schema=self._schema)
        if self._writer is None:
            self._writer = self._begin(whole, count)
        self._writer.write_table(whole, row_group_size=count)

    def end(self) -> None:
        """Write what stands at the end of the file."""
        if self._writer is not None:
            self._writer.close()

    def _begin(self, first: Any, count: int) -> Any:
        """Choose encodings by the first row group."""
        distinct = {name: self._distinct(first.column(name)) for name in self._types}
        dictionary = [
            name
            for name, sql in self._types.items()
            if distinct[name] < count * _DICTIONARY_SHARE and sql not in {"double precision", "boolean"}
        ]
        delta = [n for n, sql in self._types.items() if sql in _DELTA and n not in dictionary]
        filters = {}
        if distinct.get("trace_id"):
            ndv = max(_TRACES_MIN, distinct["trace_id"])
            filters = {"trace_id": {"ndv": ndv, "fpp": _FALSE_POSITIVES}}
        return self._pq.ParquetWriter(
            self._file,
            self._schema,
            compression="zstd",
            compression_level=_LEVEL,
            use_dictionary=dictionary,
            column_encoding=dict.fromkeys(delta, "DELTA_BINARY_PACKED"),
            write_statistics=[n for n in self._types if n in _EDGES],
            bloom_filter_options=filters or None,
            store_schema=False,
        )

    def _distinct(self, column: Any) -> int:
        counted = module("pyarrow.compute").count_distinct(column, mode="only_valid")
        return int(counted.as_py())
