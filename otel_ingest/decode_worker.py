"""The decoding process: large bodies come on standard input, their rows go to standard output, one request at a time.

A process of its own because parsing holds the interpreter's lock for seconds, and because its memory has a limit that
the kernel keeps: 2 bytes of a hostile body are 100 of a message. Started by ``decoder``; ends with its input.
"""

import gc
import os
import pickle
import resource
import signal as signals
import struct
import sys
from array import array
from dataclasses import dataclass
from typing import BinaryIO

from otel_ingest import memory
from otel_ingest.decoding import Decoding
from otel_ingest.errors import IngestError, MalformedRequest, RequestTooLarge
from otel_ingest.limits import Limits, Rejection
from otel_ingest.redact import Found, SecondLine
from otel_ingest.redaction import shared_rules
from otel_ingest.signals import SIGNALS
from otel_ingest.wire import Encoding, as_protobuf
from storage.batch import Tuples
from storage.counts import Counts
from storage.rows import ResourceRow, ScopeRow

HEADER = struct.Struct("!BBqQ")
"""A request: position of its signal in SIGNALS, of its encoding in Encoding, when it came (ns), bytes of its body."""
LENGTH = struct.Struct("!I")
"""Stands before each pickled piece of the answer."""

# A piece of rows is some 300 KB: the server reads it in a millisecond.
_RECORDS_A_PIECE = 1_000
# Requests beside a large one come first.
_NICE = 5


@dataclass(slots=True)
class Piece:
    """Rows of a batch that is on its way, in order."""

    rows: Tuples
    positions: "array[int]"
    size_bytes: int


@dataclass(slots=True)
class End:
    """The last piece: all of a Decoded but its rows."""

    days: set[int]
    counts: Counts
    resources: dict[bytes, ResourceRow]
    scopes: dict[bytes, ScopeRow]
    rejections: list[Rejection]
    bytes_by_component: dict[str, int]
    masked: Found


@dataclass(slots=True)
class Failure:
    """Instead of the end: why the request is not stored. ``field`` is that of a MalformedRequest."""

    kind: str
    text: str
    field: str = ""


def main() -> None:
    """Serve until the input ends.

    The first piece of input is the pickled Limits, the memory limit in bytes, and whether secrets are masked.
    """
    # Ctrl-C is for the server, which finishes what it accepted with our help.
    for number in (signals.SIGINT, signals.SIGTERM):
        signals.signal(number, signals.SIG_IGN)
    os.nice(_NICE)
    source, target = sys.stdin.buffer, sys.stdout.buffer
    # From the process that started us, like all that is read here.
    setup = _exactly(source, LENGTH.unpack(_exactly(source, LENGTH.size))[0])
    limits, memory_bytes, redact = pickle.loads(setup)  # noqa: S301
    second_line = SecondLine(shared_rules()) if redact else None
    resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))
    memory.tame()
    gc.freeze()
    gc.disable()
    while header := source.read(HEADER.size):
        _serve(header, source, target, limits, second_line)
        target.flush()
        memory.trim()


def _serve(header: bytes, source: BinaryIO, target: BinaryIO, limits: Limits, second_line: SecondLine | None) -> None:
    try:
        failure = _attempt(header, source, target, limits, second_line)
    except MemoryError:
        failure = None
    else:
        if failure is not None:
            _send(target, failure)
        return
    # Only here, with all of it gone, is there memory to say so.
    _send(target, _too_large(HEADER.unpack(header)[3]))


def _attempt(
    header: bytes, source: BinaryIO, target: BinaryIO, limits: Limits, second_line: SecondLine | None
) -> Failure | None:
    """Decode a request and send its rows; return why not. Raises MemoryError."""
    signal, encoding, received_ns, size = HEADER.unpack(header)
    try:
        # Not by a name: once it is parsed, its memory is wanted for the rows.
        kind = SIGNALS[signal]
        given = as_protobuf(kind, _body(source, size), list(Encoding)[encoding], limits)
        _decode(Decoding(kind, *given, limits, received_ns, second_line), target)
    except MalformedRequest as error:
        return Failure(MalformedRequest.__name__, str(error), error.field)
    except IngestError as error:
        return Failure(type(error).__name__, str(error))
    return None


def _body(source: BinaryIO, size: int) -> bytes:
    try:
        return _exactly(source, size)
    except MemoryError as error:
        # What is unread of it would be taken for a header: a fresh process takes the next one.
        raise SystemExit(1) from error


def _decode(decoding: Decoding, target: BinaryIO) -> None:
    decoded, batch, more = decoding.decoded, decoding.decoded.batch, True
    while more:
        before = batch.size_bytes
        more = decoding.turn(_RECORDS_A_PIECE)
        _send(target, Piece(batch.rows, decoded.positions, batch.size_bytes - before))
        batch.rows, decoded.positions = Tuples(), array("I")
    rejections, books = decoded.rejections, decoded.bytes_by_component
    _send(target, End(batch.days, batch.counts, batch.resources, batch.scopes, rejections, books, decoded.masked))


def _too_large(size: int) -> Failure:
    limit = resource.getrlimit(resource.RLIMIT_DATA)[0]
    return Failure(
        RequestTooLarge.__name__,
        f"a body of {size} bytes like this takes more than the {limit} bytes of memory there are for decoding one "
        "(decode_bytes_max); send smaller batches, or protobuf instead of JSON",
    )


def _send(target: BinaryIO, piece: Piece | End | Failure) -> None:
    data = pickle.dumps(piece, protocol=pickle.HIGHEST_PROTOCOL)
    target.write(LENGTH.pack(len(data)))
    target.write(data)


def _exactly(source: BinaryIO, size: int) -> bytes:
    data = source.read(size)
    if len(data) < size:
        raise SystemExit(0)
    return data
