"""Where cold files are: a directory of this machine, or anything fsspec has a file system for (s3://bucket/prefix).

Every path is below the location, and made here. fsspec, DuckDB and pyarrow are asked for when a file is: whoever has
no cold files needs none of them.
"""

import importlib
import os
import secrets
from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from storage.errors import PermanentStoreError, RetryableStoreError

_SIGNALS = {"log_records": "logs", "spans": "spans", "metric_points": "metrics"}
_DIRECTORY_MODE, _FILE_MODE = 0o700, 0o600
_INFOS_MAX = 10_000
_MISSING = "cold files need DuckDB, fsspec and pyarrow: pip install 'otel-ingest[cold]' (or [cold-s3])"


def module(name: str) -> Any:
    """Return a module of the extra ``cold``. Raises PermanentStoreError where it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise PermanentStoreError(f"{_MISSING}; {name} is not there: {error}") from error


def new_path(table: str, since: datetime) -> str:
    """PURE but for the dice: return a path that no file ever had, one directory a signal and day."""
    return f"{_SIGNALS[table]}/day={since:%Y-%m-%d}/{since:%H}-{secrets.token_hex(8)}.parquet"


def reading_fs(url: str) -> Any:
    """Return a file system for reading what never changes: it asks once what a file is. Raises StoreError."""
    fs = module("fsspec").core.url_to_fs(url, skip_instance_cache=True)[0]
    for name in ("info", "exists", "isfile", "glob"):
        setattr(fs, name, _once(getattr(fs, name)))
    return fs


def _once(ask: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that remembers what it was told of a path, where that is anything at all."""
    known: OrderedDict[str, Any] = OrderedDict()

    def answer(path: str, *args: Any, **options: Any) -> Any:
        found = known.get(path)
        if not found:
            found = ask(path, *args, **options)
            if found:
                known[path] = found
            if len(known) > _INFOS_MAX:
                known.popitem(last=False)
        return found

    return answer


class Location:
    """A place for files. Its methods block, and raise StoreError: permanent where a setting is wrong."""

    def __init__(self, url: str) -> None:
        """Take a path or a URL. Raises PermanentStoreError."""
        try:
            self.fs, self._root = module("fsspec").core.url_to_fs(url)
        except (ImportError, ValueError) as error:
            raise PermanentStoreError(f"OTEL_INGEST_COLD_URL: {error}") from error
        self._root = self._root.rstrip("/")
        self.is_local = "file" in _protocols(self.fs)

    def address(self, path: str = "") -> str:
        """Return what DuckDB is to call a path."""
        whole = f"{self._root}/{path}"
        return whole if self.is_local else str(self.fs.unstrip_protocol(whole))

    def begin(self, path: str) -> Any:
        """Return a file that is new, open for writing."""
        try:
            if not self.is_local:
                return self.fs.open(f"{self._root}/{path}", "wb")
            there = Path(self.address(path))
            for folder in reversed([there.parent, *there.parent.parents]):
                if not folder.exists():
                    folder.mkdir(mode=_DIRECTORY_MODE, exist_ok=True)
            return os.fdopen(os.open(there, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _FILE_MODE), "wb")
        except OSError as error:
            raise _failed("written", path, error) from error

    def finish(self, path: str, file: Any) -> int:
        """Close a file when all of it is on its disk, and its name too; return its bytes."""
        try:
            if self.is_local:
                file.flush()
                os.fsync(file.fileno())
            file.close()
            if self.is_local:
                there = Path(self.address(path))
                for folder in (there.parent, there.parent.parent, there.parent.parent.parent):
                    _sync(folder)
            return int(self.fs.size(f"{self._root}/{path}"))
        except OSError as error:
            raise _failed("written", path, error) from error

    def remove(self, path: str) -> None:
        """Remove a file; one that is not there is removed already."""
        try:
            self.fs.rm_file(f"{self._root}/{path}")
        except FileNotFoundError:
            return
        except OSError as error:
            raise _failed("removed", path, error) from error

    def has(self, path: str) -> bool:
        """Whether a file is there."""
        try:
            self.fs.invalidate_cache()
            return bool(self.fs.exists(f"{self._root}/{path}"))
        except OSError as error:
            raise _failed("looked for", path, error) from error


@lru_cache(maxsize=8)
def location(url: str) -> Location:
    """Return the location of a setting. Raises PermanentStoreError: it is empty, or what it needs is not installed."""
    if not url:
        raise PermanentStoreError("this needs cold files: set OTEL_INGEST_COLD_URL to where they are")
    return Location(url)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _protocols(fs: Any) -> tuple[str, ...]:
    return (fs.protocol,) if isinstance(fs.protocol, str) else tuple(fs.protocol)


def _failed(what: str, path: str, error: OSError) -> RetryableStoreError:
    return RetryableStoreError(f"the cold file {path} could not be {what}: {error}")
