"""What step 2 hands to step 3: a request's message, and the account of what could not be parsed."""

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from otel_ingest.limits import Rejection


class Form(Enum):
    """How deep a request is parsed."""

    WHOLE = "an Export*ServiceRequest"
    OUTLINE = "where in its bytes resources, scopes and records are"


@dataclass(slots=True)
class Parsed:
    """A request without the records that could not be parsed.

    ``rejections`` name those; ``indexes`` holds each remaining record's position in the request as sent, in the order
    of the message (None: nothing was left out, position is order).
    ``size_bytes`` is the length of the body. ``form``: what ``message`` is.
    """

    message: Any
    rejections: list[Rejection] = field(default_factory=list)
    indexes: list[int] | None = None
    size_bytes: int = 0
    form: Form = Form.WHOLE


class Tally:
    """Counts the records of a request in wire order: which are kept, which are rejected and why."""

    def __init__(self) -> None:
        self._next = 0
        self._indexes: list[int] = []
        self._rejections: list[Rejection] = []

    def accept(self, count: int = 1) -> None:
        """Count ``count`` records that are in the message."""
        self._indexes.extend(range(self._next, self._next + count))
        self._next += count

    def reject(self, reason: str, count: int = 1) -> None:
        """Count ``count`` records that are left out of the message, and why."""
        if count:
            self._rejections.append(Rejection(self._next, reason, count))
            self._next += count

    def parsed(self, message: Any) -> Parsed:
        """Return ``message``, which holds what was accepted, with the account."""
        return Parsed(message, self._rejections, self._indexes if self._rejections else None)
