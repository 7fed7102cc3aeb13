"""Protobuf bytes by hand, for what no library writes: https://protobuf.dev/programming-guides/encoding/."""


def varint(value: int) -> bytes:
    """Return a base 128 varint."""
    data = bytearray()
    while value > 0x7F:
        data.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*data, value])


def field(number: int, *payload: bytes) -> bytes:
    """Return one length-delimited field."""
    data = b"".join(payload)
    return varint(number << 3 | 2) + varint(len(data)) + data
