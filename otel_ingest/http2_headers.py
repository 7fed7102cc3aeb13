"""Header blocks of an HTTP/2 connection: what comes or goes again, as long as nothing changed, is not made again.

A client's calls differ in their messages and in little else, and so do our answers: but for the first of a connection
their blocks are the same bytes. HPACK's dynamic table decides what bytes mean, so all is forgotten when it changes.
"""

from collections.abc import Iterable
from typing import Any, Generic, TypeVar

from h2.utilities import HeaderValidationFlags, validate_headers
from hpack import Decoder, Encoder, HeaderTuple
from hpack.table import HeaderTable

# A connection remembers so many blocks: a client of three signals has three. Longer ones are rare.
_BLOCKS_MAX = 4
_BLOCK_BYTES_MAX = 1024
_REQUEST = HeaderValidationFlags(is_client=False, is_trailer=False, is_response_header=False, is_push_promise=False)

Key = TypeVar("Key")
Value = TypeVar("Value")
Headers = Iterable[tuple[bytes, bytes]]


class _Blocks(Generic[Key, Value]):
    """What is known while a table stays as it is; ``_first`` is its newest entry, one object for each."""

    def __init__(self, table: HeaderTable) -> None:
        self._table = table
        self._known: dict[Key, Value] = {}
        self._first: tuple[bytes, bytes] | None = None
        self._size = self._entries = -1

    def get(self, key: Key) -> Value | None:
        """Return what is known."""
        self._look()
        return self._known.get(key)

    def put(self, key: Key, value: Value, size: int) -> None:
        """Remember what was made since ``get``, unless making it changed the table."""
        if self._look() and size <= _BLOCK_BYTES_MAX:
            if len(self._known) >= _BLOCKS_MAX:
                del self._known[next(iter(self._known))]
            self._known[key] = value

    def _look(self) -> bool:
        """Return whether the table is as it was; else forget all."""
        entries, size = self._table.dynamic_entries, self._table.maxsize
        first = entries[0] if entries else None
        if first is self._first and len(entries) == self._entries and size == self._size:
            return True
        self._known.clear()
        self._first, self._entries, self._size = first, len(entries), size
        return False


class BlockDecoder(Decoder):
    """hpack's, with a memory."""

    def __init__(self, max_header_list_size: int) -> None:
        super().__init__(max_header_list_size)
        self._blocks: _Blocks[bytes, Iterable[HeaderTuple]] = _Blocks(self.header_table)

    def decode(self, data: bytes, raw: bool = False) -> Iterable[HeaderTuple]:  # noqa: FBT001, FBT002 - hpack's
        """See hpack; a list that was returned before is returned again."""
        headers = self._blocks.get(data)
        if headers is None:
            headers = super().decode(data, raw)
            self._blocks.put(data, headers, len(data))
        return headers


class BlockEncoder(Encoder):
    """hpack's, with a memory."""

    def __init__(self) -> None:
        super().__init__()
        self._blocks: _Blocks[tuple[Any, ...], bytes] = _Blocks(self.header_table)

    def encode(self, headers: Iterable[Any], huffman: bool = True) -> bytes:  # noqa: FBT001, FBT002 - hpack's
        """See hpack."""
        if self.header_table.resized:
            return super().encode(headers, huffman)  # with the new size in front, this time
        some = tuple(headers)
        key = (*some, *map(type, some))  # one that is never to be indexed is equal to one that may be
        block = self._blocks.get(key)
        if block is None:
            block = super().encode(some, huffman)
            self._blocks.put(key, block, len(block))
        return block


class Heads:
    """The heads of a connection's requests, each checked once by the rules of RFC 9113 that h2 has."""

    def __init__(self) -> None:
        self._known: dict[tuple[tuple[bytes, bytes], ...], dict[bytes, bytes]] = {}

    def checked(self, headers: Headers) -> dict[bytes, bytes]:
        """Return {name: value} of a request; not to be changed. Raises h2.exceptions.ProtocolError."""
        key = tuple(headers)
        known = self._known.get(key)
        if known is None:
            known = {bytes(name): bytes(value) for name, value in validate_headers(key, _REQUEST)}
            if sum(len(name) + len(value) for name, value in key) <= _BLOCK_BYTES_MAX:
                if len(self._known) >= _BLOCKS_MAX:
                    del self._known[next(iter(self._known))]
                self._known[key] = known
        return known
