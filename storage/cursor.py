"""PURE: opaque cursors: a place in an ordering, bound to the question it was made for, with a checksum."""

import base64
import hashlib
import json
from typing import Any

_VERSION = "k1"
_CHECK_CHARS = 10


class InvalidCursor(ValueError):  # noqa: N818 - named for what it says
    """A cursor that is damaged, or was made for another question; the text says which."""


def encode(place: list[Any], question: str) -> str:
    """Return the cursor for ``place`` (JSON values) in the answer to ``question`` (any canonical text of it)."""
    payload = base64.urlsafe_b64encode(json.dumps(place, separators=(",", ":")).encode()).decode().rstrip("=")
    return f"{_VERSION}.{payload}.{_check(payload)}.{_check(question)}"


def decode(cursor: str, question: str) -> list[Any]:
    """Return the place of a cursor. Raises InvalidCursor."""
    parts = cursor.split(".")
    if len(parts) != 4 or parts[0] != _VERSION or parts[2] != _check(parts[1]):  # noqa: PLR2004
        raise InvalidCursor("the cursor is damaged; pass next_cursor back exactly as it came")
    if parts[3] != _check(question):
        raise InvalidCursor("the cursor was made with other filters; repeat them, or leave the cursor out")
    place = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    return list(place)


def _check(text: str) -> str:
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    return base64.urlsafe_b64encode(digest).decode()[:_CHECK_CHARS]
