"""Why nothing is stored of a trace: expired, never seen, or not here yet; as exactly as can be told, and no more."""

from datetime import UTC, datetime

from mcp_tools import arguments as read
from mcp_tools import render
from mcp_tools.errors import UserInputError
from storage.filters import TraceQuery
from storage.reader import Reader
from storage.retention.rules import keep_words, longest_s

# SDKs export every few seconds; what came later than this after the last record is not waited for.
ARRIVING_NS = 30 * read.NS
_DAY_NS = 86_400 * read.NS
# Of this many of the newest traces nearly all must carry their time for it to be no accident: a random id does so
# within an hour once in half a million.
_LOOKED_AT = 10
_AGREE_MIN = 8
_SECONDS_OFF_MAX = 3_600
_UUID7_MS_MIN = 1_577_836_800_000  # 2020: the layout is younger


async def reason_for(reader: Reader, trace_id: str, at: str | None, now_ns: int) -> UserInputError:
    """Return the error that says what is known of a trace that is not stored."""
    info = await reader.store_info()
    tables = ("spans", "log_records")
    oldest = min((t for name in tables if (t := info.oldest_ns[name])), default=None)
    newest = max((t for name in tables if (t := info.newest_ns[name])), default=None)
    waiting = _waiting(reader)
    if oldest is None or newest is None:
        return UserInputError("UNKNOWN_TRACE", f"no trace {trace_id}: nothing is stored yet{waiting}")
    keep_s = await _kept_s(reader, now_ns)
    when, how = await _when(reader, trace_id, at, now_ns)
    lag = f"the newest record is {render.duration(max(now_ns - newest, 0))} old{waiting}"
    if when is None:
        return _at_an_unknown_time(trace_id, oldest, keep_s, lag, now_ns)
    then = f"trace {trace_id} is of {render.time_of(when)} ({how})"
    if keep_s is not None and when < now_ns - keep_s * read.NS:
        return UserInputError(
            "EXPIRED",
            f"{then}; spans and logs are kept for {keep_words(keep_s)}: nothing of that time is kept any more, "
            "and whether it was ever here cannot be told. logger_retention shows the rules.",
        )
    if now_ns - when < ARRIVING_NS:
        return UserInputError(
            "NOT_YET",
            f"nothing of trace {trace_id} is here yet; SDKs send every few seconds. Ask again in a moment: {lag}.",
        )
    if when < oldest:
        return UserInputError(
            "UNKNOWN_TRACE",
            f"{then}; the oldest record here is of {render.time_of(oldest)}, though {keep_words(keep_s)} are kept: "
            "what was before was not sent here, was deleted, or went under a shorter rule.",
        )
    return UserInputError(
        "UNKNOWN_TRACE",
        f"{then}, and records of that time are kept: it was never stored (not sent, or not sampled), or was deleted. "
        f"{lag[0].upper()}{lag[1:]}. logger_search_traces finds others.",
    )


def _at_an_unknown_time(trace_id: str, oldest: int, keep_s: int | None, lag: str, now_ns: int) -> UserInputError:
    """Return what is left to be said of an id that tells no time."""
    begun = f"no span or log record of trace {trace_id} is stored"
    edge = render.time_of(oldest)
    if keep_s is None or oldest > now_ns - keep_s * read.NS + _DAY_NS:
        rules = "nothing expires here" if keep_s is None else f"nothing expires here before {keep_words(keep_s)}"
        said = f"{rules}, and the oldest record is of {edge}: it was never stored (not sent, or not sampled), was "
        said += "deleted, or is older than this store"
    else:
        said = (
            f"if it began before {edge} it has expired ({keep_words(keep_s)} are kept); else it was never stored (not "
        )
        said += "sent, or not sampled) or was deleted. at= (about when it was) tells which"
    return UserInputError(
        "UNKNOWN_TRACE",
        f"{begun}; {said}. If it began within the last {ARRIVING_NS // read.NS} s it may be on its way: {lag}. "
        "logger_search_traces finds others.",
    )


async def _kept_s(reader: Reader, now_ns: int) -> int | None:
    """Return after how many seconds no record of a trace is kept any more; None: some are for ever."""
    found, _ = await reader.retention(datetime.fromtimestamp(now_ns / read.NS, UTC))
    kept = [longest_s([each.rule for each in found], signal) for signal in ("spans", "logs")]
    return None if None in kept else max(seconds for seconds in kept if seconds is not None)


def _waiting(reader: Reader) -> str:
    """Return what receivers took and the store does not have yet."""
    spooled = reader.spooled()
    if spooled is None or not spooled.requests:
        return ""
    return f"; {spooled.records} records that were received wait to be stored, and it may be among them"


async def _when(reader: Reader, trace_id: str, at: str | None, now_ns: int) -> tuple[int | None, str]:
    """Return when a trace was, in ns, as far as that is known, and how it is."""
    if at:
        return read.time_ns(at, "at", now_ns), "as at= says"
    if (when := time_of_uuid7(trace_id, now_ns)) is not None:
        return when, "its id reads as a UUIDv7 of that time"
    newest = await reader.find_traces(TraceQuery(since_ns=now_ns - _DAY_NS, limit=_LOOKED_AT))
    found = [(trace.trace_id, trace.start_ns) for trace in newest.items]
    agree = sum(abs(seconds_of(identifier) - time_ns // read.NS) < _SECONDS_OFF_MAX for identifier, time_ns in found)
    if agree >= _AGREE_MIN and seconds_of(trace_id) * read.NS <= now_ns + _DAY_NS:
        return seconds_of(trace_id) * read.NS, "the ids of this store begin with the time, as X-Ray's do"
    return None, ""


def time_of_uuid7(trace_id: str, now_ns: int) -> int | None:
    """PURE: return the time (ns) in an id that is a UUIDv7 of a time between 2020 and tomorrow; None of any other.

    Of random ids one in eighty thousand looks like that.
    """
    ms = int(trace_id[:12], 16)
    is_one = trace_id[12] == "7" and trace_id[16] in "89ab"
    return ms * 1_000_000 if is_one and _UUID7_MS_MIN <= ms <= (now_ns + _DAY_NS) // 1_000_000 else None


def seconds_of(trace_id: str) -> int:
    """PURE: return the seconds since 1970 that an id of AWS X-Ray begins with."""
    return int(trace_id[:8], 16)
