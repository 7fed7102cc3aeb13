"""What ``up`` prints once all of it answers: the ready line, and what a person does next."""

import json
from dataclasses import dataclass

from otel_ingest.config import Settings
from otel_ingest.tls_settings import Side

_WILDCARDS = ("0.0.0.0", "[::]")


@dataclass(frozen=True, slots=True)
class Ready:
    """What a running server answers on (host:port each), and the read token of its data directory ("": none)."""

    settings: Settings
    grpc: str
    http: str
    query: str
    read_token: str
    host_names: dict[Side, str]
    """Names that clients can use for a listener that is bound to every address."""
    ingest_token_exists: bool = True

    def line(self) -> str:
        """Return the ready line of the interface; a listener with TLS is shown as https://host:port."""
        return "ready " + " ".join(f"{side}={self._shown(side)}" for side in ("grpc", "http", "query"))

    def as_json(self) -> str:
        """Return the same as one JSON object, with a URL for each listener."""
        urls = {side: self.url(side) for side in ("grpc", "http", "query")}
        return json.dumps({"ready": True, "grpc": self.grpc, "http": self.http, "query": self.query, "urls": urls})

    def url(self, side: Side) -> str:
        """Return the URL under which clients reach a listener."""
        host, _, port = getattr(self, side).rpartition(":")
        if host in _WILDCARDS:
            host = self.host_names.get(side, "127.0.0.1")
        return f"{self.settings.scheme(side)}://{host}:{port}"

    def _shown(self, side: Side) -> str:
        address: str = getattr(self, side)
        return f"https://{address}" if self.settings.scheme(side) == "https" else address

    def next_steps(self) -> str:
        """Return what a person wants to do now: instrument a service, connect an agent, look."""
        token = self.read_token or "TOKEN"
        mcp = {
            "mcpServers": {
                "otel-ingest": {
                    "type": "http",
                    "url": f"{self.url('query')}/mcp",
                    "headers": {"Authorization": f"Bearer {token}"},
                }
            }
        }
        have = f"{self.settings.data_dir}/tokens/ has it and the admin's"
        make = "make one: otel-ingest token create --role read --name my-agent"
        exports = "\n".join(f"    export {line}" for line in self._variables())
        return f"""
Send telemetry: instrument any Python service by its environment alone

    pip install opentelemetry-distro opentelemetry-exporter-otlp && opentelemetry-bootstrap -a install
{exports}
    opentelemetry-instrument python app.py
{self._ingest_token_note()}
Ask for it: MCP configuration of your agent (read token; {have if self.read_token else make})

    {json.dumps(mcp)}
{self._ca_note()}
Look: {self.url("query")}/?token={token}
Try it: otel-ingest demo          Stop: Ctrl-C (what was accepted is committed first)
"""

    def _variables(self) -> list[str]:
        """Return the variables of a service, as its shell wants them."""
        lines = [
            "OTEL_SERVICE_NAME=my-service",
            f"OTEL_EXPORTER_OTLP_ENDPOINT={self.url('http')}",
            "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf",
            "OTEL_LOGS_EXPORTER=otlp",
        ]
        files = self.settings.tls_files("http")
        if files is not None and self.settings.tls_ca_file is not None:
            lines.append(f"OTEL_EXPORTER_OTLP_CERTIFICATE={self.settings.tls_ca_file.absolute()}")
        if files is not None and files.client_ca is not None:
            lines.append("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE=client.pem OTEL_EXPORTER_OTLP_CLIENT_KEY=client.key")
        if self.settings.ingest_needs_token(self.settings.http_endpoint):
            lines.append("OTEL_EXPORTER_OTLP_HEADERS=authorization=Bearer%20INGEST_TOKEN")
        return lines

    def _ingest_token_note(self) -> str:
        """Say how to get an ingest token where exports need one and there is none."""
        needed = any(
            self.settings.ingest_needs_token(e) for e in (self.settings.grpc_endpoint, self.settings.http_endpoint)
        )
        if not needed or self.ingest_token_exists:
            return ""
        return """
Exports need a token with the role ingest, and there is none yet; make one for each sender:

    otel-ingest token create --role ingest --name my-service
"""

    def _ca_note(self) -> str:
        """Say how agents come to trust a CA of one's own."""
        if self.settings.scheme("query") == "http" or self.settings.tls_ca_file is None:
            return ""
        ca = self.settings.tls_ca_file.absolute()
        return f"""
Agents on Node.js trust your CA with NODE_EXTRA_CA_CERTS={ca}, those on Python with SSL_CERT_FILE
"""
