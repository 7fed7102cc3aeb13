"""Settings of TLS: one set of files for all three listeners, and what a single listener does otherwise."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, Field, model_validator

Side = Literal["grpc", "http", "query"]
SIDES: tuple[Side, ...] = ("grpc", "http", "query")

_OFF = "none"


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """The files of one listener, PEM: its chain, the key of its first certificate, the CA of its clients."""

    cert: Path
    key: Path
    client_ca: Path | None


class TlsSettings(BaseModel):
    """What `Settings` has about TLS; the names are the Collector's, with the listener before them to override."""

    tls_cert_file: Path | None = Field(
        default=None,
        description="Certificate chain of all three listeners, PEM; with it they speak TLS (1.2, 1.3) only",
    )
    tls_key_file: Path | None = Field(default=None, description="Private key of it, PEM, without a passphrase")
    tls_client_ca_file: Path | None = Field(
        default=None, description="CA certificates, PEM: clients must show a certificate of one of them (mutual TLS)"
    )
    tls_ca_file: Path | None = Field(
        default=None,
        description="CA that signed it, PEM, for clients on this machine: the demo and the printed variables",
    )
    tls_reload_interval_s: float = Field(
        default=10.0, gt=0, description="Seconds between two looks whether the files changed; new ones are used by then"
    )
    grpc_tls_cert_file: Path | None = Field(default=None, description="For OTLP/gRPC alone; none: no TLS there")
    grpc_tls_key_file: Path | None = Field(default=None, description="For OTLP/gRPC alone")
    grpc_tls_client_ca_file: Path | None = Field(
        default=None, description="For OTLP/gRPC alone; none: no client certificates there"
    )
    http_tls_cert_file: Path | None = Field(default=None, description="For OTLP/HTTP alone; none: no TLS there")
    http_tls_key_file: Path | None = Field(default=None, description="For OTLP/HTTP alone")
    http_tls_client_ca_file: Path | None = Field(
        default=None, description="For OTLP/HTTP alone; none: no client certificates there"
    )
    query_tls_cert_file: Path | None = Field(default=None, description="For the query side alone; none: no TLS there")
    query_tls_key_file: Path | None = Field(default=None, description="For the query side alone")
    query_tls_client_ca_file: Path | None = Field(
        default=None, description="For the query side alone; none: no client certificates there"
    )

    @model_validator(mode="after")
    def _whole_pairs(self) -> Self:
        """Refuse half a pair, and client certificates without TLS."""
        for side in SIDES:
            cert, key, client_ca = (self._file(side, name) for name in ("cert", "key", "client_ca"))
            if (cert is None) != (key is None):
                missing, given = ("key", "cert") if key is None else ("cert", "key")
                raise ValueError(f"tls_{given}_file needs tls_{missing}_file beside it (for the {side} listener)")
            if client_ca is not None and cert is None:
                raise ValueError(f"tls_client_ca_file needs tls_cert_file and tls_key_file (for the {side} listener)")
        return self

    def tls_files(self, side: Side) -> TlsFiles | None:
        """Return the files of a listener; None: it speaks plaintext."""
        cert, key = self._file(side, "cert"), self._file(side, "key")
        if cert is None or key is None:
            return None
        return TlsFiles(cert, key, self._file(side, "client_ca"))

    def scheme(self, side: Side) -> str:
        """Return ``https`` where the listener speaks TLS, else ``http``."""
        return "http" if self.tls_files(side) is None else "https"

    def _file(self, side: Side, name: str) -> Path | None:
        """Return the listener's own file or the common one; nothing where its certificate is off."""
        own: Path | None = getattr(self, f"{side}_tls_{name}_file")
        off = str(getattr(self, f"{side}_tls_cert_file")) == _OFF
        if off or str(own) == _OFF:
            return None
        common: Path | None = getattr(self, f"tls_{name}_file")
        return own or common
