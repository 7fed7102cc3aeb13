"""Levels end to end: the OpenTelemetry project's own OpAMP client against a real server, the tool over HTTP."""

import json
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry._opamp.agent import OpAMPAgent
from opentelemetry._opamp.callbacks import MessageData, OpAMPCallbacks
from opentelemetry._opamp.client import OpAMPClient
from opentelemetry._opamp.messages import decode_remote_config
from opentelemetry._opamp.proto import opamp_pb2

from tests import harness
from tests.e2e.test_up import log_request
from tests.factories import log_record, logs_request

EXPORT = "/opentelemetry.proto.collector.logs.v1.LogsService/Export"
HEADER = "x-otel-ingest-config"
WAIT_S = 20


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[harness.Server]:
    """Yield a server that has heard of shop."""
    with harness.running(tmp_path_factory.mktemp("levels") / "data") as running:
        assert running.post("/v1/logs", log_request("first"))[0] == 200
        yield running


class Applies(OpAMPCallbacks):
    """Takes every configuration, as a client that applies levels does."""

    def __init__(self) -> None:
        self.taken = threading.Event()
        self.loggers: list[dict[str, Any]] = []

    def on_message(self, agent: OpAMPAgent, client: OpAMPClient, message: MessageData) -> None:
        """Apply and acknowledge."""
        if message.remote_config is None:
            return
        self.loggers = dict(decode_remote_config(message.remote_config))["log_levels"]["loggers"]
        client.update_remote_config_status(
            remote_config_hash=message.remote_config.config_hash,
            status=opamp_pb2.RemoteConfigStatuses.RemoteConfigStatuses_APPLIED,
        )
        agent.send(client.build_full_state_message())
        self.taken.set()


def call(server: harness.Server, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
    """Ask the JSON API as admin."""
    request = urllib.request.Request(f"http://{server.query}/api/v1{path}", method=method)
    request.add_header("Authorization", f"Bearer {server.token('admin')}")
    request.add_header("Content-Type", "application/json")
    data = json.dumps(body).encode() if body is not None else None
    with urllib.request.urlopen(request, data, timeout=WAIT_S) as answer:  # noqa: S310
        return json.load(answer)


def test_the_standard_client_takes_a_level_and_the_tool_knows(server: harness.Server) -> None:
    """The official client polls every half second; the tool's answer counts it, and the end arrives as well."""
    callbacks = Applies()
    client = OpAMPClient(
        endpoint=f"http://{server.http}/v1/opamp",
        agent_identifying_attributes={"service.name": "shop", "service.instance.id": "1"},
        timeout_millis=WAIT_S * 1000,
    )
    agent = OpAMPAgent(interval=0.5, callbacks=callbacks, client=client)
    agent.start()
    try:
        while not call(server, "GET", "/levels?component=shop")["processes"]:
            assert agent._worker.is_alive()
        done = call(
            server, "POST", "/levels", {"component": "shop", "level": "trace", "ttl": "10m", "reason": "end to end"}
        )
        assert callbacks.taken.wait(WAIT_S)
        assert (callbacks.loggers[0]["name"], callbacks.loggers[0]["level"]) == ("*", "TRACE")
        assert done["processes"] == done["applied"] == 1
        callbacks.taken.clear()
        call(server, "POST", "/levels", {"component": "shop", "level": "default", "reason": "enough"})
        assert callbacks.taken.wait(WAIT_S)
        assert callbacks.loggers == []
    finally:
        agent.stop()


def hash_over_http(server: harness.Server) -> str | None:
    """Export a record of shop over HTTP; return the hash on the answer."""
    request = urllib.request.Request(f"http://{server.http}/v1/logs", data=log_request("again"), method="POST")
    request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request, timeout=WAIT_S) as answer:  # noqa: S310
        return str(answer.headers[HEADER])


def hash_over_grpc(server: harness.Server, body: bytes) -> str | None:
    """Export over gRPC; return the hash in the trailing metadata."""
    with grpc.insecure_channel(server.grpc) as channel:
        _, outcome = channel.unary_unary(EXPORT).with_call(body, timeout=WAIT_S)
    return dict(outcome.trailing_metadata() or ()).get(HEADER)


def test_export_answers_tell_of_a_change(server: harness.Server) -> None:
    """Both transports: one hash before, another once a level is in force; none where components are mixed."""
    body = logs_request([log_record()], service="shop").SerializeToString()
    before = hash_over_http(server)
    assert hash_over_grpc(server, body) == before

    call(server, "POST", "/levels", {"component": "shop", "level": "debug", "ttl": "10m", "reason": "hashes"})
    while (after := hash_over_http(server)) == before:
        assert server.process.poll() is None

    assert hash_over_grpc(server, body) == after
    mixed = logs_request([log_record()], service="shop").SerializeToString()
    mixed += logs_request([log_record()], service="other").SerializeToString()
    assert hash_over_grpc(server, mixed) is None


@pytest.mark.parametrize(
    ("body", "content_type", "status", "says"),
    [
        (b"\xff", "application/x-protobuf", 400, b"AgentToServer"),
        (b"{}", "application/json", 415, b"application/x-protobuf"),
        (b"x" * (1024 * 1024 + 1), "application/x-protobuf", 413, b"larger than"),
    ],
)
def test_wrong_messages_get_a_clear_answer(
    server: harness.Server, body: bytes, content_type: str, status: int, says: bytes
) -> None:
    """What was wrong and what would be right, with the status of its kind."""
    answered, content = server.post("/v1/opamp", body, content_type)

    assert answered == status
    assert says in content


def test_levels_survive_a_restart(tmp_path: Path) -> None:
    """PostgreSQL is the only state: after kill -9 and a second start the level is still in force."""
    data_dir = tmp_path / "data"
    with harness.running(data_dir) as server:
        server.post("/v1/logs", log_request("first"))
        call(server, "POST", "/levels", {"component": "shop", "level": "debug", "ttl": "10m", "reason": "restart"})
        server.process.kill()
        server.process.wait()
    with harness.running(data_dir) as server:
        shown = call(server, "GET", "/levels?component=shop")

    assert [(o["logger"], o["level"]) for o in shown["overrides"]] == [("*", "DEBUG")]
