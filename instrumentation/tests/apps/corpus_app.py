"""Emits the corpus of its arguments: each planted text in its place, one record or span each."""

import json
import logging
import sys

from opentelemetry import trace
from opentelemetry.trace import Link, SpanContext, Status, StatusCode, TraceFlags

log = logging.getLogger("corpus")
tracer = trace.get_tracer("corpus")


def emit(place: str, text: str, secret: str, name: str) -> None:
    if place == "body":
        log.info(text)
    elif place == "attribute text":
        log.info("record", extra={"detail": text})
    elif place == "attribute name":
        log.info("record", extra={name: secret})
    elif place == "nested":
        log.info("record", extra={"deep": {"a": [{"b": {name or "note": secret or text}}]}})
    elif place == "list":
        log.info("record", extra={"items": ["x", text]})
    elif place == "json":
        log.info(json.dumps({"a": {name or "note": secret or text}}))
    elif place == "exception":
        try:
            raise ValueError(text)
        except ValueError:
            log.exception("failed")
    elif place == "span attribute":
        tracer.start_span("s", attributes={"detail": text}).end()
    elif place == "span name":
        tracer.start_span(text).end()
    elif place == "span event":
        span = tracer.start_span("s")
        span.add_event("e", {"detail": text})
        span.end()
    elif place == "span link":
        tracer.start_span("s", links=[Link(SpanContext(1, 2, False, TraceFlags(1)), {"detail": text})]).end()
    elif place == "span status":
        span = tracer.start_span("s")
        span.set_status(Status(StatusCode.ERROR, text))
        span.end()
    elif place == "span exception":
        try:
            with tracer.start_as_current_span("s"):
                raise ValueError(text)
        except ValueError:
            pass
    elif place == "url":
        tracer.start_span("s", attributes={"url.full": f"https://example.org/x?q=1#{text}", "http.target": text}).end()
    elif place == "header":
        tracer.start_span("s", attributes={"http.request.header." + name.lower(): [secret]}).end()
    elif place == "sql":
        tracer.start_span("s", attributes={"db.statement": f"SELECT * FROM u WHERE a = '{secret}' AND n = 3"}).end()
    elif place == "arguments":
        tracer.start_span("s", attributes={"process.command_args": ["app", "--" + name, secret, "--verbose"]}).end()
    elif place == "resource":
        log.info("record", extra={"note": text})


for planted in json.load(open(sys.argv[1])):
    emit(**planted)
