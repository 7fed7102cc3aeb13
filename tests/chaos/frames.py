"""PURE: finds the moments of a transaction in the bytes that pass a proxy: PostgreSQL's protocol, HTTP/1.1, HTTP/2.

Each splitter takes the bytes of one direction as they come and gives pieces back, in order, nothing left out: a piece
is one message with the moment it stands for, or None where it is none of those below.
"""

import struct
from collections.abc import Iterator
from enum import StrEnum
from typing import Protocol


class Moment(StrEnum):
    """A message that something can be killed around, in the order of one request."""

    COPY = "COPY"
    COPY_DATA = "COPY data"
    COPY_DONE = "end of COPY data"
    COPIED = "COPY completed"
    COMMIT = "COMMIT"
    COMMITTED = "COMMIT completed"
    ANSWER = "answer to the export"


Piece = tuple[bytes, Moment | None]


class Splitter(Protocol):
    """Cuts one direction of one connection into messages."""

    def feed(self, data: bytes) -> Iterator[Piece]:
        """Yield what is complete."""
        ...


class PostgresRequests:
    """From the client to PostgreSQL; the first message (startup, cancel) has no type byte.

    COMMIT comes as a query of its own, or is executed in a pipeline, as writers do: what is prepared under which name,
    and which of it was bound last, is kept for that.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._started = False
        self._prepared: dict[bytes, bytes] = {}
        self._bound = b""

    def feed(self, data: bytes) -> Iterator[Piece]:
        """Yield what is complete."""
        self._buffer += data
        while (message := _take(self._buffer, 1 if self._started else 0)) is not None:
            yield message, self._moment(message) if self._started else None
            self._started = True

    def _moment(self, message: bytes) -> Moment | None:
        kind = message[:1]
        if kind in b"dc":
            return Moment.COPY_DATA if kind == b"d" else Moment.COPY_DONE
        if kind == b"Q":
            text = message[5:].lstrip().upper()
            if text.startswith(b"COPY"):
                return Moment.COPY
            if text.startswith(b"COMMIT"):
                return Moment.COMMIT
        if kind == b"P":  # Parse: a name, the statement, and more
            name, statement, _ = message[5:].split(b"\0", 2)
            self._prepared[name] = statement.upper()
        if kind == b"B":  # Bind: a portal, the name of a statement, and more
            self._bound = self._prepared.get(message[5:].split(b"\0", 2)[1], b"")
        return Moment.COMMIT if kind == b"E" and self._bound.startswith(b"COMMIT") else None


class PostgresAnswers:
    """From PostgreSQL to the client."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Piece]:
        """Yield what is complete."""
        self._buffer += data
        while (message := _take(self._buffer, 1)) is not None:
            moment = None
            if message[:1] == b"C":
                tag = message[5:]
                if tag.startswith(b"COPY"):
                    moment = Moment.COPIED
                elif tag.startswith(b"COMMIT"):
                    moment = Moment.COMMITTED
            yield message, moment


def _take(buffer: bytearray, type_bytes: int) -> bytes | None:
    """Take one message off ``buffer``: a type of ``type_bytes``, a length that counts itself, the rest."""
    if len(buffer) < type_bytes + 4:
        return None
    size = type_bytes + struct.unpack_from("!I", buffer, type_bytes)[0]
    if len(buffer) < size:
        return None
    message = bytes(buffer[:size])
    del buffer[:size]
    return message


class Http1Answers:
    """From an HTTP/1.1 server: our answers are small, each comes in one piece."""

    def feed(self, data: bytes) -> Iterator[Piece]:
        """Yield the bytes as they came."""
        yield data, Moment.ANSWER if data.startswith(b"HTTP/1.1 ") else None


_HEADERS, _END_STREAM = 1, 1


class Http2Answers:
    """From an HTTP/2 server (gRPC): the trailers that end a call are its answer; what comes before tells nothing."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Piece]:
        """Yield what is complete."""
        self._buffer += data
        while len(self._buffer) >= 9:
            size = 9 + int.from_bytes(self._buffer[:3])
            if len(self._buffer) < size:
                return
            frame = bytes(self._buffer[:size])
            del self._buffer[:size]
            ends = frame[3] == _HEADERS and frame[4] & _END_STREAM
            yield frame, Moment.ANSWER if ends else None


class Unsplit:
    """A direction in which nothing is looked for."""

    def feed(self, data: bytes) -> Iterator[Piece]:
        """Yield the bytes as they came."""
        yield data, None
