"""The first look at a request's bytes: whether some patterns certainly match nowhere in them (``search.c``)."""

import ctypes
from array import array
from collections.abc import Sequence
from itertools import accumulate, chain
from typing import NamedTuple

from otel_ingest import native
from otel_ingest.native.expressions import NotExpressibleError
from otel_ingest.native.positions import Positions, bits, positions_of

_CLASSES_MAX = 128
# What search.c can number; the shared rules take a third.
_STATES_MAX = 1 << 15
_HASHED = 1 << 16
_POSITIONS_MAX = (1 << 16) - 1
# Positions of all states; the shared rules take a twentieth.
_SETS_MAX = 2 << 20


class _Patterns(ctypes.Structure):
    """``Patterns`` of search.c."""

    _fields_ = (
        ("takes", ctypes.c_void_p),
        ("first", ctypes.c_void_p),
        ("follow", ctypes.c_void_p),
        ("late", ctypes.c_void_p),
        ("positions", ctypes.c_int32),
        ("classes", ctypes.c_int32),
        ("next", ctypes.c_void_p),
        ("confirm", ctypes.c_void_p),
        ("states", ctypes.c_int32),
        ("sets", ctypes.c_void_p),
        ("sets_size", ctypes.c_int32),
        ("begins", ctypes.c_void_p),
        ("seeking", ctypes.c_void_p),
        ("hashed", ctypes.c_void_p),
        ("merged", ctypes.c_void_p),
        ("used", ctypes.c_int32),
    )


class _Table(ctypes.Structure):
    """``Table`` of search.c."""

    _fields_ = (
        ("classes", ctypes.c_char_p),
        ("next", ctypes.c_char_p),
        ("confirm", ctypes.c_char_p),
        ("texts", ctypes.c_void_p),
    )


Pattern = tuple[str, bool]
"""A pattern, and whether the case of its letters counts for nothing."""


class Asking(NamedTuple):
    """Names that count only where the text behind them does, as an AnyValue of protobuf."""

    names: Sequence[Pattern]
    texts: "FirstLook"


class FirstLook:
    """Some patterns as one table of states; safe to share between threads."""

    def __init__(self, patterns: Sequence[Pattern], asking: Asking | None = None) -> None:
        """Make the table. Raises NotExpressibleError for syntax that is not known, and more than the table takes."""
        positions = positions_of(patterns, asking.names if asking else ())
        classes = positions.classes()
        if len(classes) > _CLASSES_MAX:
            raise NotExpressibleError(f"{len(classes)} classes of bytes, at most {_CLASSES_MAX} are told apart")
        class_of = bytearray(256)
        for number, class_ in enumerate(classes):
            for byte in range(256):
                if class_ >> byte & 1:
                    class_of[byte] = number
        next_, confirm = _states(positions, classes)
        self.states = len(confirm) // 2
        self._asking = asking  # the structure holds its address alone
        texts = ctypes.addressof(asking.texts.table) if asking else None
        self.table: ctypes.Structure = _Table(bytes(class_of), next_, confirm, texts)
        self._address = ctypes.byref(self.table)

    def clean(self, data: bytes) -> bool:
        """Return whether no pattern matches anywhere in ``data``; False may be wrong, True is not."""
        assert native.library is not None  # noqa: S101 - asked for only where it is available
        return not native.library.otel_ingest_search(self._address, data, len(data))


def _states(positions: Positions, classes: Sequence[int]) -> tuple[bytes, bytes]:
    """Return where each state leads, and with which it is confirmed, as search.c has it. Raises NotExpressibleError."""
    count = len(positions.takes)
    if count > _POSITIONS_MAX:
        raise NotExpressibleError(f"{count} positions, at most {_POSITIONS_MAX} are told apart")
    told = {  # of what a position takes, the classes
        taken: sum(1 << number for number, class_ in enumerate(classes) if taken & class_)
        for taken in set(positions.takes)
    }
    takes = array("Q", chain.from_iterable(divmod(told[taken], 1 << 64)[::-1] for taken in positions.takes))
    followers = [list(bits(mask)) for mask in positions.follow]
    first = array("i", accumulate(map(len, followers), initial=0))
    follow = array("H", chain.from_iterable(followers))
    next_, confirm = _empty("H", _STATES_MAX * _CLASSES_MAX), _empty("H", _STATES_MAX)
    sets, begins, seeking = _empty("H", _SETS_MAX), _empty("i", _STATES_MAX + 1), _empty("B", _STATES_MAX)
    hashed, merged = _empty("H", _HASHED), _empty("H", count)
    late = array("B", positions.late)
    given = *map(_at, (takes, first, follow, late)), count, len(classes)
    made = _at(next_), _at(confirm), _STATES_MAX, _at(sets), _SETS_MAX
    room = map(_at, (begins, seeking, hashed, merged))
    assert native.library is not None  # noqa: S101 - as above
    used = native.library.otel_ingest_states(ctypes.byref(_Patterns(*given, *made, *room)))
    if used < 0:
        raise NotExpressibleError("more states than there is room for")
    return next_[: used * _CLASSES_MAX].tobytes(), confirm[:used].tobytes()


def _empty(kind: str, size: int) -> "array[int]":
    return array(kind, bytes(array(kind).itemsize * size))


def _at(buffer: "array[int]") -> int:
    return buffer.buffer_info()[0]
