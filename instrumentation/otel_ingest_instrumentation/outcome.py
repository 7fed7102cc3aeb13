"""What came of one try to send a batch, and the one table that says what each status means."""

from dataclasses import dataclass
from enum import Enum

SIGNALS = ("logs", "traces", "metrics")


class Verdict(Enum):
    """What to do with a batch after a try."""

    DELIVERED = "delivered"
    RETRY = "retry"
    SPLIT = "split"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The verdict, what the other side said, seconds it wants to be left alone, and records it would not take."""

    verdict: Verdict
    detail: str = ""
    retry_after_s: float | None = None
    rejected: int = 0


@dataclass(frozen=True, slots=True)
class Batch:
    """Encoded records of one signal; ``body`` is an Export…ServiceRequest, ``first``/``last`` are nanoseconds."""

    id: str
    signal: str
    count: int
    first: int
    last: int
    body: bytes


def of_http(status: int) -> Verdict:
    """Return what an HTTP status means for a batch: only 408, 429 and 5xx come again; a redirect is no delivery."""
    if 200 <= status < 300:  # noqa: PLR2004
        return Verdict.DELIVERED
    if status == 413:  # noqa: PLR2004
        return Verdict.SPLIT
    if status in (408, 429) or status >= 500:  # noqa: PLR2004
        return Verdict.RETRY
    return Verdict.REFUSED


# As the specification lists them, and UNKNOWN and INTERNAL: the gRPC names of an HTTP 500.
GRPC_RETRY = frozenset(
    {
        "CANCELLED",
        "DEADLINE_EXCEEDED",
        "RESOURCE_EXHAUSTED",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNKNOWN",
        "INTERNAL",
    }
)
