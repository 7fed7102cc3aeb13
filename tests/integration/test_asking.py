"""Deleting and retention where the client can ask its user, at both revisions: yes, no, cancelled, and every misuse."""

from typing import Any, Literal

import pytest
from mcp import Client
from mcp.client.context import ClientRequestContext
from mcp_types import ElicitRequestParams, ElicitResult, ErrorData
from sqlalchemy.ext.asyncio import AsyncEngine

from mcp_tools.server import QueryServer, Who
from storage.clearing import Eraser
from storage.control import Control
from storage.filters import LogQuery
from storage.reader import Reader
from storage.sink import PostgresSink
from tests.factories import batch_of, log_row
from tests.integration.test_retention_tools import old_day

Mode = Literal["auto", "legacy"]
MODES: list[Mode] = ["auto", "legacy"]
GIVEN = {"component": "shop", "reason": "a test"}
YES = ElicitResult(action="accept", content={"proceed": True})


class User:
    """Answers each question in the same way, and keeps what it was asked."""

    def __init__(self, says: ElicitResult | ErrorData) -> None:
        self.says = says
        self.asked: list[str] = []

    async def __call__(self, context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult | ErrorData:
        """Answer one question."""
        del context
        self.asked.append(params.message)
        return self.says


def server_of(engine: AsyncEngine, role: str = "admin") -> QueryServer:
    """Return a server for a caller of a role."""
    control = Control(engine, Eraser(engine))
    return QueryServer(Reader(engine), lambda: Who(role, "1:tests"), "0", control=control, log_level="WARNING")


async def stored(engine: AsyncEngine) -> int:
    """Return how many log records there are."""
    return (await Reader(engine).find_logs(LogQuery(limit=10))).matched


@pytest.fixture
async def store(engine: AsyncEngine) -> AsyncEngine:
    """Return a store with three records."""
    await PostgresSink(engine).write([batch_of([log_row(body=f"r{n}") for n in range(3)])])
    return engine


@pytest.mark.parametrize("mode", MODES)
async def test_a_yes_deletes_what_was_previewed(store: AsyncEngine, mode: Mode) -> None:
    """One call of the agent, one question, which says what and how much, in our words first."""
    user = User(YES)
    async with Client(server_of(store), mode=mode, elicitation_callback=user) as client:
        answer = await client.call_tool("logger_clear", GIVEN)
    outcomes = [entry.outcome for entry in await Control(store).audit_entries()]

    (asked,) = user.asked
    assert asked.startswith("would delete 3 logs, 0 spans, 0 metrics, from 20")
    assert 'component=shop\nThe reason that was given: "a test"' in asked
    assert answer.structured_content["deleted"] == {"logs": 3, "spans": 0, "metrics": 0}
    assert await stored(store) == 0
    assert [outcome.partition(":")[0] for outcome in reversed(outcomes)] == ["previewed", "confirmed", "done"]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("says", "code"),
    [
        (ElicitResult(action="decline"), "DECLINED"),
        (ElicitResult(action="cancel"), "CANCELLED"),
        (ElicitResult(action="accept", content={"proceed": False}), "DECLINED"),
        (ElicitResult(action="accept", content={"something": "else"}), "DECLINED"),
        (ElicitResult(action="accept"), "DECLINED"),
    ],
)
async def test_anything_else_deletes_nothing(store: AsyncEngine, mode: Mode, says: ElicitResult, code: str) -> None:
    """It is an error to the agent, and stands in the audit log."""
    async with Client(server_of(store), mode=mode, elicitation_callback=User(says)) as client:
        answer = await client.call_tool("logger_clear", GIVEN)
    (last, _) = await Control(store).audit_entries(2)

    assert answer.is_error
    assert answer.content[0].text.startswith(f"{code}: the user ")
    assert "nothing was done" in answer.content[0].text
    assert await stored(store) == 3
    assert last.outcome.startswith("refused: the user ")
    assert last.arguments == GIVEN


@pytest.mark.parametrize("mode", MODES)
async def test_nobody_is_asked_who_may_not(store: AsyncEngine, mode: Mode) -> None:
    """Role, then arguments, then what there is to delete, then the question."""
    user = User(YES)
    for role, given, code in (
        ("read", GIVEN, "FORBIDDEN"),
        ("admin", {"component": "shop"}, "INVALID_ARGUMENT"),
        ("admin", GIVEN | {"component": "nobody"}, "UNKNOWN_COMPONENT"),
        ("admin", GIVEN | {"confirm": "c1.forged"}, "CONFIRM_MISMATCH"),
        ("admin", GIVEN | {"until": "2020-01-01"}, None),
    ):
        async with Client(server_of(store, role), mode=mode, elicitation_callback=user) as client:
            answer = await client.call_tool("logger_clear", given)
        assert answer.content[0].text.startswith(f"{code}" if code else "nothing to delete")

    assert user.asked == []
    assert await stored(store) == 3


@pytest.mark.parametrize("mode", MODES)
async def test_without_a_user_two_calls_do_it(store: AsyncEngine, mode: Mode) -> None:
    """A client that offers no forms gets the preview; so does, before 2026-07-28, one whose asking fails."""
    clients: list[dict[str, Any]] = [{}]
    clients += [{"elicitation_callback": User(ErrorData(code=-1, message="no screen"))}] if mode == "legacy" else []
    for options in clients:
        async with Client(server_of(store), mode=mode, **options) as client:
            preview = await client.call_tool("logger_clear", GIVEN)
        assert preview.structured_content["dry_run"] is True
        assert await stored(store) == 3
    async with Client(server_of(store), mode=mode) as client:
        done = await client.call_tool("logger_clear", GIVEN | {"confirm": preview.structured_content["confirm"]})

    assert done.structured_content["deleted"]["logs"] == 3


@pytest.mark.parametrize("mode", MODES)
async def test_retention_asks_as_well(store: AsyncEngine, mode: Mode) -> None:
    """Only where records would go at once."""
    await old_day(store, 15)
    user = User(YES)
    async with Client(server_of(store), mode=mode, elicitation_callback=user) as client:
        given = {"signal": "logs", "reason": "a test"}
        at_once = await client.call_tool("logger_set_retention", given | {"keep": "10d"})
        later = await client.call_tool("logger_set_retention", given | {"keep": "20d"})

    assert len(user.asked) == 1
    assert "Nothing was changed yet: records would go from 1 partitions" in user.asked[0]
    assert at_once.structured_content["dry_run"] is later.structured_content["dry_run"] is False


async def test_a_question_is_answered_once_and_by_who_was_asked(store: AsyncEngine) -> None:
    """At 2026-07-28 the client carries the question: another call, other arguments, or once more do nothing."""
    async with Client(server_of(store), mode="auto", elicitation_callback=User(YES)) as client:
        first = await client.session.call_tool("logger_clear", GIVEN, allow_input_required=True)
        again = {"input_responses": {"proceed": YES}, "request_state": first.request_state}
        texts = []
        for arguments, more in (
            (GIVEN | {"component": "b"}, again),
            (GIVEN, again | {"request_state": (first.request_state or "")[:-4] + "AAAA"}),
        ):
            with pytest.raises(Exception, match="requestState"):
                await client.session.call_tool("logger_clear", arguments, allow_input_required=True, **more)
        assert await stored(store) == 3
        for _ in range(2):
            done = await client.session.call_tool("logger_clear", GIVEN, allow_input_required=True, **again)
            texts.append(done.content[0].text)

    assert texts[0].startswith("deleted 3 logs")
    assert texts[1].startswith("CONFIRM_MISMATCH")
