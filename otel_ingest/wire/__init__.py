"""Step 2: a request's bytes -> its message, records that cannot be parsed left out and named.

``codings`` undoes Content-Encoding, ``protobuf`` and ``json_mapping`` parse, ``status`` encodes the answers.
"""

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from otel_ingest.errors import UnsupportedEncoding
from otel_ingest.limits import Limits, Rejection
from otel_ingest.signals import Signal


class Encoding(Enum):
    """How a body is written; the value is its media type."""

    PROTOBUF = "application/x-protobuf"
    JSON = "application/json"


@dataclass(slots=True)
class Parsed:
    """A request without the records that could not be parsed.

    ``rejections`` name those; ``indexes`` holds each remaining record's position in the request as sent, in the order
    of the message (None: nothing was left out, position is order). ``size_bytes`` is the length of the body.
    """

    message: Any
    rejections: list[Rejection] = field(default_factory=list)
    indexes: list[int] | None = None
    size_bytes: int = 0


def encoding_of(content_type: str) -> Encoding:
    """Return the encoding a Content-Type names: any case, parameters allowed (RFC 9110, 8.3.1).

    Raises UnsupportedEncoding.
    """
    media_type = content_type.partition(";")[0].strip().lower()
    for encoding in Encoding:
        if media_type == encoding.value:
            return encoding
    raise UnsupportedEncoding(
        f"Content-Type {media_type[:100]!r} is not taken; send application/x-protobuf or application/json",
        header="Content-Type",
    )


def parse(signal: Signal, body: bytes, encoding: Encoding, limits: Limits) -> Parsed:
    """Return the message of ``body``. Raises MalformedRequest when it is no OTLP request at all."""
    from otel_ingest.wire import json_mapping, protobuf  # noqa: PLC0415 - they use Parsed

    json = encoding is Encoding.JSON
    parsed = json_mapping.parse(signal, body, limits) if json else protobuf.parse(signal, body)
    parsed.size_bytes = len(body)
    return parsed
