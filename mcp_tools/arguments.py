"""PURE: what people and agents write -> what the store is asked. Raises UserInputError with a corrected example."""

import re
from datetime import UTC, datetime, timedelta

from mcp_tools.errors import UserInputError
from storage.query.fields import SEVERITIES, SEVERITY_ALIASES, SEVERITY_MAX

__all__ = ["NS", "SEVERITIES", "duration_ns", "hex_id", "severity", "time_ns"]

NS = 1_000_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UNITS_NS = {
    "ns": 1,
    "us": 1_000,
    "ms": 1_000_000,
    "s": NS,
    "m": 60 * NS,
    "h": 3_600 * NS,
    "d": 86_400 * NS,
    "w": 604_800 * NS,
}
# Digits are ASCII and few: no number here gets near what float, int64 or PostgreSQL cannot hold.
_NUMBER = r"[0-9]{1,19}(?:\.[0-9]{1,9})?"
_UNIT = r"[a-z]{1,7}"
_DURATION = re.compile(rf"({_NUMBER})\s*({_UNIT})\Z")
_RELATIVE = re.compile(rf"(?:now|last|past)?\s*-?\s*({_NUMBER}\s*({_UNIT}))(?:\s+ago)?\Z")
_WORDS = {"sec": "s", "second": "s", "min": "m", "minute": "m", "hr": "h", "hour": "h", "day": "d", "week": "w"}
_HEX = re.compile(r"[0-9a-fA-F]+\Z")
_DURATION_NS_MAX = 200 * 366 * 86_400 * NS
_TIME_EXAMPLE = 'for example "15m", "2026-11-24T10:00:00Z" or seconds since 1970'
# Epoch numbers by size: seconds to the year 5138, then milliseconds, microseconds, nanoseconds.
_EPOCH_SCALES = ((1e11, NS), (1e14, 1_000_000), (1e17, 1_000), (float("inf"), 1))


def time_ns(value: str, name: str, now_ns: int) -> int:
    """Return a time in ns since 1970: relative ("15m", "now-1h", "now"), RFC 3339, or epoch in s, ms, us or ns."""
    text = value.strip()
    if text.lower() == "now":
        return now_ns
    if (match := _RELATIVE.match(text.lower())) and _unit(match[2]) is not None:
        return now_ns - duration_ns(match[1], name)
    if re.fullmatch(_NUMBER, text):
        number = float(text)
        scale = next(scale for bound, scale in _EPOCH_SCALES if number < bound)
        return int(text) * scale if text.isdigit() else int(number * scale)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UserInputError("INVALID_TIME", f"{name}={value[:60]!r} is no time; {_TIME_EXAMPLE}") from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // timedelta(microseconds=1) * 1_000


def duration_ns(value: str, name: str) -> int:
    """Return a duration such as "250ms", "1.5s" or "2h" in ns."""
    match = _DURATION.match(value.strip().lower())
    unit = _unit(match[2]) if match is not None else None
    if match is None or unit is None:
        raise UserInputError("INVALID_DURATION", f'{name}={value[:60]!r} is no duration; for example "250ms" or "2h"')
    duration = int(float(match[1]) * _UNITS_NS[unit])
    if duration > _DURATION_NS_MAX:
        raise UserInputError(
            "INVALID_DURATION", f'{name}={value[:60]!r} is over 200 years; for example "250ms" or "2h"'
        )
    return duration


def _unit(word: str) -> str | None:
    """Return the unit of a word in full or short: "minutes", "min" and "m" are one."""
    return word if word in _UNITS_NS else _WORDS.get(word.removesuffix("s"))


def severity(value: str) -> int:
    """Return the severity number of a name (any case) or a number from 1 to 24."""
    text = value.strip().lower()
    text = SEVERITY_ALIASES.get(text, text)
    if text in SEVERITIES:
        return SEVERITIES[text]
    if re.fullmatch(r"[0-9]{1,2}", text) and 1 <= int(text) <= SEVERITY_MAX:
        return int(text)
    names = ", ".join(SEVERITIES)
    raise UserInputError("INVALID_SEVERITY", f"severity_min={value[:60]!r}; one of {names}, or a number 1 to 24")


def hex_id(value: str, name: str, digits: int) -> str:
    """Return an id in lower-case hex; dashes of a UUID are taken out."""
    text = value.strip().replace("-", "").lower()
    if len(text) != digits or not _HEX.match(text):
        one_of_a_span = name == "trace_id" and len(text) == 16 and _HEX.match(text)  # noqa: PLR2004
        what = f'; these 16 are of a span, which logger_query(query="span_id:{text}") finds' if one_of_a_span else ""
        raise UserInputError("INVALID_ID", f"{name}={value[:60]!r} must be {digits} hexadecimal digits{what}")
    return text
