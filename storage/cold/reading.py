"""Rows of cold files, through a DuckDB that may do nothing but read below the cold location.

It has no network of its own, loads no extension, and holds a bounded part of memory; fsspec reads what is not on this
machine. All of it happens in threads: nobody waits for it but who asked.
"""

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from typing import Any, TypeVar

from storage.cold.conditions import Where
from storage.cold.location import location, module, reading_fs
from storage.cold.values import from_arrow
from storage.errors import PermanentStoreError, QuestionTooLarge, RetryableStoreError, StoreError
from storage.packing.arrays import Part, types_of

T = TypeVar("T")
MEMORY_MIB_MAX = 256
"""Memory of DuckDB in one process, for all questions at a time: past it one is too large."""
THREADS_MAX = 2
"""Threads of DuckDB in one process."""
ROWS_AT_A_TIME = 8_192
"""Rows that are handed over at a time: some MB, after which the bounds of the question are looked at."""
_RANGES_MAX = 500
_ROW = "file_row_number"
_SETTINGS = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "allow_community_extensions": "false",
    "python_enable_replacements": "false",
    "memory_limit": f"{MEMORY_MIB_MAX}MiB",
    "threads": str(THREADS_MAX),
    "temp_directory": "",
}
_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of a cold file, from ``first`` on."""

    path: str
    first: int
    count: int


@dataclass(frozen=True, slots=True)
class Fetched:
    """Some rows of a file: their numbers in it, and their columns."""

    path: str
    numbers: Sequence[int]
    part: Part


async def fetch(
    url: str, table: str, columns: Sequence[str], rows: Iterable[Rows], where: Where, until: float
) -> AsyncIterator[Fetched]:
    """Yield those of ``rows`` for which ``where`` holds, some thousand at a time, in the order of their files.

    ``until``: on the monotonic clock, in seconds; past it QuestionTooLarge. Raises StoreError.
    """
    for path, of_file in groupby(sorted(rows, key=lambda r: (r.path, r.first)), key=lambda r: r.path):
        ranges = _merged(list(of_file))
        for at in range(0, len(ranges), _RANGES_MAX):
            async for fetched in _of_file(url, table, columns, ranges[at : at + _RANGES_MAX], where, until):
                yield Fetched(path, *fetched)


def _merged(rows: Sequence[Rows]) -> list[Rows]:
    """PURE: return the same rows of one file in as few ranges as can be."""
    found: list[Rows] = []
    for each in rows:
        if found and found[-1].first + found[-1].count == each.first:
            found[-1] = Rows(each.path, found[-1].first, found[-1].count + each.count)
        else:
            found.append(each)
    return found


async def _of_file(
    url: str, table: str, columns: Sequence[str], ranges: Sequence[Rows], where: Where, until: float
) -> AsyncIterator[tuple[Sequence[int], Part]]:
    cursor = await asyncio.to_thread(_cursor, url)
    try:
        path = ranges[0].path
        sql, parameters = _statement(columns, ranges, where)
        asked = [[location(url).address(path)], *parameters]
        reader = await _in_time(cursor, path, until, lambda: _reader(cursor, sql, asked))
        while True:
            batch = await _in_time(cursor, path, until, lambda: next(reader, None))
            if batch is None:
                return
            if batch.num_rows:
                yield await asyncio.to_thread(_fetched, table, columns, batch)
    finally:
        cursor.close()


def _statement(columns: Sequence[str], ranges: Sequence[Rows], where: Where) -> tuple[str, list[Any]]:
    """PURE: return the question for rows of one file; names are ours, values are parameters."""
    first, last = ranges[0].first, ranges[-1].first + ranges[-1].count
    conditions, parameters = [f"{_ROW} >= ? AND {_ROW} < ?"], [first, last]
    if len(ranges) > 1:
        conditions.append(f"({' OR '.join([f'({_ROW} >= ? AND {_ROW} < ?)'] * len(ranges))})")
        parameters += [edge for r in ranges for edge in (r.first, r.first + r.count)]
    conditions.append(where.sql)
    listed = ", ".join([_ROW, *columns])
    source = "read_parquet(?, file_row_number = true, hive_partitioning = false)"
    return f"SELECT {listed} FROM {source} WHERE {' AND '.join(conditions)}", [*parameters, *where.parameters]  # noqa: S608


def _reader(cursor: Any, sql: str, parameters: list[Any]) -> Any:
    return cursor.sql(sql, params=parameters).to_arrow_reader(ROWS_AT_A_TIME)


def _fetched(table: str, columns: Sequence[str], batch: Any) -> tuple[Sequence[int], Part]:
    types = types_of(table)
    found = {name: from_arrow(types[name].sql, batch.column(n + 1)) for n, name in enumerate(columns)}
    return batch.column(0).to_pylist(), Part(batch.num_rows, found)


def _cursor(url: str) -> Any:
    with _lock:
        return _database(url).cursor()


@lru_cache(maxsize=8)
def _database(url: str) -> Any:
    """Return a DuckDB without anything in it, which may read below the location and nowhere else."""
    place, duckdb = location(url), module("duckdb")
    module("pyarrow")
    database = duckdb.connect(":memory:", config=_SETTINGS)
    if not place.is_local:
        database.register_filesystem(reading_fs(url))
        database.execute("SET disabled_filesystems = 'LocalFileSystem'")
    # A path is written once: what is known of a file stays true.
    database.execute("SET parquet_metadata_cache = true")
    database.execute("SET validate_external_file_cache = 'NO_VALIDATION'")
    allowed = place.address().replace("'", "''")
    database.execute(f"SET allowed_directories = ['{allowed}']")
    database.execute("SET enable_external_access = false")
    database.execute("SET lock_configuration = true")
    return database


async def _in_time(cursor: Any, path: str, until: float, work: Callable[[], T]) -> T:
    """Return what ``work`` does in a thread; past its time, or when nobody waits any more, DuckDB is stopped."""
    task = asyncio.ensure_future(asyncio.to_thread(_run, path, work))
    try:
        return await asyncio.wait_for(asyncio.shield(task), max(0.0, until - time.monotonic()))
    except TimeoutError as error:
        raise QuestionTooLarge(
            "reading cold files for this takes too long; narrow the window or the filters"
        ) from error
    finally:
        if not task.done():
            cursor.interrupt()
            with contextlib.suppress(StoreError):
                await task


def _run(path: str, work: Callable[[], T]) -> T:
    duckdb = module("duckdb")
    try:
        return work()
    except duckdb.OutOfMemoryException as error:
        raise QuestionTooLarge("answering this from cold files needs too much memory; narrow the window") from error
    except duckdb.InterruptException as error:
        raise QuestionTooLarge("reading cold files for this was stopped") from error
    except (duckdb.IOException, OSError) as error:
        raise RetryableStoreError(
            f"the cold file {path} cannot be read below OTEL_INGEST_COLD_URL: {_first_line(error)}; was it moved? "
            "Where retention or a deletion took it this moment, ask again"
        ) from error
    except duckdb.Error as error:
        raise PermanentStoreError(
            f"the cold file {path} cannot be read, it is damaged: {_first_line(error)}"
        ) from error


def _first_line(error: BaseException) -> str:
    return str(error).split("\n", 1)[0][:200]
