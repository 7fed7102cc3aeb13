"""Sends four tasks, the third of them from a request that X-Trace-Log marks."""

import sys

from celery_app import work
from opentelemetry.context import attach, detach
from opentelemetry.propagate import extract

for number in range(4):
    token = attach(extract({"x-trace-log": sys.argv[1]} if number == 2 else {}))
    work.delay(number)
    detach(token)
