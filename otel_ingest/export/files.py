"""Pages of one signal -> a file: OTLP as protobuf or JSON, flat JSON lines, or Parquet.

* ``otlp``: each request as protobuf behind its length in 4 bytes, big endian, as the Collector's file exporter writes.
* ``otlp-json``: a request a line (OpenTelemetry Protocol File Exporter), read by the Collector's otlpjsonfile receiver.
* ``jsonl``: a record a line.
* ``parquet``: a record a row, zstd; nested values are JSON text. Needs pyarrow.
"""

import struct
from pathlib import Path
from typing import IO, Any, Literal, Protocol, get_args

import orjson

from otel_ingest.encode import encode
from otel_ingest.encode.json_format import to_json
from otel_ingest.export.errors import MissingLibraryError
from otel_ingest.export.flat import records
from storage.pages import ExportPage

Format = Literal["otlp", "otlp-json", "jsonl", "parquet"]
FORMATS: tuple[str, ...] = get_args(Format)
SUFFIXES = {"otlp": ".otlp", "otlp-json": ".otlp.jsonl", "jsonl": ".jsonl", "parquet": ".parquet"}
# Formats that are not text: never for a terminal.
BINARY = frozenset({"otlp", "parquet"})
_length = struct.Struct("!I").pack
_NESTED = ("attributes", "resource", "events", "links", "data", "body")
# A row group: enough for a column to compress well, little enough to hold in memory.
_ROW_GROUP_RECORDS = 50_000


class Writer(Protocol):
    """Writes pages of one signal; ``close`` ends the file."""

    def write(self, page: ExportPage) -> None:
        """Take one page."""

    def close(self) -> None:
        """End the file."""


class StreamWriter:
    """Writes otlp, otlp-json or jsonl to a binary stream."""

    def __init__(self, kind: Format, stream: IO[bytes]) -> None:
        self._kind = kind
        self._stream = stream

    def write(self, page: ExportPage) -> None:
        """Write one page."""
        if self._kind == "otlp":
            data = encode(page).SerializeToString()
            self._stream.write(_length(len(data)) + data)
        elif self._kind == "otlp-json":
            self._stream.write(to_json(encode(page)) + b"\n")
        else:
            for record in records(page):
                self._stream.write(orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE))

    def close(self) -> None:
        """Hand over what is buffered."""
        self._stream.flush()


class ParquetWriter:
    """Writes Parquet. Raises MissingLibraryError where pyarrow is not installed."""

    def __init__(self, path: Path) -> None:
        try:
            import pyarrow as pa  # noqa: PLC0415 - an extra that few need
            import pyarrow.parquet as pq  # noqa: PLC0415
        except ImportError as error:
            raise MissingLibraryError("parquet needs pyarrow: pip install 'otel-ingest[parquet]'") from error
        self._pa, self._pq = pa, pq
        self._path = path
        self._writer: Any = None
        self._rows: list[dict[str, Any]] = []

    def write(self, page: ExportPage) -> None:
        """Take one page; row groups are written as they fill."""
        for record in records(page):
            nested = {k: orjson.dumps(record[k]).decode() for k in _NESTED if isinstance(record.get(k), dict | list)}
            self._rows.append(record | nested)
        if len(self._rows) >= _ROW_GROUP_RECORDS:
            self._write_group()

    def close(self) -> None:
        """Write the last row group and the footer."""
        if self._rows:
            self._write_group()
        if self._writer is not None:
            self._writer.close()

    def _write_group(self) -> None:
        table = self._pa.Table.from_pylist(self._rows, schema=self._schema(self._rows[0]))
        if self._writer is None:
            self._writer = self._pq.ParquetWriter(self._path, table.schema, compression="zstd")
        self._writer.write_table(table)
        self._rows = []

    def _schema(self, record: dict[str, Any]) -> Any:
        """Return one schema for all rows: text but for the numbers by their names."""
        numbers = {"severity_number": "int32", "kind": "int32", "status_code": "int32", "duration_ns": "int64"}
        numbers["value"] = "float64"
        return self._pa.schema([(name, numbers.get(name, "string")) for name in record])
