"""``make conformance``: the 45 checks on both transports against a fresh server, as a table."""

import sys
import tempfile
from collections import Counter
from pathlib import Path

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tests.contract.client import Target, target
from tests.contract.conformance import REQUIREMENTS, Check

_DETAIL_CHARS_MAX = 300
_PASSES, _FAILS, _WITHOUT = "passes", "FAILS", "-"
_STYLES = {_PASSES: "green", _FAILS: "bold red", _WITHOUT: "dim"}


def shown(server: Target, check: Check | str) -> tuple[str, str]:
    """Run one check; return its cell, and what there is to say beside it. No exception ends the table."""
    if isinstance(check, str):
        return _WITHOUT, check
    try:
        check(server)
    except Exception as error:  # noqa: BLE001 - whatever it is, the check fails and the others run
        return _FAILS, f"{type(error).__name__}: {error}"[:_DETAIL_CHARS_MAX]
    return _PASSES, ""


def main() -> int:
    """Print the table, what fails with its reason, and totals; return 1 when a check fails."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("check", "level", "section", "wants", "HTTP", "gRPC"):
        table.add_column(heading, no_wrap=heading != "wants")
    totals = {transport: Counter[str]() for transport in ("HTTP", "gRPC")}
    notes = []
    with tempfile.TemporaryDirectory(prefix="oi-") as directory, target(Path(directory)) as server:
        for requirement in REQUIREMENTS:
            row = []
            for transport, check in (("HTTP", requirement.http), ("gRPC", requirement.grpc)):
                cell, detail = shown(server, check)
                totals[transport][cell] += 1
                row.append(f"[{_STYLES[cell]}]{cell}[/]")
                if cell == _FAILS:
                    notes.append(f"{requirement.id} {transport}: {detail}")
            table.add_row(requirement.id, requirement.level, requirement.section, requirement.wants, *row)
    console = Console(width=None if sys.stdout.isatty() else 132, highlight=False)
    console.print(table)
    for note in notes:
        console.print(escape(note), style=_STYLES[_FAILS])
    for transport, count in totals.items():
        console.print(
            f"{transport:<4}  {count[_PASSES]:>2} of {count[_PASSES] + count[_FAILS]} pass, {count[_FAILS]} fail, "
            f"{count[_WITHOUT]} are of the other transport alone or optional"
        )
    return 1 if notes else 0


if __name__ == "__main__":
    sys.exit(main())
