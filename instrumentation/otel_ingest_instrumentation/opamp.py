"""The OpAMP agent of this process (docs/opamp.md): asks for levels, and the server answers once it has some to tell.

Where a server answers at once instead, it polls, and at once where an export's answer has a new hash. Messages are the
OpenTelemetry project's; its client is not used: its threads do not outlive a fork, and it cannot be woken. One thread
asks and ends rules, also when the server is gone.
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
from enum import Enum
from typing import Any

from opentelemetry._opamp.proto import opamp_pb2
from opentelemetry._opamp.proto.anyvalue_pb2 import KeyValue

from otel_ingest_instrumentation import guard
from otel_ingest_instrumentation.levels import Levels
from otel_ingest_instrumentation.transport_http import Reply

PATH = "/v1/opamp"
POLL_S = 30.0
POLL_MAX_S = 300.0  # after failures: there may be no OpAMP server at all
WAIT_S = 25  # a server that holds a poll: proxies cut what is silent for 30 s
RETRY_S = 2.0  # after the first failure of a server that held polls: it starts again
_INSTANCE = "service.instance.id"
_PAUSE_S = 1.0  # between polls that came back at once although they were held
_TIMEOUT_S = 5.0
CONFIG_KEY = "log_levels"
_CAPABILITIES = (
    opamp_pb2.AgentCapabilities_ReportsStatus
    | opamp_pb2.AgentCapabilities_AcceptsRemoteConfig
    | opamp_pb2.AgentCapabilities_ReportsEffectiveConfig
    | opamp_pb2.AgentCapabilities_ReportsRemoteConfig
)
Post = Callable[[bytes, float, int], Reply | None]
"""Posts a message with a bound in seconds, to which the seconds are added that the answer may wait for news.

Returns None for any failure. Never raises.
"""


class _Next(Enum):
    """What follows an answer."""

    MORE = "there is more to say"
    HELD = "the poll was held: ask again at once"
    POLL = "ask again after the interval"
    FAILED = "there was no answer"


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
        self._holds = False
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

    def reset_after_fork(self, resource: Mapping[str, Any]) -> None:
        """Be an agent of its own in a forked child, with ``resource`` as the SDK gave it: with a new instance id."""
        before = self._resource.get(_INSTANCE)
        self._begin()
        self._resource = dict(resource)
        if self._resource.get(_INSTANCE) in (None, before):
            self._resource[_INSTANCE] = str(uuid.UUID(bytes=self._uid))
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
                self._post(message.SerializeToString(), 0.3, 0)

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
        began = time.monotonic()
        following = _Next.MORE
        for _ in range(5):  # description, configuration, acknowledgement, one that waits: and one to spare
            if following is not _Next.MORE:
                break
            following = self._exchange()
        if following is _Next.HELD:
            return max(0.0, _PAUSE_S - (time.monotonic() - began))
        if following is not _Next.FAILED:
            return POLL_S * random.uniform(0.9, 1.1)  # noqa: S311
        wait: float = (RETRY_S if self._holds else POLL_S) * 2.0 ** min(self._failures - 1, 10)
        return min(wait, POLL_MAX_S) * random.uniform(0.7, 1.3)  # noqa: S311

    def _wait_s(self) -> int:
        """Return how long the next answer may wait: not past the end of a rule, which this thread has to see to."""
        end = self._levels.next_end_s()
        return 0 if self._full else WAIT_S if end is None else int(min(WAIT_S, end))

    def _exchange(self) -> _Next:
        """Send one message and take its answer."""
        full, status, wait_s = self._full, self._status, self._wait_s()
        reply = self._post(self._message(full, status), _TIMEOUT_S, wait_s)
        answer = _parsed(reply.body) if reply is not None else None
        if reply is None or answer is None or answer.HasField("error_response"):
            self._failures += 1
            self._full = True
            return _Next.FAILED
        self._failures = 0
        self._polled = True
        self._full = bool(answer.flags & opamp_pb2.ServerToAgentFlags_ReportFullState)
        if self._status is status:
            self._status = None
        self._report = False
        if wait_s:
            self._holds = reply.waits
        if answer.HasField("remote_config"):
            self._apply(answer.remote_config)
            return _Next.MORE
        if full != self._full:  # described: now one that waits; or the server forgot who this is
            return _Next.MORE
        return _Next.HELD if reply.waits else _Next.POLL

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
        for name in ("service.name", "service.namespace", _INSTANCE):
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


def _parsed(raw: bytes) -> Any:
    """Return the answer, None where something else answers at that address."""
    try:
        return opamp_pb2.ServerToAgent.FromString(raw)
    except Exception:  # noqa: BLE001
        return None


def _pair(key: str, value: str | int) -> KeyValue:
    pair = KeyValue(key=key)
    if isinstance(value, int):
        pair.value.int_value = value
    else:
        pair.value.string_value = value
    return pair
