"""A Flask application that logs, and fails on demand."""

import logging

from flask import Flask, request

app = Flask(__name__)
log = logging.getLogger("flask_app")


@app.get("/")
def index() -> str:
    log.info("flask %s", request.args.get("i"))
    log.debug("flask debug %s", request.args.get("i"))
    return "ok"


@app.get("/fail")
def fail() -> str:
    raise RuntimeError("flask failed, password=hunter2")


if __name__ == "__main__":
    import sys

    app.run(port=int(sys.argv[1]))
