"""Rows that a command prints: whole, whoever reads them."""

import pytest

from otel_ingest.cli.common import print_rows

ROW = {f"column_{n}": f"log_records_p2026112{n}" for n in range(9)} | {"bytes": 123_456_789}


def test_a_pipe_gets_every_value_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is cut to the width of a terminal that is not there."""
    print_rows([ROW, ROW], as_json=False)

    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split() == list(ROW)
    assert [line.split() for line in lines] == [[str(value) for value in ROW.values()]] * 2
