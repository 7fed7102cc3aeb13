r"""PURE: regular expressions of RE2 (Go, Loki) -> PostgreSQL's, for where a line is searched. Raises RegexError.

Both find the same but for classes such as \w, which PostgreSQL takes for every alphabet. What only one of them has is
refused in words rather than read otherwise.
"""

import re
from collections.abc import Mapping

try:
    import re2
except ImportError:  # not built for every system; the standard library finds the same mistakes in what is common
    re2 = None

REGEX_CHARS_MAX = 1_000
_WRONG: tuple[type[Exception], ...] = (re.error, RecursionError, UnicodeError)
if re2 is not None:
    _WRONG = (*_WRONG, re2.error)
_FLAGS = re.compile(r"\(\?([ims]+)\)")
_BACKSLASH = r"\\x\{(?P<code>[0-9a-fA-F]{1,6})\}|\\x(?P<byte>[0-9a-fA-F]{2})|\\(?P<escaped>[\s\S])"
_ESCAPE = re.compile(_BACKSLASH)
_SET = r"(?P<set>\[\^?\]?(?:\\[\s\S]|\[:\^?\w+:\]|[^\]\\])*\])"
_TOKEN = re.compile(rf"{_SET}|{_BACKSLASH}|\(\?P?<[^>=!]+>|\(\?(?P<extension>[^:])|[\s\S]")
_SAME = frozenset("dDsSwWAnrtfva")
_OUTSIDE = {"b": r"\y", "B": r"\Y", "z": r"\Z"}
_COUNTS = re.compile(r"(?<=[{,])[0-9]+(?=[,}])")
_REPEAT_MAX = 255


class RegexError(ValueError):
    """A regular expression that is wrong, or that PostgreSQL has no way to say."""


def check(pattern: str) -> None:
    """Raise RegexError where ``pattern`` is no regular expression of RE2."""
    if len(pattern) > REGEX_CHARS_MAX:
        raise RegexError(f"a regular expression has {REGEX_CHARS_MAX:,} characters at most")
    try:
        if re2 is not None:
            options = re2.Options()
            options.log_errors = False
            re2.compile(pattern, options)
        else:
            re.compile(pattern)
    except _WRONG as error:
        raise RegexError(f"error parsing regexp: {_words(error)}: `{pattern[:60]}`") from None


def fullmatch(pattern: str, text: str) -> bool:
    """Whether all of ``text`` matches a checked pattern."""
    compiled = re2.compile(pattern) if re2 is not None else re.compile(pattern)
    return compiled.fullmatch(text) is not None


def to_postgresql(pattern: str) -> str:
    """Return the pattern as PostgreSQL's ``~`` takes it."""
    check(pattern)
    if any(int(count) > _REPEAT_MAX for count in _COUNTS.findall(pattern)):
        raise RegexError(f"a repetition goes to {_REPEAT_MAX} at most here: `{pattern[:60]}`")
    leading = _FLAGS.match(pattern)
    flags = leading[1] if leading else ""
    rest = pattern[leading.end() :] if leading else pattern
    # "s" and "w": . and [^a] hold a line's end as well, as [^a] does in Go; what . means there is put into words below.
    options = ("w" if "m" in flags else "s") + ("i" if "i" in flags else "")
    dot = "." if "s" in flags else r"[^\n]"
    return f"(?{options})" + "".join(_translated(found, pattern, dot) for found in _TOKEN.finditer(rest))


def _translated(found: "re.Match[str]", pattern: str, dot: str) -> str:
    text = found[0]
    if found["set"]:
        return _ESCAPE.sub(lambda inner: _escaped(inner, pattern, {}), text)
    if text.startswith("\\"):
        return _escaped(found, pattern, _OUTSIDE)
    if text.startswith("(?"):
        if found["extension"] is not None:
            raise RegexError(f"(?{found['extension']} is supported at the start alone: `{pattern[:60]}`")
        return "("
    return dot if text == "." else text


def _escaped(found: "re.Match[str]", pattern: str, other: Mapping[str, str]) -> str:
    """Return what begins with a backslash; ``other``: what PostgreSQL writes otherwise here."""
    if found["code"] or found["byte"]:
        return f"\\U{int(found['code'] or found['byte'], 16):08x}"
    escaped = found["escaped"]
    if escaped in other:
        return other[escaped]
    if escaped in _SAME or not (escaped.isascii() and escaped.isalnum()):
        return found[0]
    raise RegexError(f"\\{escaped} is not supported in a regular expression here: `{pattern[:60]}`")


def _words(error: Exception) -> str:
    said = str(error.args[0]) if error.args else str(error)
    return said.strip("b'\"")
