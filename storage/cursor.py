"""PURE: opaque cursors: a place in an ordering, bound to the question it was made for, with a checksum."""

import base64
import hashlib
import json
from typing import Any

_VERSION = "k1"
_CHECK_CHARS = 10
_DAMAGED = "the cursor is damaged; pass next_cursor back exactly as it came"


class InvalidCursor(ValueError):  # noqa: N818 - named for what it says
    """A cursor that is damaged, or was made for another question; the text says which."""


def encode(place: list[Any], question: str) -> str:
    """Return the cursor for ``place`` (JSON values) in the answer to ``question`` (any canonical text of it)."""
    payload = base64.urlsafe_b64encode(json.dumps(place, separators=(",", ":")).encode()).decode().rstrip("=")
    return f"{_VERSION}.{payload}.{_check(payload)}.{_check(question)}"


def decode(cursor: str, question: str, shape: tuple[type, ...] | None = None) -> list[Any]:
    """Return the place of a cursor, its values of the types ``shape`` names. Raises InvalidCursor.

    The checksum finds damage; it is no signature, so what a caller hands to PostgreSQL is checked by ``shape``.
    """
    parts = cursor.split(".")
    if len(parts) != 4 or parts[0] != _VERSION or parts[2] != _check(parts[1]):  # noqa: PLR2004
        raise InvalidCursor(_DAMAGED)
    if parts[3] != _check(question):
        raise InvalidCursor("the cursor was made with other filters; repeat them, or leave the cursor out")
    try:
        place = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except ValueError as error:
        raise InvalidCursor(_DAMAGED) from error
    if not isinstance(place, list) or (shape is not None and not _fits(place, shape)):
        raise InvalidCursor(_DAMAGED)
    return place


def _fits(place: list[Any], shape: tuple[type, ...]) -> bool:
    """Whether the values have their types, integers within int64."""
    return len(place) == len(shape) and all(
        type(value) is kind and (not isinstance(value, int) or -(1 << 63) <= value < 1 << 63)
        for value, kind in zip(place, shape, strict=True)
    )


def _check(text: str) -> str:
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    return base64.urlsafe_b64encode(digest).decode()[:_CHECK_CHARS]
