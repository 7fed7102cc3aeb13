"""``make conformance``: the 45 checks on both transports against a fresh server, as a table."""

import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.contract.client import Target, target
from tests.contract.conformance import REQUIREMENTS, Check


def shown(server: Target, check: Check | str) -> str:
    """Run one check; return its cell."""
    if isinstance(check, str):
        return "-"
    try:
        check(server)
    except AssertionError as error:
        return f"FAILS: {error}"[:200]
    return "passes"


def main() -> int:
    """Print the table; return 1 when a check fails."""
    table = Table("check", "level", "section", "wants", "HTTP", "gRPC", box=None)
    cells: list[str] = []
    with tempfile.TemporaryDirectory(prefix="oi-") as directory, target(Path(directory)) as server:
        for requirement in REQUIREMENTS:
            row = [shown(server, requirement.http), shown(server, requirement.grpc)]
            cells += row
            table.add_row(requirement.id, requirement.level, requirement.section, requirement.wants, *row)
    Console(width=150).print(table)
    failed = sum(cell.startswith("FAILS") for cell in cells)
    print(f"{sum(c == 'passes' for c in cells)} pass, {failed} fail, {cells.count('-')} do not apply")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
