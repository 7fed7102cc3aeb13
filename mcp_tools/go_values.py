"""PURE: durations and times as Go's programs write them. Raises ValueError."""

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal

_UNITS_NS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,  # U+00B5
    "μs": 1_000,  # U+03BC
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60 * 1_000_000_000,
    "h": 3_600 * 1_000_000_000,
    # Not Go's own, but of Prometheus' and Loki's durations.
    "d": 86_400 * 1_000_000_000,
    "w": 604_800 * 1_000_000_000,
    "y": 31_536_000 * 1_000_000_000,
}
_PART = re.compile(r"([0-9]{1,19}(?:\.[0-9]{0,9})?)(ns|us|µs|μs|ms|s|m|h|d|w|y)")
_RFC3339 = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ]([0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]{1,9}))?([Zz]|[+ -][0-9]{2}:[0-9]{2})\Z"
)
_INT64_MAX = (1 << 63) - 1
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def duration_ns(text: str) -> int:
    """Return "1h2m", "1.5s" or "100ms" in ns."""
    place, total = 0, Decimal(0)
    while match := _PART.match(text, place):
        total += Decimal(match[1]) * _UNITS_NS[match[2]]
        place = match.end()
    if not text or place != len(text) or total > _INT64_MAX:
        raise ValueError(f"{text[:60]!r} is no duration; it is written 1h30m, 1.5s or 100ms")
    return int(total)


def rfc3339_ns(text: str) -> int:
    """Return an RFC 3339 time in ns since 1970; a space for the plus that a client did not escape is taken."""
    match = _RFC3339.match(text)
    moment = _moment(match) if match else None
    if match is None or moment is None:
        raise ValueError(f"{text[:60]!r} is no time; it is written 2026-11-24T10:00:00.5Z")
    return (moment - _EPOCH) // timedelta(seconds=1) * 1_000_000_000 + int((match[3] or "0").ljust(9, "0"))


def _moment(match: "re.Match[str]") -> datetime | None:
    """Return the whole second of a time, None where there is no such second."""
    zone = "+00:00" if match[4] in "Zz" else match[4].replace(" ", "+")
    try:
        return datetime.fromisoformat(f"{match[1]}T{match[2]}{zone}").astimezone(UTC)
    except (ValueError, OverflowError):
        return None
