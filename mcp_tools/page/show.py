"""PURE: values as a page shows them. What a record says comes out as text: markup is escaped, what hides is seen."""

import re
import unicodedata
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import orjson
from markupsafe import Markup, escape

from storage.mapping import severity_name

_MS = 1_000_000
_NS = 1_000_000_000
_HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
# Invisible, though Unicode files them under letters and marks: fillers, joiners, variation selectors.
_FILLERS = "\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef"
_ODD = re.compile(f"[^\\x20-\\x7e\\xa1-\\xac\\xae-\\u024f]|[{_FILLERS}]")
_FILLER = re.compile(f"[{_FILLERS}]")
# Names of U+0000 to U+001F, and of U+007F: fonts have them, unlike the pictures of U+2400.
_NAMES = [
    "NUL", "SOH", "STX", "ETX", "EOT", "ENQ", "ACK", "BEL", "BS", "TAB", "⏎", "VT", "FF", "CR", "SO", "SI",
    "DLE", "DC1", "DC2", "DC3", "DC4", "NAK", "SYN", "ETB", "CAN", "EM", "SUB", "ESC", "FS", "GS", "RS", "US",
]  # fmt: skip
_DELETE = 0x7F
# A page shows this much of one field; the record in full is its JSON.
FIELD_CHARS_MAX = 64 * 1024


def line(text: object, limit: int = 400) -> Markup:
    """Return one line: line ends as ⏎, control and bidi characters by name, cut visibly at ``limit`` characters."""
    return Markup("").join(_pieces(str(text), limit, keep="\t"))


def block(text: object, limit: int = FIELD_CHARS_MAX) -> Markup:
    """Return text of several lines for <pre>, otherwise as ``line``."""
    return Markup("").join(_pieces(str(text), limit, keep="\t\n"))


def plain(text: object, limit: int = 400) -> str:
    """Return one line as ``line``, where no element can stand (attributes, titles); the template escapes it."""
    shown = str(text)
    cut = f"…+{len(shown) - limit}" if len(shown) > limit else ""
    return _ODD.sub(lambda match: _symbol(match[0], "\t") or match[0], shown[:limit]) + cut


def _pieces(text: str, limit: int, keep: str) -> Iterator[Markup]:
    """Yield the text in escaped pieces, each hidden character as a marked symbol."""
    shown, at = text[:limit], 0
    for match in _ODD.finditer(shown):
        symbol = _symbol(match[0], keep)
        if symbol is not None:
            yield escape(shown[at : match.start()])
            yield Markup('<span class="ctl" title="U+{}">{}</span>').format(f"{ord(match[0]):04X}", symbol)
            at = match.end()
    yield escape(shown[at:])
    if len(text) > limit:
        yield Markup('<span class="ctl">…+{}</span>').format(len(text) - limit)


def _symbol(character: str, keep: str) -> str | None:
    """Return what stands for a character that cannot be seen; None: it can."""
    if character in keep:
        return None
    code = ord(character)
    if unicodedata.category(character) not in _HIDDEN and not _FILLER.match(character):
        return None
    if code < len(_NAMES):
        return _NAMES[code]
    return "DEL" if code == _DELETE else f"U+{code:04X}"


def value(given: Any) -> str:
    """Return an attribute's value as text: strings as they are, everything else as JSON."""
    return given if isinstance(given, str) else orjson.dumps(given, default=str).decode()


def clock(time_ns: int) -> str:
    """Return the time of day in UTC with milliseconds, 14:03:07.250."""
    moment = _moment(time_ns)
    return f"{moment:%H:%M:%S}.{time_ns // _MS % 1000:03d}" if moment else str(time_ns)


def stamp(time_ns: int) -> str:
    """Return date and time in UTC with milliseconds, as the links of a page carry them."""
    moment = _moment(time_ns)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{time_ns // _MS % 1000:03d}Z" if moment else str(time_ns)


def day(time_ns: int) -> str:
    """Return the date in UTC."""
    moment = _moment(time_ns)
    return f"{moment:%a %d %b %Y}" if moment else ""


def _moment(time_ns: int) -> datetime | None:
    try:
        return datetime.fromtimestamp(time_ns // _NS, UTC)
    except (OverflowError, ValueError, OSError):
        return None


def ago(time_ns: int | None, now_ns: int) -> str:
    """Return how long ago something was, in one unit: 12 s ago."""
    if not time_ns:
        return "never"
    seconds = (now_ns - time_ns) // _NS
    return "now" if seconds < 1 else f"{span_of(seconds)} ago"


def span_of(seconds: float) -> str:
    """Return a length of time in its largest unit: 12 s, 5 min, 3 h, 2 d."""
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def took(ns: float) -> str:
    """Return a duration in three digits: 640 µs, 12.1 ms, 1.50 s; from ten minutes on in whole units."""
    if ns >= 600 * _NS:
        return span_of(ns / _NS)
    for unit, size in (("s", _NS), ("ms", _MS), ("µs", 1_000)):
        if ns >= size:
            shown = ns / size
            return f"{shown:.{0 if shown >= 100 else 1 if shown >= 10 else 2}f} {unit}"  # noqa: PLR2004
    return f"{ns:.0f} ns"


def many(count: float) -> str:
    """Return a number with thin spaces between its thousands."""
    return f"{count:,.0f}".replace(",", "\u202f")


def sized(count: float) -> str:
    """Return bytes in their unit of 1024: 640 B, 12 KiB, 1.5 GiB."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:  # noqa: PLR2004
            return f"{count:.0f} {unit}" if unit == "B" or count >= 10 else f"{count:.1f} {unit}"  # noqa: PLR2004
        count /= 1024
    return f"{count:.1f} TiB"


def level(number: int) -> str:
    """Return the short name of a severity number in lower case, as classes of the stylesheet have it."""
    return severity_name(number).lower()
