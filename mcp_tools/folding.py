"""PURE: log records in order -> fewer lines; each line says how many it stands for, and each record is in one."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from mcp_tools.masking import masked
from storage.views import LogNode

Collapse = Literal["none", "repeats", "patterns"]


@dataclass(slots=True)
class Fold:
    """Records of one component, severity and message (but for what varies in it): the first, the last, how many."""

    first: LogNode
    last: LogNode
    count: int = 1


def fold(
    records: Sequence[LogNode], how: Collapse, limit: int, has_room: Callable[[LogNode], bool]
) -> tuple[list[Fold], int]:
    """Return up to ``limit`` folds and how many records they stand for, from the first one on.

    ``how``: repeats folds what follows each other, patterns what is anywhere in ``records``. ``has_room`` is asked
    before each new fold but the first; the record it refuses is the first of the next page.
    """
    folds: list[Fold] = []
    open_folds: dict[tuple[str, int, str], Fold] = {}
    for index, record in enumerate(records):
        key = (record.component, record.severity_number, masked(record.body))
        found = open_folds.get(key) if how != "none" else None
        if found is not None:
            found.last = record
            found.count += 1
            continue
        if len(folds) == limit or not (has_room(record) or not folds):
            return folds, index
        if how == "repeats":
            open_folds.clear()
        made = open_folds[key] = Fold(record, record)
        folds.append(made)
    return folds, len(records)
