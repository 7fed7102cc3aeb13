"""Compiled patterns over UTF-8 bytes: google-re2 where it is installed, the standard library otherwise.

The rules are written so that both are linear: every repetition that may run long begins behind a boundary or a
literal and is over one class of characters. Offsets are bytes, so that nothing is encoded or counted twice.
"""

import re
from typing import Any, Protocol, cast

try:
    import re2
except ImportError:  # no wheel for this platform
    re2 = None


def linear() -> bool:
    """Return whether the engine is linear for every pattern, not only for the shared rules."""
    return re2 is not None


class Match(Protocol):
    """What both engines' matches offer."""

    def span(self, group: int = 0, /) -> tuple[int, int]:
        """Return first and last offset of a group, (-1, -1) where it took no part."""


class Pattern(Protocol):
    """What both engines' compiled patterns offer."""

    def search(self, text: bytes, pos: int = 0, /) -> Match | None:
        """Return the leftmost match from ``pos`` on."""

    def match(self, text: bytes, pos: int = 0, /) -> Match | None:
        """Return the match that begins at ``pos``."""


def compile_pattern(pattern: str, flags: str = "") -> Pattern:
    """Compile a pattern of the syntax that RE2, Python and JavaScript share; ``i``: the case of letters is ignored."""
    if re2 is None:
        return cast("Pattern", re.compile(pattern.encode(), re.IGNORECASE if "i" in flags else 0))
    options: Any = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    options.case_sensitive = "i" not in flags
    options.log_errors = False
    options.max_mem = 64 << 20
    return cast("Pattern", re2.compile(pattern.encode(), options))
