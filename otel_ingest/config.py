"""Settings of the whole program: one frozen, validated object, read in the composition roots only.

Order: command-line flags, then ``OTEL_INGEST_*`` variables, then ``otel-ingest.toml`` in the working directory,
then the defaults below. An unknown key in the file and a wrong value anywhere stop the start with a sentence.
"""

from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, model_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from otel_ingest.budget import weight_of
from otel_ingest.tls_settings import SIDES, TlsSettings

CONFIG_FILE = "otel-ingest.toml"
_MIB = 1024 * 1024


class Endpoint(str):
    """A ``host:port`` to listen on; port 0 picks a free one; an IPv6 host stands in brackets."""

    __slots__ = ()

    @property
    def host(self) -> str:
        """The host, brackets removed."""
        return self.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        """The port, 0 to 65535."""
        return int(self.rpartition(":")[2])

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        if self.host == "localhost":
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False


def _endpoint(value: object) -> Endpoint:
    text = str(value).strip()
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdigit() or int(port) > 65_535:  # noqa: PLR2004
        raise ValueError(f"{text!r} is not host:port, for example 127.0.0.1:4318")
    if ":" in host and not host.startswith("["):
        raise ValueError(f"{text!r}: an IPv6 host stands in brackets, for example [::1]:4318")
    return Endpoint(text)


EndpointField = Annotated[Endpoint, BeforeValidator(_endpoint)]


def _names(value: object) -> object:
    """Take a list as a list, and text as names between commas."""
    if isinstance(value, str):
        return tuple(name.strip() for name in value.split(",") if name.strip())
    return value


NamesField = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_names)]


def _scopes(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        scope, equals, role = name.rpartition("=")
        if not scope or not equals or role not in {"read", "control", "admin"}:
            raise ValueError(f"{name!r} is not scope=role with the role read, control or admin")
    return names


ScopesField = Annotated[NamesField, AfterValidator(_scopes)]


def _issuer(value: str) -> str:
    """Take https, and plain http on this machine alone: who can change the answer makes tokens."""
    parts = urlsplit(value)
    local = parts.hostname in {"localhost", "127.0.0.1", "::1"}
    if not parts.hostname or parts.query or parts.fragment or not (parts.scheme == "https" or local):
        raise ValueError(f"{value!r} is not https://host/… (http:// on loopback alone, no query, no fragment)")
    return value


IssuerField = Annotated[str, AfterValidator(_issuer)]


class Settings(TlsSettings, BaseSettings):
    """Every setting of otel-ingest, with its unit, default and reason."""

    model_config = SettingsConfigDict(
        env_prefix="OTEL_INGEST_",
        frozen=True,
        extra="forbid",
        toml_file=CONFIG_FILE,
        env_ignore_empty=True,
        arbitrary_types_allowed=True,
    )

    database_url: SecretStr | None = Field(
        default=None,
        description="PostgreSQL 15 to 18 to use, postgresql://…; not set: an embedded server",
    )
    database_write_url: SecretStr | None = Field(
        default=None,
        description="The same as its write role (`otel-ingest migrate --roles`); not set: OTEL_INGEST_DATABASE_URL",
    )
    database_read_url: SecretStr | None = Field(
        default=None, description="The same as its read role; not set: OTEL_INGEST_DATABASE_URL"
    )
    database_erase_url: SecretStr | None = Field(
        default=None,
        description="The same as its eraser role, for logger_clear; not set: OTEL_INGEST_DATABASE_URL, and without "
        "that nothing can be deleted on demand",
    )
    sql_tool: bool = Field(
        default=False,
        description="Offer logger_sql to who may read: one SELECT over the documented views; each is in the audit log",
    )
    database_sql_url: SecretStr | None = Field(
        default=None,
        description="PostgreSQL as the role of logger_sql and no other (`otel-ingest migrate --roles`); needed for "
        "sql_tool with a PostgreSQL of your own",
    )
    data_dir: Path = Field(
        default=Path(".otel-ingest"),
        description="Directory of the embedded PostgreSQL and the first tokens; made with mode 0700",
    )
    grpc_endpoint: EndpointField = Field(
        default=Endpoint("127.0.0.1:4317"), description="OTLP/gRPC, host:port; port 0 picks one"
    )
    http_endpoint: EndpointField = Field(
        default=Endpoint("127.0.0.1:4318"), description="OTLP/HTTP, host:port; port 0 picks one"
    )
    query_endpoint: EndpointField = Field(
        default=Endpoint("127.0.0.1:4319"),
        description="MCP, JSON API, health and metrics, host:port; port 0 picks one",
    )
    ingest_token_required: bool = Field(
        default=False,
        description="Ask for a token with the ingest role on loopback too; elsewhere it always is",
    )
    redact: bool = Field(
        default=True,
        description="Mask secrets that clients let through, by the rules of instrumentation/redaction; false stores "
        "every request exactly as it came",
    )
    insecure: bool = Field(
        default=False,
        description="Listen beyond loopback without TLS: only behind a proxy that ends TLS",
    )
    query_allowed_hosts: NamesField = Field(
        default=(),
        description="Host names, comma-separated, that /mcp answers to besides loopback, this host and its certificate",
    )
    query_allowed_origins: NamesField = Field(
        default=(),
        description="Origins of web pages (https://host), comma-separated, that may use /mcp besides its own",
    )
    oauth_issuer: IssuerField | None = Field(
        default=None,
        description="Issuer (https://…) whose OAuth access tokens the query side takes besides its own; docs/mcp.md",
    )
    oauth_resource: str | None = Field(
        default=None,
        pattern=r"^https?://[^/?#\s]+/mcp$",
        description="This server as its clients know it, https://host/mcp: the audience of access tokens; not set: the "
        "address it listens on",
    )
    oauth_jwks_url: IssuerField | None = Field(
        default=None, description="Where the issuer's keys are; not set: where its metadata says"
    )
    oauth_scopes: ScopesField = Field(
        default=("telemetry:read=read", "telemetry:control=control", "telemetry:admin=admin"),
        description="Scopes of access tokens and the role of each, scope=role, comma-separated",
    )
    body_bytes_max: int = Field(
        default=64 * _MIB,
        ge=1024,
        le=1024 * _MIB,
        description="Bytes of one request after decompression; 64 MiB is what OTLP recommends",
    )
    inflight_bytes_max: int = Field(
        default=160 * _MIB,
        ge=_MIB,
        description="Bytes of memory for all requests being read, decoded or waiting; past it: 429",
    )
    decode_bytes_max: int = Field(
        default=192 * _MIB,
        ge=64 * _MIB,
        description="Bytes of memory of the process that decodes large bodies; a body that needs more: 413",
    )
    records_max: int = Field(
        default=250_000,
        ge=1,
        description="Records of one request; those past it are rejected, the first ones are stored",
    )
    component_bytes_per_s_max: int = Field(
        default=0,
        ge=0,
        description="Bytes a second of rows that one component may send, bursts of 2 s; past it: 429; 0: no limit",
    )
    body_timeout_s: float = Field(
        default=60.0, gt=0, description="Seconds until a body is whole; SDKs give up after 10; past it: 503"
    )
    connections_max: int = Field(
        default=8_192, ge=1, description="Connections of the gRPC and of the HTTP receiver, each; past it: closed"
    )
    spool_bytes_max: int = Field(
        default=2048 * _MIB,
        ge=0,
        description="Bytes below data_dir for requests that are acknowledged while PostgreSQL is away; past it: 503; "
        "0: no spool, then they are refused",
    )
    writers: int = Field(default=2, ge=1, le=64, description="PostgreSQL connections that COPY at the same time")
    readers: int = Field(default=4, ge=1, le=64, description="PostgreSQL connections for reading at the same time")
    read_timeout_s: float = Field(
        default=10.0, gt=0, description="Seconds one read statement may take before it is cancelled"
    )
    duplicate_window_s: float = Field(
        default=15 * 60,
        ge=1,
        le=3600,
        description="Seconds in which a request that comes again is known by its content, and stored once",
    )
    batch_id_window_s: float = Field(
        default=48 * 3600,
        ge=1,
        le=4 * 86_400,
        description="The same for requests that their sender named with x-otel-ingest-batch-id",
    )
    rejected_bytes_max: int = Field(
        default=64 * _MIB,
        ge=0,
        description="Bytes of rejected records kept to be looked at (`otel-ingest rejected`); 0: none are",
    )
    rejected_days: float = Field(default=7, gt=0, description="Days for which rejected records are kept")
    workers: int = Field(
        default=1,
        ge=1,
        le=16,
        description="Receiver processes on the same ports; more than one: a process more serves the query side",
    )
    upkeep_interval_s: float = Field(
        default=600.0,
        gt=0,
        description="Seconds between two looks after partitions and digests, by one receiver of all on a database",
    )
    partitions_ahead_days: int = Field(default=3, ge=1, le=60, description="Day partitions made ahead of time")
    pack_after_days: float = Field(
        default=0,
        ge=0,
        description="Days after which a closed partition is packed by itself (docs/storage.md); 0: none is",
    )
    cold_url: str = Field(
        default="",
        description="Where cold files are: an absolute path, or s3://bucket/prefix and whatever fsspec knows "
        "(docs/storage.md); empty: nothing goes cold",
    )
    cold_after_days: float = Field(
        default=0,
        ge=0,
        description="Days after which a closed partition becomes Parquet files at cold_url by itself; 0: none does",
    )
    drain_timeout_s: float = Field(default=20.0, gt=0, description="Seconds to finish accepted requests after SIGTERM")
    log_level: str = Field(
        default="info",
        pattern="^(debug|info|warning|error)$",
        description="Level of the program's own log on stderr: debug, info, warning or error",
    )
    log_json: bool = Field(default=False, description="Own log as JSON lines instead of text")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Return the order: flags, then the environment, then the file; no .env and no secrets directory."""
        return (init_settings, env_settings, TomlConfigSettingsSource(settings_cls))

    @model_validator(mode="after")
    def _the_largest_body_fits(self) -> Self:
        """Refuse limits under which the largest body that is taken would be refused for ever."""
        needed = weight_of(self.body_bytes_max)
        if self.inflight_bytes_max < needed:
            raise ValueError(
                f"inflight_bytes_max {self.inflight_bytes_max} has no room for one body of body_bytes_max "
                f"{self.body_bytes_max} and its rows; set inflight_bytes_max to {needed} or more, or body_bytes_max "
                f"to {self.inflight_bytes_max * 4 // 9} or less"
            )
        if self.decode_bytes_max < 2 * self.body_bytes_max:
            raise ValueError(
                f"decode_bytes_max {self.decode_bytes_max} is too little to decode a body of body_bytes_max "
                f"{self.body_bytes_max}; set decode_bytes_max to {3 * self.body_bytes_max} or more"
            )
        return self

    @model_validator(mode="after")
    def _cold_has_a_place(self) -> Self:
        """Refuse to let partitions go cold nowhere, or where another command would not look."""
        if self.cold_url and "://" not in self.cold_url and not Path(self.cold_url).is_absolute():
            raise ValueError(f"cold_url {self.cold_url!r}: an absolute path, or a URL such as s3://bucket/prefix")
        if self.cold_after_days and not self.cold_url:
            raise ValueError("cold_after_days needs cold_url: a directory, or a URL such as s3://bucket/prefix")
        return self

    @model_validator(mode="after")
    def _no_open_door(self) -> Self:
        """Refuse to listen beyond loopback without TLS unless told so."""
        for side in SIDES:
            endpoint: Endpoint = getattr(self, f"{side}_endpoint")
            if not endpoint.is_loopback and self.tls_files(side) is None and not self.insecure:
                raise ValueError(
                    f"{side}_endpoint {endpoint} can be reached from other machines and would carry tokens and "
                    "telemetry in the clear; give --tls-cert-file and --tls-key-file, or listen on 127.0.0.1 behind a "
                    "proxy that ends TLS, or pass --insecure"
                )
        return self

    @property
    def is_external(self) -> bool:
        """Whether a PostgreSQL of one's own is used, and no embedded one."""
        return any((self.database_url, self.database_write_url, self.database_read_url))

    def ingest_needs_token(self, endpoint: Endpoint) -> bool:
        """Whether exports to ``endpoint`` need a token: always beyond loopback."""
        return self.ingest_token_required or not endpoint.is_loopback
