"""OpAMP messages: what is read of an agent, what is refused, what is answered."""

import asyncio
import json
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry._opamp.proto import opamp_pb2

from otel_ingest import opamp
from otel_ingest.errors import MalformedRequest, StoreUnavailable
from otel_ingest.levels import LevelConfigurations
from otel_ingest.opamp import Exchanged, OpampServer
from storage.errors import PermanentStoreError
from storage.level_config import AgentReport, configuration_hash
from storage.views import AgentState, LevelOverride

UID = bytes(range(16))
NOW = 1_800_000_000_000_000_000


def override(identifier: int = 1, **fields: object) -> LevelOverride:
    """Return a level of shop that ends in a minute."""
    values: dict[str, object] = {
        "id": identifier, "component": "shop", "logger": "*", "level": "DEBUG", "reason": "r", "set_by": "a",
        "set_at_ns": NOW, "expires_at_ns": NOW + 60_000_000_000,
    }  # fmt: skip
    return LevelOverride(**(values | fields))  # type: ignore[arg-type]


def agent(config_hash: bytes = b"") -> AgentState:
    """Return a known agent with the hash it reported."""
    return AgentState(
        instance_uid=UID.hex(), component="shop", description={}, last_seen_ns=NOW, config_hash=config_hash,
        config_status="applied", config_error="", effective=None,
    )  # fmt: skip


def answered(known: AgentState | None, *overrides: LevelOverride) -> opamp_pb2.ServerToAgent:
    """Return the answer to a plain poll."""
    message = opamp_pb2.ServerToAgent()
    message.ParseFromString(opamp.answer(AgentReport(instance_uid=UID), known, overrides, NOW))
    return message


def test_the_component_is_named_as_everywhere() -> None:
    """service.namespace stands before service.name; identifying attributes win over others of the same name."""
    message = opamp_pb2.AgentToServer(instance_uid=UID)
    for key, value in (("service.name", "shop"), ("service.namespace", "eu")):
        message.agent_description.identifying_attributes.add(key=key).value.string_value = value
    message.agent_description.non_identifying_attributes.add(key="service.name").value.string_value = "liar"
    message.agent_description.non_identifying_attributes.add(key="process.pid").value.int_value = 7

    report = opamp.parse(message.SerializeToString())

    assert report.component == "eu/shop"
    assert report.description == {"service.name": "shop", "service.namespace": "eu", "process.pid": 7}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"\xff\xff", "not an OpAMP AgentToServer message"),
        (b"", "instance_uid has 0 bytes"),
        (opamp_pb2.AgentToServer(instance_uid=b"short").SerializeToString(), "instance_uid has 5 bytes"),
    ],
)
def test_a_wrong_message_is_refused_with_a_reason(body: bytes, reason: str) -> None:
    """400, and the text says what was wrong."""
    with pytest.raises(MalformedRequest, match=reason):
        opamp.parse(body)


@given(st.binary(max_size=400))
def test_any_bytes_are_a_report_or_a_refusal(body: bytes) -> None:
    """Nothing that is sent here raises anything else."""
    try:
        report = opamp.parse(body)
    except MalformedRequest:
        return
    assert len(report.instance_uid) == 16


@given(st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
def test_any_effective_configuration_can_be_stored(body: bytes) -> None:
    """What an agent says is in force is cut to plain JSON of our shape, whatever it was."""
    message = opamp_pb2.AgentToServer(instance_uid=UID)
    message.effective_config.config_map.config_map[opamp.CONFIG_KEY].body = body

    report = opamp.parse(message.SerializeToString())

    assert isinstance(report.effective, list)
    json.dumps(report.effective, allow_nan=False)


def test_a_configuration_is_answered_until_it_is_the_agents() -> None:
    """The whole list, with the time left and not the time of day; nothing where the agent has it already."""
    some = (override(), override(2, logger="shop.orders", level="TRACE"))

    message = answered(agent(), *some)
    file = message.remote_config.config.config_map[opamp.CONFIG_KEY]

    assert message.remote_config.config_hash == configuration_hash(some)
    assert json.loads(file.body)["loggers"][1] == {
        "id": 2, "name": "shop.orders", "level": "TRACE", "expires_in_s": 60.0,
    }  # fmt: skip
    assert not answered(agent(configuration_hash(some)), *some).HasField("remote_config")


def test_nothing_in_force_is_said_only_to_who_had_something() -> None:
    """A fresh agent gets no empty configuration; one that applied a level that is over does."""
    assert not answered(agent()).HasField("remote_config")
    ended = answered(agent(configuration_hash([override()])))
    assert json.loads(ended.remote_config.config.config_map[opamp.CONFIG_KEY].body)["loggers"] == []


def test_who_is_unknown_is_asked() -> None:
    """ReportFullState, and no configuration of anybody."""
    message = answered(None, override())

    assert message.flags == opamp_pb2.ServerToAgentFlags_ReportFullState
    assert not message.HasField("remote_config")


def test_the_hash_does_not_depend_on_order_or_reason() -> None:
    """Ends count, wording does not."""
    one, two = override(1), override(2)

    assert configuration_hash([one, two]) == configuration_hash([two, one])
    assert configuration_hash([one]) == configuration_hash([override(1, reason="other")])
    assert configuration_hash([one]) != configuration_hash([override(1, expires_at_ns=NOW)])


class Store:
    """Stores reports, and remembers which came together."""

    def __init__(self, bad: bytes = b"") -> None:
        self.together: list[int] = []
        self._bad = bad

    async def note(self, reports: Sequence[AgentReport]) -> list[AgentState | None]:
        """Know every agent; refuse ``bad``'s reports for good."""
        self.together.append(len(reports))
        assert len({r.instance_uid for r in reports}) == len(reports)
        await asyncio.sleep(0)
        if any(r.instance_uid == self._bad for r in reports):
            raise PermanentStoreError("no")
        return [agent() for _ in reports]


async def nothing_in_force() -> list[LevelOverride]:
    """Return no level."""
    return []


async def test_messages_that_come_together_are_stored_together() -> None:
    """A hundred at once are two or three transactions, two of one agent never in one."""
    store = Store()
    server = OpampServer(store.note, LevelConfigurations(nothing_in_force))
    bodies = [opamp_pb2.AgentToServer(instance_uid=bytes([i]) * 16).SerializeToString() for i in range(100)]
    answers = await asyncio.gather(*(server.exchange(body) for body in [*bodies, bodies[0]]))

    assert len(answers) == sum(store.together) == 101
    assert len(store.together) <= 3


async def test_a_message_that_cannot_be_stored_costs_only_itself() -> None:
    """Its neighbours are answered."""
    bad = bytes([7]) * 16
    server = OpampServer(Store(bad).note, LevelConfigurations(nothing_in_force))
    bodies = [opamp_pb2.AgentToServer(instance_uid=bytes([i]) * 16).SerializeToString() for i in range(10)]
    answers = await asyncio.gather(*(server.exchange(body) for body in bodies), return_exceptions=True)

    assert [i for i, a in enumerate(answers) if isinstance(a, StoreUnavailable)] == [7]
    assert sum(isinstance(a, Exchanged) for a in answers) == 9
