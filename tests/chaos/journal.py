"""What an exporter process notes of each call, one JSON line each, written through: begin, end, and each answer.

begin   {"at": s, "call": 3, "stream": "logs-0-1", "runs": [[1, 40], [42, 50]]}
end     {"at": s, "call": 3, "result": "SUCCESS"}
answer  {"at": s, "transport": "http", "code": "503", "delay": "1", "detail": "…"}
"""

import json
import os
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.chaos.verdict import Call


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer that was not a success, as the transport saw it."""

    at_s: float
    transport: str
    code: str
    delay: str | None
    """What it said about when to try again; None: nothing."""
    ours: bool
    """Made by the server; False: by the client's own library (connection refused, reset, deadline)."""
    detail: str


class Journal:
    """Appends to one file from many threads."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._lock = threading.Lock()
        self._calls = 0

    def begin(self, stream: str, numbers: Iterable[int]) -> int:
        """Note that a call of an exporter begins; return its number."""
        with self._lock:
            self._calls += 1
            call = self._calls
        self._write(call=call, stream=stream, runs=runs_of(numbers))
        return call

    def end(self, call: int, result: str) -> None:
        """Note what the call returned."""
        self._write(call=call, result=result)

    def answer(self, transport: str, code: str, *, delay: str | None, ours: bool, detail: str) -> None:
        """Note one answer other than success."""
        self._write(transport=transport, code=code, delay=delay, ours=ours, detail=detail[:200])

    def _write(self, **fields: Any) -> None:
        # One write for a line: a line is there whole, or not at all.
        os.write(self._descriptor, (json.dumps({"at": time.time(), **fields}) + "\n").encode())


def runs_of(numbers: Iterable[int]) -> list[list[int]]:
    """PURE: return numbers as runs [first, last], in the order they came."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][1] + 1 == number:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return runs


def read(paths: Iterable[Path]) -> tuple[list[Call], list[Answer]]:
    """Return the calls and the answers that were no success of all processes, each in order of time."""
    calls: list[Call] = []
    answers: list[Answer] = []
    for path in paths:
        begun: dict[int, Call] = {}
        for line in _lines(path):
            if "stream" in line:
                records = [(line["stream"], n) for first, last in line["runs"] for n in range(first, last + 1)]
                begun[line["call"]] = Call(records, line["at"])
            elif "result" in line:
                call = begun[line["call"]]
                call.ended_s, call.result = line["at"], line["result"]
            else:
                fields = ("transport", "code", "delay", "ours", "detail")
                answers.append(Answer(line["at"], *(line[name] for name in fields)))
        calls += begun.values()
    calls.sort(key=lambda call: call.began_s)
    answers.sort(key=lambda answer: answer.at_s)
    return calls, answers


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open() as file:
        for line in file:
            # A last line may be read while it is written.
            if line.endswith("\n"):
                yield json.loads(line)
