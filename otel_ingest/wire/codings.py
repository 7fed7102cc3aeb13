"""Content codings, undone piece by piece: the limit holds while decompressing, not after."""

import zlib
from collections.abc import Iterator
from typing import Protocol

from backports import zstd

from otel_ingest.errors import MalformedRequest, RequestTooLarge, UnsupportedEncoding

# What is taken, in the order an Accept-Encoding header of ours names it.
SUPPORTED = ("gzip", "deflate", "zstd", "identity")
PIECE_BYTES_MAX = 256 * 1024
_GZIP = zlib.MAX_WBITS | 16
# Programs that compress in parallel make a member of each 64 KiB block or more; an empty one takes 20 bytes.
_MEMBERS_MAX = 4_096


class _Inflater(Protocol):
    """One compressed stream that ends by itself (zlib's decompressobj and ours for zstd)."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    @property
    def unconsumed_tail(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


class Decompressor:
    """Undoes one content coding. ``feed`` yields pieces of at most PIECE_BYTES_MAX; call ``finish`` at the end.

    Raises UnsupportedEncoding when made for a coding that is not taken; RequestTooLarge past ``limit_bytes``;
    MalformedRequest for damaged, truncated or trailing data.
    """

    def __init__(self, coding: str, limit_bytes: int) -> None:
        self._coding = coding.strip().lower().removeprefix("x-") or "identity"
        if self._coding not in SUPPORTED:
            raise UnsupportedEncoding(
                f"Content-Encoding {coding[:100]!r} is not taken; send one of {', '.join(SUPPORTED)}",
                header="Content-Encoding",
            )
        self._limit = limit_bytes
        self._taken = self._produced = self._members = 0
        self._stream: _Inflater | None = None

    @property
    def is_identity(self) -> bool:
        """Whether there is nothing to undo."""
        return self._coding == "identity"

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Yield what ``chunk`` decompresses to."""
        if self.is_identity:
            yield from self._counted(chunk)
            return
        self._taken += len(chunk)
        # What does not compress grows by a thousandth at most.
        if self._taken > self._limit + (self._limit >> 10) + 1024:
            raise RequestTooLarge(f"the body is larger than {self._limit} bytes before decompression")
        while chunk:
            if self._stream is None or self._stream.eof:
                if self._stream is not None and self._coding != "gzip":
                    raise MalformedRequest(f"data after the end of the {self._coding} stream")
                self._stream = self._open(chunk)
            try:
                piece = self._stream.decompress(chunk, PIECE_BYTES_MAX)
            except (zlib.error, zstd.ZstdError) as error:
                raise MalformedRequest(f"the body is not valid {self._coding}: {error}") from error
            chunk = self._stream.unused_data if self._stream.eof else self._stream.unconsumed_tail
            yield from self._counted(piece)
            # zlib may have taken all input and still hold output that a full piece had no room for.
            while not chunk and not self._stream.eof and len(piece) >= PIECE_BYTES_MAX:
                piece = self._stream.decompress(b"", PIECE_BYTES_MAX)
                yield from self._counted(piece)

    def finish(self) -> None:
        """Check that the stream ended where the body did."""
        if self._stream is not None and not self._stream.eof:
            raise MalformedRequest(f"the {self._coding} body ends too early")

    def _counted(self, piece: bytes) -> Iterator[bytes]:
        self._produced += len(piece)
        if self._produced > self._limit:
            raise RequestTooLarge(f"the body is larger than {self._limit} bytes after decompression")
        if piece:
            yield piece

    def _open(self, first: bytes) -> _Inflater:
        self._members += 1
        if self._members > _MEMBERS_MAX:
            raise MalformedRequest(f"the body has more than {_MEMBERS_MAX} gzip members")
        if self._coding == "gzip":
            return zlib.decompressobj(_GZIP)
        if self._coding == "zstd":
            return _Zstd()
        # "deflate" is zlib (RFC 9110, 8.4.1.2); some senders leave its header out. CM is 8, and the two header
        # bytes are a multiple of 31 (RFC 1950, 2.2).
        is_zlib = first[0] & 0x0F == 8 and (len(first) < 2 or (first[0] << 8 | first[1]) % 31 == 0)  # noqa: PLR2004
        return zlib.decompressobj(zlib.MAX_WBITS if is_zlib else -zlib.MAX_WBITS)


class _Zstd:
    """A zstd frame with the interface of zlib's objects; the library keeps the input it had no room to undo."""

    # 8 MiB: what level 19 needs, and the least that RFC 8878 (3.1.1.1.2) recommends to decoders.
    _WINDOW_LOG_MAX = 23

    unconsumed_tail = b""

    def __init__(self) -> None:
        self._object = zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: self._WINDOW_LOG_MAX})

    @property
    def eof(self) -> bool:
        """Whether the frame has ended."""
        return self._object.eof

    @property
    def unused_data(self) -> bytes:
        """What came behind the end of the frame."""
        return self._object.unused_data

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        """Return at most ``max_length`` bytes; call again with no data while it is as many."""
        return self._object.decompress(data, max_length)
