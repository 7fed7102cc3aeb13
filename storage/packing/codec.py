"""PURE: one column of a block: PostgreSQL's own elements of a binary array <-> compressed bytes.

Elements are what ``array_send`` writes behind its header: for each value a length (4 bytes, big endian; -1: NULL) and
its bytes. So packing never looks into a value, whatever its type, and an unpacked column is a parameter as it is.
"""

import struct
from collections.abc import Sequence
from itertools import accumulate, pairwise

from backports import zstd

# 9 is within 5 % of 19 on log records, at a tenth of its time (ADR 018).
_LEVEL = 9
_OPTIONS: dict[int, int] = {
    zstd.CompressionParameter.compression_level: _LEVEL,
    zstd.CompressionParameter.checksum_flag: 1,
}
_NULL = b"\xff\xff\xff\xff"
_LENGTH_BYTES = 4
# A word that is counted up (ids, times) is kept as its differences.
_WORDS = {4: ("i", 0xFFFFFFFF), 8: ("q", 0xFFFFFFFFFFFFFFFF)}
# Fewer distinct values than this share of all: a dictionary is smaller than what zstd finds by itself.
_DICTIONARY_SHARE = 0.5
_ARRAY_HEADER = struct.Struct("!iiIii")
_length_at = struct.Struct("!i").unpack_from


class DamagedBlockError(ValueError):
    """Bytes that are no block, or no longer the block that was written."""


def split(array: bytes) -> list[bytes]:
    """Return the elements of a one-dimensional binary array, each with its length before it."""
    if len(array) < _ARRAY_HEADER.size:
        return []
    elements, at = [], _ARRAY_HEADER.size
    while at < len(array):
        end = at + _LENGTH_BYTES + max(_length_at(array, at)[0], 0)
        elements.append(array[at:end])
        at = end
    return elements


def number_element(number: int) -> bytes:
    """Return a bigint as an element."""
    return struct.pack("!iq", 8, number)


def joined(oid: int, count: int, elements: bytes, *, has_null: bool) -> bytes:
    """Return the binary array of ``count`` elements whose type is ``oid``."""
    return _ARRAY_HEADER.pack(1, int(has_null), oid, count, 1) + elements


def pack(elements: Sequence[bytes]) -> tuple[str, bytes]:
    """Return the smallest form of a column, and its name: const, dict, planes, delta or plain."""
    distinct = dict.fromkeys(elements)
    if len(distinct) == 1:
        return "const", elements[0]
    forms = [("plain", _squeezed(b"".join(elements)))]
    if len(distinct) < len(elements) * _DICTIONARY_SHARE:
        forms.append(("dict", _dictionary(list(distinct), elements)))
    widths = {len(e) - _LENGTH_BYTES for e in elements}
    if len(widths) == 1 and _NULL not in distinct and (width := widths.pop()) > 0:
        values = b"".join(e[_LENGTH_BYTES:] for e in elements)
        head = bytes([width])
        forms.append(("planes", head + _squeezed(_planes(values, width))))
        if width in _WORDS:
            forms.append(("delta", head + _squeezed(_planes(_differences(values, width), width))))
    return min(forms, key=lambda form: len(form[1]))


def unpack(form: str, data: bytes, count: int) -> bytes:
    """Return the elements, joined, of what ``pack`` returned. Raises DamagedBlockError."""
    try:
        if form == "const":
            return data * count
        if form == "plain":
            return _whole(data)
        if form == "dict":
            return _from_dictionary(data, count)
        width, values = data[0], _rows(_whole(data[1:]), data[0])
        if form == "delta":
            values = _summed(values, width)
    except (zstd.ZstdError, ValueError, IndexError, struct.error) as error:
        raise DamagedBlockError(f"a column of a block cannot be unpacked: {error}") from error
    return with_lengths(values, width)


def _squeezed(data: bytes) -> bytes:
    return zstd.compress(data, options=_OPTIONS)


def _whole(data: bytes) -> bytes:
    return zstd.decompress(data)


def _planes(values: bytes, width: int) -> bytes:
    """Return all first bytes, all second bytes and so on: like stands by like."""
    return b"".join(values[k::width] for k in range(width))


def _rows(planes: bytes, width: int) -> bytes:
    count = len(planes) // width
    out = bytearray(len(planes))
    for k in range(width):
        out[k::width] = planes[k * count : (k + 1) * count]
    return bytes(out)


def _differences(values: bytes, width: int) -> bytes:
    """Return the first word and the differences, each with its sign in the lowest bit."""
    code, mask = _WORDS[width]
    words = struct.unpack(f"!{len(values) // width}{code}", values)
    steps = (words[0], *(b - a for a, b in pairwise(words)))
    folded = ((s << 1) ^ (s >> 8 * width - 1) for s in (_signed(step & mask, width) for step in steps))
    return struct.pack(f"!{len(words)}{code.upper()}", *(f & mask for f in folded))


def _summed(values: bytes, width: int) -> bytes:
    code, mask = _WORDS[width]
    folded = struct.unpack(f"!{len(values) // width}{code.upper()}", values)
    words = accumulate((f >> 1) ^ -(f & 1) for f in folded)
    return struct.pack(f"!{len(folded)}{code.upper()}", *(w & mask for w in words))


def _signed(word: int, width: int) -> int:
    return word - (1 << 8 * width) if word >> 8 * width - 1 else word


def with_lengths(values: bytes, width: int) -> bytes:
    """Return values of one width as elements, without a step of Python for each."""
    stride = _LENGTH_BYTES + width
    out = bytearray((struct.pack("!i", width) + bytes(width)) * (len(values) // width))
    for k in range(width):
        out[_LENGTH_BYTES + k :: stride] = values[k::width]
    return bytes(out)


def _dictionary(distinct: list[bytes], elements: Sequence[bytes]) -> bytes:
    """Return how many distinct elements there are, the places of all of them, and they themselves."""
    place = {element: n for n, element in enumerate(distinct)}
    places = struct.pack(f"!{len(elements)}I", *(place[e] for e in elements))
    entries = b"".join(distinct)
    widths = {len(e) for e in distinct}
    # Of one width they lie in planes, which is what becomes of trace ids.
    if len(widths) == 1:
        entries = _planes(entries, len(distinct[0]))
    body = _squeezed(_planes(places, 4) + entries)
    return struct.pack("!II", len(distinct), len(distinct[0]) if len(widths) == 1 else 0) + body


def _from_dictionary(data: bytes, count: int) -> bytes:
    size, width = struct.unpack_from("!II", data)
    body = _whole(data[8:])
    places = struct.unpack(f"!{count}I", _rows(body[: 4 * count], 4))
    entries = body[4 * count :]
    if width:
        flat = _rows(entries, width)
        distinct = [flat[n * width : (n + 1) * width] for n in range(size)]
    else:
        distinct = split(bytes(_ARRAY_HEADER.size) + entries)
    return b"".join([distinct[p] for p in places])
