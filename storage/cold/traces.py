"""PURE: which trace ids may be in a file, in some ten bits each: a Bloom filter whose bits for an id lie in 32 bytes.

So a look at one id reads 32 bytes of a filter, wherever PostgreSQL keeps it. About one id in 60 that is not there is
taken for one that may be; one that is there is never missed.
"""

import hashlib
from collections.abc import Iterable, Iterator

CELL_BYTES = 32
_CELL_BITS = CELL_BYTES * 8
_BITS_AN_ID = 10
_PROBES = 6
_HASH_BYTES = 16


def filter_of(trace_ids: Iterable[bytes]) -> bytes:
    """Return the filter of these ids; empty: of none."""
    known = set(trace_ids)
    cells = -(-len(known) * _BITS_AN_ID // _CELL_BITS)
    bits = bytearray(cells * CELL_BYTES)
    for trace_id in known:
        at = place(trace_id) % cells * CELL_BYTES
        for bit in _bits(trace_id):
            bits[at + bit // 8] |= 1 << bit % 8
    return bytes(bits)


def place(trace_id: bytes) -> int:
    """Return the number that, modulo the cells of a filter, tells in which of them an id's bits are."""
    return int.from_bytes(_hash(trace_id)[:4], "big")


def may_hold(cell_bytes: bytes, trace_id: bytes) -> bool:
    """Whether the id may be in the file, by its cell of the filter; False is certain."""
    return len(cell_bytes) == CELL_BYTES and all(cell_bytes[bit // 8] >> bit % 8 & 1 for bit in _bits(trace_id))


def _bits(trace_id: bytes) -> Iterator[int]:
    return iter(_hash(trace_id)[4 : 4 + _PROBES])


def _hash(trace_id: bytes) -> bytes:
    return hashlib.blake2b(trace_id, digest_size=_HASH_BYTES).digest()
