"""The OpAMP agent of this process (docs/opamp.md): polls for levels, at once where an export's answer has a new hash.

Messages are the OpenTelemetry project's; its client is not used: its threads do not outlive a fork, and it cannot be
woken. One thread polls and ends rules, also when the server is gone.
"""

import json
import os
import random
import socket
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from opentelemetry._opamp.proto import opamp_pb2
from opentelemetry._opamp.proto.anyvalue_pb2 import KeyValue

from otel_ingest_instrumentation import guard
from otel_ingest_instrumentation.levels import Levels

PATH = "/v1/opamp"
POLL_S = 30.0
POLL_MAX_S = 300.0  # after failures: there may be no OpAMP server at all
CONFIG_KEY = "log_levels"
_CAPABILITIES = (
    opamp_pb2.AgentCapabilities_ReportsStatus
    | opamp_pb2.AgentCapabilities_AcceptsRemoteConfig
    | opamp_pb2.AgentCapabilities_ReportsEffectiveConfig
    | opamp_pb2.AgentCapabilities_ReportsRemoteConfig
)
Post = Callable[[bytes, float], bytes | None]
"""Posts a message with a bound in seconds; returns the answer's body, None for any failure. Never raises."""


def uuid7() -> bytes:
    """Return a UUID v7: its time, then chance."""
    raw = bytearray(int(time.time() * 1000).to_bytes(6, "big") + os.urandom(10))
    raw[6] = raw[6] & 0x0F | 0x70
    raw[8] = raw[8] & 0x3F | 0x80
    return bytes(raw)


class Agent:
    """Talks for one process; ``resource`` holds the attributes of its telemetry."""

    def __init__(self, post: Post, levels: Levels, resource: Mapping[str, Any]) -> None:
        self._post = post
        self._levels = levels
        self._resource = dict(resource)
        self._begin()

    def _begin(self) -> None:
        self._uid = uuid7()
        self._sequence = 0
        self._failures = 0
        self._full = True
        self._polled = False
        self._applied: str | None = None
        self._asked: str | None = None
        self._status: opamp_pb2.RemoteConfigStatus | None = None
        self._report = False
        self._wake = threading.Event()
        self._stopped = False

    def start(self) -> None:
        """Start polling."""
        with suppress(RuntimeError):  # the interpreter is on its way out
            threading.Thread(target=self._run, args=(self._wake,), name="otel-ingest-opamp", daemon=True).start()

    def reset_after_fork(self) -> None:
        """Be an agent of its own in a forked child."""
        self._begin()
        self._resource["service.instance.id"] = str(uuid.UUID(bytes=self._uid))
        self.start()

    def seen(self, config: str) -> None:
        """Poll at once where an export's answer bore another hash than the one in force."""
        if config not in (self._applied, self._asked):
            self._asked = config
            self._wake.set()

    def goodbye(self) -> None:
        """Say that the process ends, where the server was heard of before."""
        self._stopped = True
        self._wake.set()
        if self._polled and self._failures == 0:
            message = opamp_pb2.AgentToServer(instance_uid=self._uid, sequence_num=self._sequence)
            message.agent_disconnect.SetInParent()
            with guard.exporting():
                self._post(message.SerializeToString(), 0.3)

    def _run(self, wake: threading.Event) -> None:
        due = 0.0
        with guard.exporting():
            while not self._stopped and wake is self._wake:
                if self._levels.expire():
                    self._report = True
                    due = 0.0
                if wake.is_set() or time.monotonic() >= due:
                    wake.clear()
                    due = time.monotonic() + self._poll()
                end = self._levels.next_end_s()
                wait = due - time.monotonic()
                wake.wait(max(0.01, min(wait, end) if end is not None else wait))

    def _poll(self) -> float:
        """Exchange messages until there is nothing to say; return the seconds to the next poll."""
        for _ in range(4):  # description, configuration, acknowledgement: three, and one to spare
            again = self._exchange()
            if again is None:
                self._failures += 1
                self._full = True
                break
            self._failures = 0
            self._polled = True
            if not again:
                break
        wait: float = min(POLL_S * 2.0 ** min(max(self._failures - 1, 0), 10), POLL_MAX_S)
        return wait * random.uniform(0.9, 1.1)  # noqa: S311

    def _exchange(self) -> bool | None:
        """Send one message and take its answer; return whether there is more to say, None for a failure."""
        full, status = self._full, self._status
        raw = self._post(self._message(full, status), 5.0)
        if raw is None:
            return None
        try:
            answer = opamp_pb2.ServerToAgent.FromString(raw)
        except Exception:  # noqa: BLE001  # something else answers at that address
            return None
        if answer.HasField("error_response"):
            return None
        self._full = bool(answer.flags & opamp_pb2.ServerToAgentFlags_ReportFullState)
        if self._status is status:
            self._status = None
        self._report = False
        if answer.HasField("remote_config"):
            self._apply(answer.remote_config)
            return True
        return self._full and not full

    def _message(self, full: bool, status: Any) -> bytes:  # noqa: FBT001
        message = opamp_pb2.AgentToServer(
            instance_uid=self._uid, sequence_num=self._sequence, capabilities=_CAPABILITIES
        )
        self._sequence += 1
        if full:
            self._describe(message.agent_description)
        if status is not None:
            message.remote_config_status.CopyFrom(status)
        if full or status is not None or self._report:
            file = message.effective_config.config_map.config_map[CONFIG_KEY]
            file.content_type = "application/json"
            file.body = json.dumps({"loggers": self._levels.effective()}).encode()
        return bytes(message.SerializeToString())

    def _describe(self, description: Any) -> None:
        for name in ("service.name", "service.namespace", "service.instance.id"):
            if value := self._resource.get(name):
                description.identifying_attributes.append(_pair(name, str(value)))
        others: dict[str, str | int] = {
            "process.pid": os.getpid(),
            "host.name": socket.gethostname(),
            "telemetry.sdk.language": "python",
        }
        description.non_identifying_attributes.extend(_pair(k, v) for k, v in others.items())

    def _apply(self, config: Any) -> None:
        status = opamp_pb2.RemoteConfigStatus(last_remote_config_hash=config.config_hash)
        try:
            body = config.config.config_map[CONFIG_KEY].body if CONFIG_KEY in config.config.config_map else b"{}"
            self._levels.apply(json.loads(body).get("loggers", []))
            status.status = opamp_pb2.RemoteConfigStatuses_APPLIED
            self._applied = config.config_hash.hex()
        except Exception as error:  # noqa: BLE001  # whatever it is, the server is told
            status.status = opamp_pb2.RemoteConfigStatuses_FAILED
            status.error_message = f"{type(error).__name__}: {error}"
        self._status = status


def _pair(key: str, value: str | int) -> KeyValue:
    pair = KeyValue(key=key)
    if isinstance(value, int):
        pair.value.int_value = value
    else:
        pair.value.string_value = value
    return pair
