"""A link of a chain of services: logs, asks the next one where there is one, answers. No line of OpenTelemetry."""

import logging
import sys

import requests
from flask import Flask
from werkzeug.serving import make_server

name, following = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else ""
logging.basicConfig(level=logging.INFO)
log = logging.getLogger(f"chain.{name}")
app = Flask(name)


@app.get("/go")
def go() -> str:
    """Log, and hand on."""
    log.debug("%s debug", name)
    log.info("%s begins", name)
    answer = requests.get(f"{following}/go", timeout=20).text if following else ""
    log.warning("%s ends", name)
    return name + answer


server = make_server("127.0.0.1", 0, app, threaded=True)
print(f"port {server.server_port}", flush=True)
server.serve_forever()
