"""PURE: durations -> buckets and back: 16 to each power of two, so that a bucket's middle is off by 1/33 at most."""

from collections.abc import Mapping

_SUB = 16
_SUB_BITS = 4
BUCKETS = 1024
"""Buckets there are: those of 63 bits of nanoseconds."""
CELL = 1 << 32
"""A cell is ``place * CELL + count``: an array of them is a histogram without its empty buckets; counts may be < 0."""


def bucket_of(duration_ns: int) -> int:
    """Return the bucket of a duration, 0 to 2^63 - 1 ns; in SQL it is ``otel_ingest_bucket``."""
    shift = duration_ns.bit_length() - _SUB_BITS - 1
    return duration_ns if shift <= 0 else _SUB * shift + (duration_ns >> shift)


def middle_ns(bucket: int) -> float:
    """Return what stands for all durations of a bucket: its middle, 3.1 % off at most."""
    shift = max(bucket // _SUB - 1, 0)
    least = (bucket - _SUB * shift) << shift
    return least + ((1 << shift) - 1) / 2


def quantiles(histogram: Mapping[int, int], shares: tuple[float, ...]) -> list[float]:
    """Return the durations in ns below which these shares (rising, 0 to 1) of a histogram lie; none empty."""
    total = sum(histogram.values())
    found: list[float] = []
    seen = 0
    buckets = iter(sorted(histogram.items()))
    bucket = 0
    for share in shares:
        while seen <= share * (total - 1):
            bucket, count = next(buckets)
            seen += count
        found.append(middle_ns(bucket))
    return found
