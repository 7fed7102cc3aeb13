"""Settings of this distribution: read from the environment once, a wrong value costs only itself and is said."""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, cast

from opentelemetry.sdk.resources import OTELResourceDetector

from otel_ingest_instrumentation import environment_variables as names
from otel_ingest_instrumentation import loud
from otel_ingest_instrumentation.redaction import Options, Redactor, patterns, shared_rules

MIB = 1 << 20
TextHook = Callable[[str, str], str]


@dataclass(frozen=True, slots=True)
class Settings:
    """What the environment says; sizes in bytes, times in seconds."""

    service: str = "unknown_service"
    spool: str = "on_failure"
    spool_dir: Path = Path()
    spool_bytes_max: int = 512 * MIB
    spool_age_max_s: float = 48 * 3600
    memory_bytes_max: int = 32 * MIB
    exit_s: float = 2.0
    level: str = "INFO"
    opamp: str = "on"
    trace_header: str = "off"
    trace_secret: bytes = field(default=b"", repr=False)
    trace_records_max: int = 5000
    trace_hosts: tuple[str, ...] = ()


def read(environ: Mapping[str, str] | None = None) -> Settings:
    """Return the settings; what cannot be read is said on stderr and its default holds."""
    env = os.environ if environ is None else environ
    default = Settings()
    secret = env.get(names.OTEL_INGEST_CLIENT_TRACE_SECRET, "").encode()
    header = _choice(env, names.OTEL_INGEST_CLIENT_TRACE_HEADER, ("off", "token", "open"), "token" if secret else "off")
    if header == "token" and not secret:
        loud.say(
            f"{names.OTEL_INGEST_CLIENT_TRACE_HEADER}=token needs {names.OTEL_INGEST_CLIENT_TRACE_SECRET}; it is off"
        )
        header = "off"
    return Settings(
        service=str(OTELResourceDetector().detect().attributes.get("service.name") or default.service),
        spool=_choice(env, names.OTEL_INGEST_CLIENT_SPOOL, ("on_failure", "always", "off"), default.spool),
        spool_dir=_spool_dir(env),
        spool_bytes_max=int(_number(env, names.OTEL_INGEST_CLIENT_SPOOL_MB, 512) * MIB),
        spool_age_max_s=_number(env, names.OTEL_INGEST_CLIENT_SPOOL_HOURS, 48) * 3600,
        memory_bytes_max=int(_number(env, names.OTEL_INGEST_CLIENT_MEMORY_MB, 32) * MIB),
        exit_s=_number(env, names.OTEL_INGEST_CLIENT_EXIT_S, default.exit_s),
        level=env.get(names.OTEL_INGEST_CLIENT_LEVEL) or default.level,
        opamp=env.get(names.OTEL_INGEST_CLIENT_OPAMP) or default.opamp,
        trace_header=header,
        trace_secret=secret,
        trace_records_max=int(_number(env, names.OTEL_INGEST_CLIENT_TRACE_RECORDS, default.trace_records_max)),
        trace_hosts=_list(env, names.OTEL_INGEST_CLIENT_TRACE_HOSTS),
    )


def read_redaction(environ: Mapping[str, str] | None = None) -> tuple[Redactor | None, TextHook | None]:
    """Return the redactor and the user's function; a redactor of None could not be made: no text leaves."""
    env = os.environ if environ is None else environ
    try:
        raw = _rules_file(env)
        options = Options(
            mode=env.get(names.OTEL_INGEST_CLIENT_REDACT_MODE) or raw.get("mode", "mask"),
            hash_key=(env.get(names.OTEL_INGEST_CLIENT_REDACT_KEY) or "").encode(),
            names=(*_list(env, names.OTEL_INGEST_CLIENT_REDACT_NAMES), *raw.get("names", ())),
            allow=(*_list(env, names.OTEL_INGEST_CLIENT_REDACT_ALLOW), *raw.get("allow", ())),
            only=frozenset((*_list(env, names.OTEL_INGEST_CLIENT_REDACT_ONLY), *raw.get("only", ()))),
            enable=frozenset((*_list(env, names.OTEL_INGEST_CLIENT_REDACT_ENABLE), *raw.get("enable", ()))),
            disable=frozenset((*_list(env, names.OTEL_INGEST_CLIENT_REDACT_DISABLE), *raw.get("disable", ()))),
            patterns=tuple({"group": 0, **pattern} for pattern in raw.get("patterns", ())),
        )
        if options.patterns and not patterns.linear():
            loud.say(
                f"{names.OTEL_INGEST_CLIENT_REDACT_RULES} has patterns of its own, and google-re2 is not installed:"
                " what they cost is not bounded (pip install 'otel-ingest-instrumentation[re2]')"
            )
        return Redactor(shared_rules(), options), _callable(env.get(names.OTEL_INGEST_CLIENT_REDACT_CALLABLE))
    except Exception as error:  # noqa: BLE001  # whatever it is, redaction fails closed
        loud.say(f"the redaction rules are unusable, every text is replaced: {error}")
        return None, None


def _rules_file(env: Mapping[str, str]) -> dict[str, Any]:
    path = env.get(names.OTEL_INGEST_CLIENT_REDACT_RULES)
    if not path:
        return {}
    raw = json.loads(Path(path).read_text("utf-8"))
    known = {"mode", "names", "allow", "only", "enable", "disable", "patterns"}
    if not isinstance(raw, dict) or set(raw) - known:
        raise ValueError(f"{path} is an object with any of {', '.join(sorted(known))}")
    return raw


def _callable(name: str | None) -> TextHook | None:
    if not name:
        return None
    module, _, attribute = name.partition(":")
    return cast("TextHook", getattr(import_module(module), attribute))


def _list(env: Mapping[str, str], name: str) -> tuple[str, ...]:
    return tuple(part for raw in env.get(name, "").split(",") if (part := raw.strip()))


def _choice(env: Mapping[str, str], name: str, allowed: tuple[str, ...], default: str) -> str:
    value = env.get(name, "").strip().lower()
    if value and value not in allowed:
        loud.say(f"{name}={value} is none of {', '.join(allowed)}; {default} holds")
    return value if value in allowed else default


def _number(env: Mapping[str, str], name: str, default: float) -> float:
    raw = env.get(name, "").strip()
    try:
        value = float(raw) if raw else default
    except ValueError:
        value = -1.0
    if not 0 <= value < 1e9:  # noqa: PLR2004
        loud.say(f"{name}={raw} is no sensible number; {default} holds")
        return default
    return value


def _spool_dir(env: Mapping[str, str]) -> Path:
    if given := env.get(names.OTEL_INGEST_CLIENT_SPOOL_DIR):
        return Path(given)
    state = env.get("XDG_STATE_HOME")
    home = env.get("HOME")
    if state or (home and home != "/"):
        return Path(state or Path(home or "/") / ".local" / "state") / "otel-ingest" / "spool"
    return Path("/var/tmp") / f"otel-ingest-{os.getuid()}" / "spool"  # noqa: S108  # mode 0700 and owner are checked
