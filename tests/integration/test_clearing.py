"""logger_clear against a real PostgreSQL: exactly what was previewed, once, by who asked, and written down."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from mcp_tools.answers import Answer
from mcp_tools.dispatch import call
from mcp_tools.errors import UserInputError
from storage import clearing, partitions, roles
from storage.clearing import Eraser
from storage.columns import SPANS
from storage.config import StorageConfig
from storage.control import Control
from storage.engine import erase_engine
from storage.models import log_records
from storage.reader import Reader
from storage.sink import PostgresSink
from tests.factories import batch_of, log_row, span_row

NOW_US = time.time_ns() // 1000
WHY = {"reason": "a test"}


@dataclass(slots=True)
class Rig:
    """A store with rows, and what deletes with the eraser's rights alone."""

    engine: AsyncEngine
    control: Control
    reader: Reader

    async def store(self, count: int = 1, **values: Any) -> None:
        """Store log records."""
        rows = [log_row(time=NOW_US + i, **values) for i in range(count)]
        await PostgresSink(self.engine).write([batch_of(rows)])

    async def clear(self, *, caller: str = "1:ann", role: str = "admin", **arguments: Any) -> Answer:
        """Call the tool."""
        return await call(self.reader, role, "logger_clear", WHY | arguments, caller=caller, control=self.control)

    async def count(self, what: str = "log_records") -> int:
        """Return how many rows a table has, or a query with FROM."""
        async with self.engine.connect() as connection:
            return int((await connection.execute(text(f"SELECT count(*) FROM {what}"))).scalar_one())  # noqa: S608

    async def outcomes(self) -> list[str]:
        """Return what the audit log says, oldest first."""
        return [entry.outcome for entry in reversed(await self.control.audit_entries())]


@pytest.fixture
async def rig(engine: AsyncEngine, database_url: str) -> AsyncIterator[Rig]:
    """Yield a rig whose deletions go through the eraser's role."""
    await partitions.maintain(engine, datetime.now(UTC), ahead=1)
    await roles.grant(database_url, {roles.ERASER: "e" * 20})
    erasing = erase_engine(StorageConfig(roles.url_as(database_url, roles.ERASER, "e" * 20)))
    yield Rig(engine, Control(engine, Eraser(erasing)), Reader(engine))
    await erasing.dispose()


async def test_what_was_previewed_goes_and_nothing_else(rig: Rig) -> None:
    """Counts by signal, then exactly these; rows that came meanwhile and those of others stay; both are audited."""
    await rig.store(3, component="shop")
    await rig.store(2, component="till")
    await PostgresSink(rig.engine).write([batch_of([span_row(time=NOW_US, component="shop")], SPANS)])

    preview = await rig.clear(component="shop")
    assert preview.data["would_delete"] == {"logs": 3, "spans": 1, "metrics": 0}
    assert await rig.count() == 5
    await rig.store(4, component="shop", body="later")
    done = await rig.clear(component="shop", confirm=preview.data["confirm"])

    assert done.data["deleted"] == {"logs": 3, "spans": 1, "metrics": 0}
    assert done.data["complete"]
    assert await rig.count("log_records WHERE component = 'shop' AND body = 'later'") == 4
    assert await rig.count() == 6
    assert await rig.count("spans") == 0
    assert await rig.outcomes() == [
        "previewed: 3 logs, 1 spans, 0 metrics",
        "confirmed: deleting 4 rows that were previewed",
        "done: deleted 3 logs, 1 spans, 0 metrics of 4 previewed",
    ]


async def test_a_transaction_in_progress_is_after_the_watermark(rig: Rig, database_url: str) -> None:
    """Its rows have lower ids and times than rows that are counted, and are committed after the preview: they stay.

    So do rows that a subtransaction of it stored.
    """
    url = database_url.replace("+psycopg", "")
    names = ", ".join(c.name for c in log_records.c if c.name not in {"id", "body"})
    copy = f"INSERT INTO log_records (body, {names}) SELECT %s, {names} FROM log_records LIMIT 1"  # noqa: S608
    await rig.store(1, component="shop", body="seed")
    async with await psycopg.AsyncConnection.connect(url) as slow:
        await slow.execute(copy.encode(), ["slow"])
        async with slow.transaction():
            await slow.execute(copy.encode(), ["nested"])
        await rig.store(1, component="shop", body="quick")
        preview = await rig.clear(component="shop", signal="logs")
        await slow.commit()
    done = await rig.clear(component="shop", signal="logs", confirm=preview.data["confirm"])

    assert preview.data["would_delete"] == {"logs": 1}
    assert done.data["deleted"] == {"logs": 1}
    assert done.data["complete"]
    # What was stored while that transaction was open came after the watermark as well, though it was committed.
    assert await rig.count("log_records WHERE body IN ('slow', 'nested', 'quick')") == 3


async def test_rows_that_are_gone_already_are_said(rig: Rig) -> None:
    """Somebody else was quicker: the answer says how many were not there any more."""
    await rig.store(3, component="shop")
    first, second = await rig.clear(component="shop"), await rig.clear(everything=True)
    await rig.clear(everything=True, confirm=second.data["confirm"])

    done = await rig.clear(component="shop", confirm=first.data["confirm"])

    assert done.data["deleted"]["logs"] == 0
    assert done.data["gone_already"]["logs"] == 3
    assert "3 of those that were previewed were gone already" in done.text


@pytest.mark.parametrize(
    "change",
    [
        {"component": "till"},
        {"signal": "logs"},
        {"since": "1h"},
        {"caller": "2:bob"},
        {"confirm": "c1.nothing"},
    ],
)
async def test_a_confirmation_is_for_one_caller_and_one_question(rig: Rig, change: dict[str, str]) -> None:
    """Anything else changes nothing, and is written down; the confirmation itself still counts afterwards."""
    await rig.store(2, component="shop")
    await rig.store(2, component="till")
    arguments = {"component": "shop", "confirm": (await rig.clear(component="shop")).data["confirm"]}

    with pytest.raises(UserInputError, match="CONFIRM_MISMATCH: nothing was deleted"):
        await rig.clear(**(arguments | change))

    assert await rig.count() == 4
    assert (await rig.outcomes())[-1].startswith("refused: CONFIRM_MISMATCH")
    await rig.clear(**arguments)
    assert await rig.count() == 2


async def test_a_confirmation_counts_once_also_for_two_at_the_same_moment(rig: Rig) -> None:
    """Of several calls at once one deletes; a replay afterwards is refused."""
    await rig.store(2, component="shop")
    confirm = (await rig.clear(component="shop")).data["confirm"]

    answers = await asyncio.gather(
        *(rig.clear(component="shop", confirm=confirm) for _ in range(4)), return_exceptions=True
    )

    assert sum(isinstance(answer, Answer) for answer in answers) == 1
    with pytest.raises(UserInputError, match="CONFIRM_MISMATCH"):
        await rig.clear(component="shop", confirm=confirm)


async def test_a_confirmation_ends(rig: Rig) -> None:
    """After five minutes of PostgreSQL's clock it is worth nothing."""
    await rig.store(2, component="shop")
    confirm = (await rig.clear(component="shop")).data["confirm"]
    async with rig.engine.begin() as connection:
        left = "SELECT extract(epoch FROM expires_at - made_at) FROM clear_previews"
        assert 299 < float((await connection.execute(text(left))).scalar_one()) < 310
        await connection.execute(text("UPDATE clear_previews SET expires_at = now() - interval '1 second'"))

    with pytest.raises(UserInputError, match="CONFIRM_MISMATCH"):
        await rig.clear(component="shop", confirm=confirm)
    assert await rig.count() == 2


async def test_many_rows_go_in_bounded_transactions(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slices of some rows, also where more rows share one moment than a transaction takes."""
    monkeypatch.setattr(clearing, "ROWS_A_TRANSACTION", 7)
    same = [log_row(time=NOW_US, component="shop") for _ in range(30)]
    await PostgresSink(rig.engine).write([batch_of(same)])
    await rig.store(50, component="shop")
    preview = await rig.clear(component="shop", signal="logs")

    done = await rig.clear(component="shop", signal="logs", confirm=preview.data["confirm"])

    assert done.data["deleted"] == {"logs": 80}
    assert done.data["complete"]
    assert await rig.count() == 0


async def test_it_stops_in_time_and_says_so(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call ends when its time is over; the answer and the audit log say what is left."""
    monkeypatch.setattr("mcp_tools.clearing.CLEAR_S_MAX", 0.0)
    await rig.store(3, component="shop")
    preview = await rig.clear(component="shop", signal="logs")

    done = await rig.clear(component="shop", signal="logs", confirm=preview.data["confirm"])

    assert not done.data["complete"]
    assert done.data["left"] == {"logs": 3}
    assert "preview again" in done.text
    assert (await rig.outcomes())[-1] == "stopped: deleted 0 logs of 3 previewed"


async def test_ingestion_does_not_wait(rig: Rig, database_url: str) -> None:
    """While a deletion holds its rows another transaction stores at once."""
    await rig.store(3, component="shop")
    url = database_url.replace("+psycopg", "")
    async with await psycopg.AsyncConnection.connect(url) as deleting:
        await deleting.execute("DELETE FROM log_records")
        async with asyncio.timeout(10):
            await rig.store(1, component="shop", body="not held up")
        await deleting.rollback()

    assert await rig.count() == 4


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({}, "INVALID_ARGUMENT: logger_clear: say which records"),
        ({"everything": True, "component": "shop"}, "INVALID_ARGUMENT: logger_clear: say which records"),
        ({"component": "shpo"}, 'UNKNOWN_COMPONENT: no component "shpo" was ever seen. Did you mean "shop"'),
        ({"trace_id": "12"}, "INVALID_ID"),
        ({"text": "secret", "signal": "spans"}, "INVALID_ARGUMENT: logger_clear: text is of logs"),
        ({"signal": "metrics", "trace_id": "a" * 32}, "INVALID_ARGUMENT: logger_clear: metrics have no trace_id"),
        ({"since": "1h", "until": "2h"}, "EMPTY_WINDOW"),
        ({"everything": True, "reason": ""}, "INVALID_ARGUMENT: logger_clear: reason"),
    ],
)
async def test_a_wrong_question_is_told_what_would_be_right(rig: Rig, arguments: dict[str, Any], code: str) -> None:
    """Nothing is deleted by mistake, and the attempt is written down."""
    await rig.store(1, component="shop")

    with pytest.raises(UserInputError) as caught:
        await rig.clear(**arguments)

    assert str(caught.value).startswith(code)
    assert (await rig.outcomes())[-1].startswith("refused: ")


async def test_by_text_by_trace_and_by_time(rig: Rig) -> None:
    """A secret that slipped through is found by its text, wildcards taken as they are; a trace by its id."""
    await rig.store(1, component="shop", body="password is 100% hunter2")
    await rig.store(1, component="shop", body="password is 100 hunter2")
    await rig.store(1, component="shop", trace_id=b"\x01" * 16)

    by_text = await rig.clear(text="100% HUNTER")
    by_trace = await rig.clear(trace_id="01" * 16)
    none = await rig.clear(component="shop", until="2020-01-01T00:00:00Z")

    assert by_text.data["would_delete"] == {"logs": 1}
    assert by_trace.data["would_delete"] == {"logs": 1, "spans": 0}
    assert none.data["confirm"] is None
    assert not none.found


async def test_without_its_audit_entry_nothing_goes(rig: Rig) -> None:
    """Where the audit log cannot be written, no confirmation is made and nothing is deleted."""
    await rig.store(2, component="shop")
    confirm = (await rig.clear(component="shop")).data["confirm"]
    async with rig.engine.begin() as connection:
        await connection.execute(text("ALTER TABLE audit_log ADD CONSTRAINT full_up CHECK (false) NOT VALID"))

    for arguments in ({"component": "shop"}, {"component": "shop", "confirm": confirm}):
        with pytest.raises(UserInputError, match="STORE_UNAVAILABLE"):
            await rig.clear(**arguments)

    assert await rig.count() == 2
    assert await rig.count("clear_previews WHERE used_at IS NOT NULL") == 0
