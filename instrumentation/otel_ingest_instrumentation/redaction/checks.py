"""What a pattern alone cannot say: check digits, and whether a value looks made by a machine."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Span = tuple[int, int]

_OPAQUE_MIN = 8
_CARD_DIGITS_MAX = 19
_CARD_DIGITS_MIN = 14
_IBAN_MIN = 15


def opaque(value: bytes, minimum: int = _OPAQUE_MIN) -> bool:
    """Return whether a value is long and has a digit, an equals sign, or a capital behind a small letter."""
    if len(value) < minimum:
        return False
    if any(c in b"0123456789=" for c in value):
        return True
    small = next((i for i, c in enumerate(value) if 97 <= c <= 122), len(value))  # noqa: PLR2004
    return any(65 <= c <= 90 for c in value[small:])  # noqa: PLR2004


def luhn(digits: bytes) -> bool:
    """Return whether the last digit is the check digit of Luhn's formula."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = digit - 48
        if place % 2:
            value = value * 2 - 9 * (value > 4)  # noqa: PLR2004
        total += value
    return total % 10 == 0


def _groups(run: bytes) -> Iterator[Span]:
    start = 0
    for index, c in enumerate(run):
        if c in b" -":
            yield start, index
            start = index + 1
    yield start, len(run)


def _card(digits: bytes, brands: Sequence[tuple[bytes, bytes, Sequence[int]]]) -> bool:
    return any(
        len(digits) in lengths and first <= digits[: len(first)] <= last for first, last, lengths in brands
    ) and luhn(digits)


def cards(
    run: bytes, brands: Sequence[tuple[bytes, bytes, Sequence[int]]], shapes: Sequence[Sequence[int]]
) -> list[Span]:
    """Return the card numbers in a run of digits, spaces and dashes, as offsets into it."""
    groups = list(_groups(run))
    found: list[Span] = []
    index = 0
    while index < len(groups):
        taken = 1
        for shape in ((groups[index][1] - groups[index][0],), *sorted(shapes, key=len, reverse=True)):
            part = groups[index : index + len(shape)]
            if [b - a for a, b in part] != list(shape) or not _CARD_DIGITS_MIN <= sum(shape) <= _CARD_DIGITS_MAX:
                continue
            if len({run[b : b + 1] for _, b in part[:-1]}) <= 1 and _card(b"".join(run[a:b] for a, b in part), brands):
                found.append((part[0][0], part[-1][1]))
                taken = len(shape)
                break
        index += taken
    return found


def iban(run: bytes, lengths: Mapping[str, Any]) -> Span | None:
    """Return where the account number at the start of ``run`` ends, if it is one."""
    wanted = lengths.get(run[:2].decode("ascii", "replace"))
    if wanted is None:
        return None
    text = bytearray()
    end = 0
    for end, c in enumerate(run, 1):  # noqa: B007
        if c != 32:  # noqa: PLR2004
            text.append(c)
        if len(text) == wanted:
            break
    if len(text) != wanted or run[end : end + 1].isalnum():
        return None
    number = "".join(str(int(chr(c), 36)) for c in text[4:] + text[:4])
    return (0, end) if int(number) % 97 == 1 else None
