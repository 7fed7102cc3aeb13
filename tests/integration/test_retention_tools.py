"""logger_retention and logger_set_retention: who may, what is previewed, and what it then says."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from mcp_tools.answers import Answer
from mcp_tools.dispatch import call
from mcp_tools.errors import UserInputError
from storage import partitions, roles
from storage.clearing import Eraser
from storage.config import StorageConfig
from storage.control import Control
from storage.engine import erase_engine, read_engine
from storage.reader import Reader
from storage.retention import carrying_out
from storage.sink import PostgresSink
from tests.factories import batch_of, log_row, now_us

DAY_US = 86_400_000_000
Ask = Any


@pytest.fixture
async def ask(engine: AsyncEngine, database_url: str) -> AsyncIterator[Ask]:
    """Yield a function that calls a tool with the rights of the database's own roles."""
    await roles.grant(database_url, dict.fromkeys(roles.TABLES_OF, "p" * 20))
    reading = read_engine(StorageConfig(roles.url_as(database_url, roles.READER, "p" * 20)))
    erasing = erase_engine(StorageConfig(roles.url_as(database_url, roles.ERASER, "p" * 20)))

    async def asked(tool: str = "logger_retention", role: str = "admin", **arguments: Any) -> Answer:
        control = Control(engine, Eraser(erasing))
        return await call(Reader(reading), role, tool, arguments, caller="7:ops", control=control)

    yield asked
    await reading.dispose()
    await erasing.dispose()


async def old_day(engine: AsyncEngine, age_days: int) -> str:
    """Store an INFO and an ERROR record of an old day, in a partition as if made then; return its name."""
    at = now_us() - age_days * DAY_US
    await PostgresSink(engine).write([batch_of([log_row(time=at), log_row(time=at, severity_number=17)])])
    name = partitions.partition_name("log_records", at // DAY_US)
    async with engine.begin() as connection:
        await connection.execute(text(f"COMMENT ON TABLE {name} IS 'otel-ingest made=0'"))
        await connection.execute(text(f"ANALYZE {name}"))
    return name


async def test_it_shows_rules_sizes_and_what_goes(engine: AsyncEngine, ask: Ask) -> None:
    """To who may read: the rules with who set them and why, since when what is there, what goes now and next."""
    gone, kept = await old_day(engine, 40), await old_day(engine, 10)

    data = (await ask(role="read")).data

    assert {(r["signal"], r["keep"], r["set_by"]) for r in data["rules"]} == {
        (signal, "30d", "otel-ingest") for signal in ("logs", "spans", "metrics")
    }
    assert [(s["partition"], s["step"]) for s in data["goes_now"]] == [(gone, "drop")]
    assert [g["partition"] for g in data["goes_next"]] == [kept]
    assert data["signals"]["logs"]["partitions"] == 2
    assert data["signals"]["logs"]["oldest"][:10].replace("-", "") == gone[-8:]
    assert data["signals"]["logs"]["kept_at_most"] == "30d"


async def test_a_rule_that_takes_nothing_is_set_at_once(ask: Ask) -> None:
    """No preview, one entry of the audit log; set again it replaces the former."""
    for keep in ("90d", "60d"):
        answer = await ask("logger_set_retention", signal="logs", keep=keep, severity_min="error", reason="law")
        assert answer.data["dry_run"] is False

    assert answer.data["replaced"] is True
    assert answer.text == "logs, severity ERROR and above: 60d"
    assert [(r["severity_min"], r["keep"]) for r in (await ask()).data["rules"] if r["severity_min"]] == [(17, "60d")]


async def test_records_go_only_after_what_was_previewed_is_confirmed(engine: AsyncEngine, ask: Ask) -> None:
    """The first call changes nothing and says what would go; its confirmation is of that alone."""
    name = await old_day(engine, 10)
    given = {"signal": "logs", "keep": "7d", "reason": "disk"}

    preview = await ask("logger_set_retention", **given)
    assert preview.data["dry_run"] is True
    assert [(s["step"], s["partition"]) for s in preview.data["goes_now"]] == [("drop", name)]
    assert preview.data["goes_now"][0]["rows_estimate"] == 2
    assert {r["keep"] for r in (await ask()).data["rules"]} == {"30d"}

    other = await old_day(engine, 9)
    changed = await ask("logger_set_retention", **given, confirm=preview.data["confirm"])
    assert changed.data["dry_run"] is True
    assert {s["partition"] for s in changed.data["goes_now"]} == {name, other}

    done = await ask("logger_set_retention", **given, confirm=changed.data["confirm"])
    assert done.data["dry_run"] is False
    assert len(await carrying_out.apply(engine, datetime.now(UTC), 60)) == 2
    assert (await ask()).data["goes_now"] == []


async def test_unsetting(ask: Ask) -> None:
    """A rule ends; without one a signal is kept for ever, which is said; what is not there cannot end."""
    await ask("logger_set_retention", signal="spans", keep="unset", reason="trying")

    data = (await ask()).data
    assert data["signals"]["spans"]["kept_at_most"] == "forever"
    assert any("spans have no rule" in hint for hint in data["hints"])
    with pytest.raises(UserInputError, match="no rule about spans"):
        await ask("logger_set_retention", signal="spans", keep="unset", reason="trying")


@pytest.mark.parametrize("role", ["read", "control", "ingest"])
async def test_only_an_admin_sets(engine: AsyncEngine, ask: Ask, role: str) -> None:
    """Refused by name, and written down."""
    with pytest.raises(UserInputError, match="needs the role admin"):
        await ask("logger_set_retention", role, signal="logs", keep="1h", reason="mine")

    entries = await Control(engine).audit_entries()
    assert [(e.action, e.role, e.outcome[:7]) for e in entries] == [("logger_set_retention", role, "refused")]


@pytest.mark.parametrize(
    "given",
    [
        {"keep": "soon"},
        {"keep": "30m"},
        {"signal": "spans", "component": "shop"},
        {"severity_min": "loud"},
        {"component": "\x00"},
    ],
)
async def test_what_is_no_rule_is_said(ask: Ask, given: dict[str, str]) -> None:
    """The sentence says what would be one."""
    with pytest.raises(UserInputError) as caught:
        await ask("logger_set_retention", **({"signal": "logs", "keep": "3d", "reason": "test"} | given))

    assert caught.value.code == "INVALID_ARGUMENT"


async def test_without_a_way_to_delete_nothing_is_set(engine: AsyncEngine) -> None:
    """A server that may not delete says so."""
    given = {"signal": "logs", "keep": "3d", "reason": "test"}
    with pytest.raises(UserInputError, match="READ_ONLY"):
        await call(Reader(engine), "admin", "logger_set_retention", given, control=Control(engine))


async def test_answers_keep_to_their_budget(ask: Ask) -> None:
    """Many rules with long words: what is left out is said, text and data both are small enough."""
    for n in range(60):
        await ask("logger_set_retention", signal="logs", keep="3d", component=f"c{n}" + "x" * 90, reason="y" * 200)

    answer = await ask(max_tokens=1_000)
    assert answer.data["truncated"] is True
    assert "left out" in answer.text
    assert len(answer.text) <= 4_400
    assert len(json.dumps(answer.data)) <= 8_800
