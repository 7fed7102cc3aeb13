"""Step 2: a request's bytes -> its message, records that cannot be parsed left out and named.

``codings`` undoes Content-Encoding, ``json_wire`` makes JSON protobuf, ``protobuf`` and ``json_mapping`` parse,
``status`` encodes the answers.
"""

from enum import Enum
from functools import lru_cache

from otel_ingest.errors import UnsupportedEncoding
from otel_ingest.limits import Limits
from otel_ingest.signals import Signal
from otel_ingest.wire import json_mapping, json_wire, protobuf
from otel_ingest.wire.parsed import Parsed

__all__ = ["Encoding", "Parsed", "as_protobuf", "encoding_of", "parse"]

# Spellings that are remembered; SDKs have two.
_CONTENT_TYPES_MAX = 32


class Encoding(Enum):
    """How a body is written; the value is its media type."""

    PROTOBUF = "application/x-protobuf"
    JSON = "application/json"


@lru_cache(_CONTENT_TYPES_MAX)
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


def as_protobuf(signal: Signal, body: bytes, encoding: Encoding, limits: Limits) -> tuple[bytes, Encoding]:
    """Return a JSON body as protobuf where compiled code can make it that, any other as it is."""
    if encoding is Encoding.PROTOBUF:
        return body, encoding
    made = json_wire.protobuf_of(signal, body, limits)
    return (body, encoding) if made is None else (made, Encoding.PROTOBUF)


def parse(signal: Signal, body: bytes, encoding: Encoding, limits: Limits) -> Parsed:
    """Return the message of ``body``. Raises MalformedRequest when it is no OTLP request at all."""
    json = encoding is Encoding.JSON
    parsed = json_mapping.parse_whole(signal, body, limits) if json else protobuf.parse(signal, body)
    parsed.size_bytes = len(body)
    return parsed
