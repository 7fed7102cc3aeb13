"""Read by the ``opentelemetry-instrument`` command for its flags; beside the stock distribution ours is preferred.

With another vendor's distribution installed nothing is chosen here: OTEL_PYTHON_DISTRO is the user's to set.
"""

import os
from importlib.metadata import entry_points

from otel_ingest_instrumentation.distro import NAME
from otel_ingest_instrumentation.environment_variables import *  # noqa: F403  # the flags

if {e.name for e in entry_points(group="opentelemetry_distro")} <= {NAME, "distro"}:
    os.environ.setdefault("OTEL_PYTHON_DISTRO", NAME)
