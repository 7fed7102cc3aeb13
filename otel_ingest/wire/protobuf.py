"""Protobuf bodies; after a decode error the request is split on the wire level and parsed record by record.

So one record with invalid UTF-8, or nested too deeply for the parser, costs only itself. Wire format:
https://protobuf.dev/programming-guides/encoding/
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import DecodeError

from otel_ingest import native
from otel_ingest.errors import MalformedRequest
from otel_ingest.native import records
from otel_ingest.signals import METRICS, Signal
from otel_ingest.wire.parsed import Form, Parsed, Tally

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_VARINT_BITS = 70
# Envelopes of all three signals: field 1 is the resource or scope, field 2 the repeated part.
_PAYLOAD, _CHILDREN = 1, 2
_METRIC_DATA = {5: "gauge", 7: "sum", 9: "histogram", 10: "exponential_histogram", 11: "summary"}
# Field numbers from a request down to its parts.
_RESOURCE, _SCOPE, _RECORD = (1,), (1, 2), (1, 2, 2)


def parse(signal: Signal, body: bytes) -> Parsed:
    """Return what ``body`` holds: its outline, where compiled code can tell. Raises MalformedRequest."""
    outline = records.outline(body) if native.available and signal is not METRICS else None
    return parse_whole(signal, body) if outline is None else Parsed(outline, form=Form.OUTLINE)


def parse_whole(signal: Signal, body: bytes) -> Parsed:
    """Return the message of ``body``, parsed to the bottom. Raises MalformedRequest when its framing is broken."""
    try:
        return Parsed(signal.request_type.FromString(body))
    except DecodeError as error:
        if "alloc failed" in str(error):
            # Taking it apart would only fail later.
            raise MemoryError from error
        return _Salvage(signal).request(body)


def fields(data: bytes, base: int = 0) -> Iterator[tuple[int, int, int, int]]:
    """Yield (number, wire type, start, end) of each field of a message; start to end is its payload.

    Raises MalformedRequest naming the byte (``base`` is where ``data`` begins in the body).
    """
    position, size = 0, len(data)
    while position < size:
        key, at = _varint(data, position, base)
        number, kind = key >> 3, key & 7
        if kind == _VARINT:
            end = _varint(data, at, base)[1]
        elif kind == _LENGTH:
            length, at = _varint(data, at, base)
            end = at + length
        elif kind in {_FIXED64, _FIXED32}:
            end = at + (8 if kind == _FIXED64 else 4)
        else:
            raise MalformedRequest(f"byte {base + position}: wire type {kind} is not allowed here")
        if number == 0 or end > size:
            raise MalformedRequest(f"byte {base + position}: field {number} runs past the end of its message")
        yield number, kind, at, end
        position = end


def _varint(data: bytes, position: int, base: int) -> tuple[int, int]:
    value = shift = 0
    while shift < _VARINT_BITS:
        if position >= len(data):
            raise MalformedRequest(f"byte {base + position}: the message ends inside a number")
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:  # noqa: PLR2004 - the continuation bit
            return value, position
        shift += 7
    raise MalformedRequest(f"byte {base + position}: a number of more than 10 bytes")


def _varint_of(value: int) -> bytes:
    data = bytearray()
    while value > 0x7F:  # noqa: PLR2004 - seven bits a byte
        data.append(value & 0x7F | 0x80)
        value >>= 7
    data.append(value)
    return bytes(data)


@dataclass(slots=True)
class _Envelope:
    """A message of resource or scope: everything but its children as bytes, and where the children are."""

    own: bytes
    children: list[tuple[int, int, int]]


def _open(data: bytes, base: int, inner: frozenset[int] = frozenset({_CHILDREN})) -> _Envelope:
    """Take a message apart; ``inner`` are the field numbers of its children. Raises MalformedRequest."""
    own, children, start = [], [], 0
    for number, kind, at, end in fields(data, base):
        if number in inner and kind == _LENGTH:
            children.append((number, at, end))
        else:
            own.append(data[start:end])
        start = end
    return _Envelope(b"".join(own), children)


class _Salvage:
    """Takes a damaged request apart and keeps what parses; counts records in wire order."""

    def __init__(self, signal: Signal) -> None:
        self._signal = signal
        self._groups, self._scopes, self._records = signal.lists
        self._tally = Tally()

    def request(self, body: bytes) -> Parsed:
        message = self._signal.request_type()
        groups = getattr(message, self._groups)
        for number, kind, at, end in fields(body):
            if number == _PAYLOAD and kind == _LENGTH:
                group = self._resource(body[at:end], at)
                if group is not None:
                    groups.append(group)
        return self._tally.parsed(message)

    def _resource(self, data: bytes, base: int) -> Any | None:
        try:
            envelope = _open(data, base)
        except MalformedRequest as error:
            self._tally.reject(f"its resource group cannot be read: {error}")
            return None
        group = self._parse(_RESOURCE, envelope.own)
        for _, at, end in envelope.children:
            scope = self._scope(data[at:end], base + at, spoiled=group is None)
            if group is not None and scope is not None:
                getattr(group, self._scopes).append(scope)
        return group

    def _scope(self, data: bytes, base: int, *, spoiled: bool) -> Any | None:
        try:
            envelope = _open(data, base)
        except MalformedRequest as error:
            self._tally.reject(f"its scope group cannot be read: {error}")
            return None
        scope = None if spoiled else self._parse(_SCOPE, envelope.own)
        if scope is None:
            which = "resource" if spoiled else "scope"
            count = sum(self._count(data[at:end]) for _, at, end in envelope.children)
            self._tally.reject(f"its {which} cannot be parsed (invalid UTF-8, or nested too deeply)", count)
            return None
        records = getattr(scope, self._records)
        for _, at, end in envelope.children:
            record = self._metric(data[at:end], base + at) if self._signal is METRICS else self._record(data[at:end])
            if record is not None:
                records.append(record)
        return scope

    def _record(self, data: bytes) -> Any | None:
        record = self._parse(_RECORD, data)
        if record is None:
            self._tally.reject("it cannot be parsed (invalid UTF-8, or nested too deeply)")
            return None
        self._tally.accept()
        return record

    def _metric(self, data: bytes, base: int) -> Any | None:
        """Parse a metric whole, or data point by data point."""
        count = self._count(data)
        metric = self._parse(_RECORD, data)
        if metric is not None:
            self._tally.accept(count)
            return metric
        try:
            envelope = _open(data, base, frozenset(_METRIC_DATA))
        except MalformedRequest as error:
            self._tally.reject(f"its metric cannot be read: {error}", max(count, 1))
            return None
        metric = self._parse(_RECORD, envelope.own)
        if metric is None or not envelope.children:
            self._tally.reject("its metric cannot be parsed (invalid UTF-8, or nested too deeply)", max(count, 1))
            return None
        kind = envelope.children[-1][0]
        for number, at, end in envelope.children:
            if number == kind:  # of a oneof the last kind counts, as in any parser
                self._points(metric, number, data[at:end], base + at)
        return metric

    def _points(self, metric: Any, kind: int, data: bytes, base: int) -> None:
        """Parse the data points of one metric one by one; ``kind`` is the field number of its Gauge, Sum, …."""
        holder = getattr(metric, _METRIC_DATA[kind])
        try:
            envelope = _open(data, base, frozenset({_PAYLOAD}))
            holder.MergeFromString(envelope.own)
        except (MalformedRequest, DecodeError) as error:
            self._tally.reject(f"its metric cannot be read: {error}", max(_points_in(data), 1))
            return
        for _, at, end in envelope.children:
            point = self._parse((*_RECORD, kind, _PAYLOAD), data[at:end])
            if point is None:
                self._tally.reject("it cannot be parsed (invalid UTF-8, or nested too deeply)")
            else:
                holder.data_points.append(point)
                self._tally.accept()

    def _count(self, record: bytes) -> int:
        """Return how many records (data points, for metrics) the bytes of one record hold."""
        return count_points(record) if self._signal is METRICS else 1

    def _parse(self, path: tuple[int, ...], data: bytes) -> Any | None:
        """Return the message that ``data`` is at ``path`` of a request; None where it cannot be parsed there.

        Not by itself: what nests as deeply as the library goes would not fit into its request afterwards.
        """
        for number in reversed(path):
            data = bytes([number << 3 | _LENGTH]) + _varint_of(len(data)) + data
        try:
            part = self._signal.request_type.FromString(data)
        except DecodeError:
            return None
        for number in path:
            inner = getattr(part, part.DESCRIPTOR.fields_by_number[number].name)
            part = inner if number in _METRIC_DATA else inner[0]
        return part


def count_points(metric: bytes) -> int:
    """Return how many data points the bytes of a Metric hold; 1 where that cannot be told."""
    try:
        holders = _open(metric, 0, frozenset(_METRIC_DATA)).children
    except MalformedRequest:
        return 1
    return sum(_points_in(metric[at:end]) for number, at, end in holders if number == holders[-1][0])


def _points_in(holder: bytes) -> int:
    """Return how many data points the bytes of a Gauge, Sum, … hold; 1 where that cannot be told."""
    try:
        return len(_open(holder, 0, frozenset({_PAYLOAD})).children)
    except MalformedRequest:
        return 1
