"""What is in spool directories, seen by somebody who does not own them: read only, also while their owners write."""

from dataclasses import dataclass
from pathlib import Path

from otel_ingest.spool.disk import RealDisk
from otel_ingest.spool.format import Contents, Damage, Frame, UnknownVersionError, contents_of, merged
from otel_ingest.spool.owner import is_owned, spool_directories
from otel_ingest.spool.segments import SegmentLog
from storage.views import Spooled


@dataclass(frozen=True, slots=True)
class Seen:
    """One directory. ``owned``: a running receiver drains it by itself. Times in ns since 1970, 0 for none."""

    directory: Path
    owned: bool
    segments: int
    requests: int
    records: int
    bytes: int
    set_aside_bytes: int
    oldest_ns: int


@dataclass(frozen=True, slots=True)
class Verified:
    """One segment, read whole: what passed its checksums, and the bytes that did not."""

    segment: str
    requests: int
    records: int
    bytes: int
    damaged_bytes: int
    cut_off_bytes: int
    """After the last request, as a crash in the middle of a write leaves them; they were never acknowledged."""


def look(path: Path) -> list[Seen]:
    """Return what is in the spools that ``path`` is or holds. Raises OSError, UnknownVersionError."""
    return [_look(directory) for directory in spool_directories(path)]


def verify(directory: Path) -> list[Verified]:
    """Read all segments of a directory, the oldest first. Raises OSError, UnknownVersionError."""
    log = _log_of(directory)
    found = []
    for segment in log.segments:
        contents, damaged, cut_off = Contents(0, {}, 0), 0, 0
        for item in log.read(segment):
            if isinstance(item, Frame):
                contents = merged(contents, contents_of([item.request]))
            elif isinstance(item, Damage) and item.at_end and not segment.sealed:
                cut_off += item.length
            else:
                damaged += item.length
        records = sum(contents.records.values())
        found.append(Verified(str(segment.name), contents.requests, records, segment.length, damaged, cut_off))
    return found


def summary(path: Path, now_ns: int) -> Spooled | None:
    """Return what is at rest below ``path`` in all; None when there is no spool, or it cannot be read."""
    try:
        seen = look(path)
    except (OSError, UnknownVersionError):
        return None
    if not seen:
        return None
    oldest_ns = min((s.oldest_ns for s in seen if s.oldest_ns), default=now_ns)
    return Spooled(
        requests=sum(s.requests for s in seen),
        records=sum(s.records for s in seen),
        bytes=sum(s.bytes for s in seen),
        set_aside_bytes=sum(s.set_aside_bytes for s in seen),
        oldest_s=max(0.0, (now_ns - oldest_ns) / 1e9),
        state="draining" if all(s.owned for s in seen if s.requests) else "no receiver drains it",
    )


def _look(directory: Path) -> Seen:
    log = _log_of(directory)
    contents = log.contents
    return Seen(
        directory,
        is_owned(directory),
        len(log.segments),
        contents.requests,
        sum(contents.records.values()),
        log.used_bytes,
        log.set_aside_bytes,
        contents.oldest_ns,
    )


def _log_of(directory: Path) -> SegmentLog:
    log = SegmentLog(RealDisk(directory), bytes_max=0, new_id=lambda: b"", clock_ns=lambda: 0)
    log.recover()
    return log
