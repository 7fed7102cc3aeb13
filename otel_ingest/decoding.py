"""Steps 2 and 3 of one request, PURE: its bytes -> encoded rows, and what is rejected; a turn of records at a time."""

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from otel_ingest.decode import decode
from otel_ingest.decode.context import Item
from otel_ingest.limits import Limits, Rejection
from otel_ingest.redact import Found, SecondLine
from otel_ingest.signals import METRICS, Signal
from otel_ingest.wire import Encoding, Parsed, parse
from otel_ingest.wire.parsed import Form
from storage.batch import Batch, EncodedRows
from storage.encoding import row_encoder
from storage.rows import ResourceRow, ScopeRow

# Rejections kept one by one; a sender reads ten, and a million reasons would be 100 MiB.
_REJECTIONS_MAX = 1_000


@dataclass(slots=True)
class Decoded:
    """The rows of a request; ``positions`` holds each row's position in the request as sent (0-based).

    ``bytes_by_component`` says how much of the batch is of which component, ``masked`` which secrets were in it.
    """

    batch: Batch
    positions: "array[int]" = field(default_factory=lambda: array("I"))
    rejections: list[Rejection] = field(default_factory=list)
    bytes_by_component: dict[str, int] = field(default_factory=dict)
    masked: Found = field(default_factory=dict)

    def reject(self, rejection: Rejection) -> None:
        """Add a rejection; past _REJECTIONS_MAX only how many records it is."""
        if len(self.rejections) < _REJECTIONS_MAX:
            self.rejections.append(rejection)
            return
        last = self.rejections[-1]
        self.rejections[-1] = Rejection(last.index, last.reason, last.count + rejection.count)


class Decoding:
    """One request while it is decoded. Raises MalformedRequest when it is no OTLP request at all."""

    def __init__(
        self,
        signal: Signal,
        body: bytes,
        encoding: Encoding,
        limits: Limits,
        received_ns: int,
        second_line: SecondLine | None = None,
    ) -> None:
        """``second_line`` masks the secrets that a client let through; None: rows say what came."""
        masked: Found = {}
        if second_line is None:
            parsed = parse(signal, body, encoding, limits)
        else:
            parsed, masked = second_line.parse(signal, body, encoding, limits)
        self.records = records_in(signal, parsed)
        self.decoded = Decoded(Batch(signal.table), masked=masked)
        for rejection in parsed.rejections:
            self.decoded.reject(rejection)
        self._most = limits.records_max
        self._parsed = parsed
        self._record = signal.record
        self._encode = row_encoder(signal.table)
        self._items: Iterator[Item] = decode(signal, parsed, received_ns=received_ns, limits=limits)
        self._position = 0
        self._component = ""
        self._counted_bytes = 0

    def turn(self, records: int, bytes_max: int = 1 << 20) -> bool:
        """Decode as many records more, or ``bytes_max`` of rows; return whether there are any left."""
        decoded, batch = self.decoded, self.decoded.batch
        full = batch.size_bytes + bytes_max
        stop = min(self._position + records, self._most)
        while self._position < stop and batch.size_bytes < full:
            item = next(self._items, None)
            if item is None:
                self._count_bytes()
                return False
            if isinstance(item, ResourceRow):
                self._count_bytes()
                self._component = item.component
                batch.resources[item.id] = item
            elif isinstance(item, ScopeRow):
                batch.scopes[item.id] = item
            elif isinstance(item, Rejection):
                decoded.reject(item)
                self._position += 1
            elif isinstance(item, EncodedRows):
                batch.extend(item)
                end = self._position + len(item.rows)
                sent = range(self._position, end)
                decoded.positions.extend(sent if self._parsed.indexes is None else map(self._sent_at, sent))
                self._position = end
            else:
                batch.add(item, self._encode(item))
                decoded.positions.append(self._sent_at(self._position))
                self._position += 1
        if self._position < self._most:
            return True
        self._count_bytes()
        self._reject_the_rest()
        return False

    def _sent_at(self, position: int) -> int:
        indexes = self._parsed.indexes
        return position if indexes is None else indexes[position]

    def _reject_the_rest(self) -> None:
        rest = self.records - self._position
        if rest > 0:
            self.decoded.rejections.append(
                Rejection(
                    self._sent_at(self._position),
                    f"the request holds {self.records} {self._record}s, more than the {self._position} that are taken "
                    "of one; send smaller batches",
                    rest,
                )
            )

    def _count_bytes(self) -> None:
        """Count what was added since the last resource for its component."""
        size = self.decoded.batch.size_bytes
        if size > self._counted_bytes:
            book = self.decoded.bytes_by_component
            book[self._component] = book.get(self._component, 0) + size - self._counted_bytes
            self._counted_bytes = size


def records_in(signal: Signal, parsed: Parsed) -> int:
    """Return how many records (data points, for metrics) a parsed request holds."""
    if parsed.form is Form.OUTLINE:
        return int(parsed.message.records)
    groups_name, scopes_name, records_name = signal.lists
    count = 0
    for group in getattr(parsed.message, groups_name):
        for scope in getattr(group, scopes_name):
            records = getattr(scope, records_name)
            count += sum(map(_points_in, records)) if signal is METRICS else len(records)
    return count


def _points_in(metric: Any) -> int:
    kind = metric.WhichOneof("data")
    return len(getattr(metric, kind).data_points) if kind else 0
