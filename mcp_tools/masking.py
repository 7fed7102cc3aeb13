"""PURE: what varies in a message (numbers, ids, addresses) -> a mark, so that equal messages are equal."""

import re

_CHARS_MAX = 2_000
_MASKS = (
    ("<uuid>", r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"),
    ("<time>", r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?(?:Z|[+-]\d\d:?\d\d)?"),
    ("<ip>", r"(?<![\w.])\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}(?::\d+)?(?![\w.])"),
    ("<hex>", r"\b(?:0x[0-9a-fA-F]+|(?=[a-fA-F]*\d)[0-9a-fA-F]{8,})\b"),
    ("<n>", r"\d+(?:[.,]\d+)*"),
)
_MASK = re.compile("|".join(f"({pattern})" for _, pattern in _MASKS))
_NAMES = tuple(name for name, _ in _MASKS)


# All that the masks tell of a digit is whether it is one, and of 0 that 0x begins a number.
_DIGITS = str.maketrans("23456789", "1" * 8)


def shape(message: str) -> str:
    """Return what decides how a message is masked: messages of one shape are masked alike."""
    return message[:_CHARS_MAX].translate(_DIGITS)


def masked(message: str) -> str:
    """Return the message with what varies masked; the first 2,000 characters of it."""
    return _MASK.sub(lambda match: _NAMES[(match.lastindex or 1) - 1], message[:_CHARS_MAX])
