"""Content codings: whole, in pieces, damaged, too large."""

import gzip
import zlib

import pytest
from backports import zstd

from otel_ingest.errors import MalformedRequest, RequestTooLarge, UnsupportedEncoding
from otel_ingest.wire.codings import PIECE_BYTES_MAX, Decompressor

MIB = 1024 * 1024
DATA = b"otlp " * 1000


def raw_deflate(data: bytes) -> bytes:
    """Return a deflate stream without zlib's header, as some senders write it."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    return compressor.compress(data) + compressor.flush()


ENCODERS = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "GZIP": gzip.compress,
    "deflate": zlib.compress,
    "zstd": zstd.compress,
    "identity": bytes,
    "": bytes,
}


def decoded(coding: str, body: bytes, limit: int = 8 * MIB, step: int = 1 << 30) -> bytes:
    """Return what ``body`` decompresses to, fed in chunks of ``step`` bytes."""
    decompressor = Decompressor(coding, limit)
    pieces = [p for i in range(0, len(body), step) for p in decompressor.feed(body[i : i + step])]
    decompressor.finish()
    return b"".join(pieces)


@pytest.mark.parametrize("coding", ENCODERS)
@pytest.mark.parametrize("step", [1, 7, 1 << 30])
def test_every_coding_in_chunks_of_any_size(coding: str, step: int) -> None:
    """What was compressed comes back."""
    assert decoded(coding, ENCODERS[coding](DATA), step=step) == DATA


@pytest.mark.parametrize("extra", range(0, 600, 13))
def test_raw_deflate_around_the_size_of_a_piece(extra: int) -> None:
    """All input may be taken while output is left over: it is fetched, not called truncated."""
    data = bytes(PIECE_BYTES_MAX + extra)

    assert decoded("deflate", raw_deflate(data)) == data


@pytest.mark.parametrize("coding", ["gzip", "deflate", "zstd"])
def test_pieces_are_bounded_and_stop_at_the_limit(coding: str) -> None:
    """A bomb gives up at its limit, and no piece before that is large."""
    decompressor = Decompressor(coding, 4 * MIB)
    sizes = []
    with pytest.raises(RequestTooLarge):
        sizes.extend(len(piece) for piece in decompressor.feed(ENCODERS[coding](bytes(64 * MIB))))

    assert sum(sizes) <= 4 * MIB
    assert max(sizes, default=0) <= MIB


@pytest.mark.parametrize("coding", ["gzip", "deflate", "zstd"])
def test_damage_is_malformed(coding: str) -> None:
    """Truncated, and not of that coding at all."""
    good = ENCODERS[coding](DATA)
    for bad in (good[:-3], b"\xff" + good[1:]):
        with pytest.raises(MalformedRequest):
            decoded(coding, bad)


@pytest.mark.parametrize("coding", ["gzip", "deflate", "zstd"])
def test_trailing_garbage_is_malformed(coding: str) -> None:
    """Nothing may follow the stream."""
    with pytest.raises(MalformedRequest):
        decoded(coding, ENCODERS[coding](DATA) + b"garbage")


def test_gzip_members_are_joined() -> None:
    """RFC 1952, 2.2: a file of several members is their concatenation."""
    assert decoded("gzip", gzip.compress(b"a") + gzip.compress(b"b")) == b"ab"


@pytest.mark.parametrize("coding", ["br", "gzip, identity", "snappy"])
def test_other_codings_are_refused(coding: str) -> None:
    """The error names the header."""
    with pytest.raises(UnsupportedEncoding) as caught:
        Decompressor(coding, MIB)

    assert caught.value.header == "Content-Encoding"
