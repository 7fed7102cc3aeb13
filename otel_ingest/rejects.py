"""What becomes of records that are not stored: who keeps them is told what was sent, once it is needed."""

from collections.abc import Sequence

from otel_ingest.limits import Rejection
from otel_ingest.redact import SecondLine
from otel_ingest.signals import Signal
from otel_ingest.wire import Encoding
from otel_ingest.wire.originals import Original, originals
from storage.batch import Batch, RejectedRecord, RejectedRow

# Of one request; a sender whose every record is bad is understood from fewer.
KEPT_A_REQUEST_MAX = 100
# Finding records again takes 4 times the body in protobuf, and 20 times in JSON; of larger bodies the reasons are kept.
_BODY_BYTES_MAX = {Encoding.PROTOBUF: 8 * 1024 * 1024, Encoding.JSON: 1024 * 1024}
_NOTHING = Original(b"", "")


def attach(
    batch: Batch,
    signal: Signal,
    body: bytes,
    encoding: Encoding,
    positions: Sequence[int],
    rejections: list[Rejection],
    second_line: SecondLine | None = None,
) -> None:
    """Let ``batch`` say which of its request's records are rejected; costs nothing until something is.

    ``positions``: of its rows in the request. ``rejections``: of records that did not become rows.
    ``second_line``: what masks their secrets.
    """
    early = [(r.index + n, r.reason) for r in rejections for n in range(min(r.count, KEPT_A_REQUEST_MAX))]
    early = early[:KEPT_A_REQUEST_MAX]

    def describe(refused: Sequence[RejectedRow]) -> list[RejectedRecord]:
        late = [(positions[row.index], row.reason) for row in refused]
        reasons = dict((early + late)[:KEPT_A_REQUEST_MAX])
        wanted = set(reasons) if len(body) <= _BODY_BYTES_MAX[encoding] else set()
        found = originals(signal, body, wanted, json=encoding is Encoding.JSON)
        media_type = encoding.value

        def shown(data: bytes) -> bytes:
            return data if second_line is None else second_line.original(signal, data, encoding)

        return [
            RejectedRecord(
                signal.name, (o := found.get(at, _NOTHING)).component, at, reasons[at], media_type, shown(o.data)
            )
            for at in sorted(reasons)
        ]

    batch.describe = describe
    batch.rejected_early = len(early)
