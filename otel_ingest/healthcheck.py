"""``python -m otel_ingest.healthcheck``: exit 0 while a server with these settings is alive. For containers.

Small on purpose: it runs every few seconds. It looks at this machine's own listener, so the certificate is not
checked; one that asks for a client certificate is alive when it says so.
"""

import http.client
import ssl
import sys

from otel_ingest.config import Settings

_TIMEOUT_S = 2.0


def main(path: str = "/healthz") -> int:
    """Return 0 when the query side answers ``path`` with 200; say why not on stderr."""
    settings = Settings()
    endpoint = settings.query_endpoint
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(endpoint.host, endpoint.host)
    files = settings.tls_files("query")
    try:
        if files is None:
            connection = http.client.HTTPConnection(host, endpoint.port, timeout=_TIMEOUT_S)
        else:
            context = ssl._create_unverified_context()  # noqa: S323, SLF001 - our own listener on our own machine
            connection = http.client.HTTPSConnection(host, endpoint.port, timeout=_TIMEOUT_S, context=context)
        connection.request("GET", path)
        answer = connection.getresponse()
        text = answer.read(1000).decode(errors="replace")
    except ssl.SSLError as error:
        if files is not None and files.client_ca is not None and "CERTIFICATE_REQUIRED" in str(error):
            return 0
        text, status = f"{error}", 0
    except (OSError, http.client.HTTPException) as error:
        text, status = f"{error}", 0
    else:
        status = answer.status
    if status == http.client.OK:
        return 0
    sys.stderr.write(f"{host}:{endpoint.port}{path}: {text or status}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2]))
