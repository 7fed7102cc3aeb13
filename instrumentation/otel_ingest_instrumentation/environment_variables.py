"""The variables that this distribution adds to the standard's; everything else keeps the standard's names and meaning.

``opentelemetry-instrument`` reads this module for its flags: ``--ingest_client_spool off`` and so on.
"""

OTEL_INGEST_CLIENT_SPOOL = "OTEL_INGEST_CLIENT_SPOOL"
"""``on_failure`` (default): to disk after the retries and at exit; ``always``: before the first try; ``off``: never."""

OTEL_INGEST_CLIENT_SPOOL_DIR = "OTEL_INGEST_CLIENT_SPOOL_DIR"
"""Directory of the spool; default: ``$XDG_STATE_HOME`` or ``~/.local/state``, there ``otel-ingest/spool``."""

OTEL_INGEST_CLIENT_SPOOL_MB = "OTEL_INGEST_CLIENT_SPOOL_MB"
"""Most megabytes of one service's spool (512): an hour of 1,000 records a second."""

OTEL_INGEST_CLIENT_SPOOL_HOURS = "OTEL_INGEST_CLIENT_SPOOL_HOURS"
"""Hours after which spooled records are dropped, counted (48: as long as the receiver knows what it has stored)."""

OTEL_INGEST_CLIENT_MEMORY_MB = "OTEL_INGEST_CLIENT_MEMORY_MB"
"""Most megabytes of encoded batches that wait in memory for a retry (32)."""

OTEL_INGEST_CLIENT_EXIT_S = "OTEL_INGEST_CLIENT_EXIT_S"
"""Seconds at exit in which sending is tried, before the rest goes to the spool (2)."""

OTEL_INGEST_CLIENT_LEVEL = "OTEL_INGEST_CLIENT_LEVEL"
"""Level of the root logger where the application has set none (INFO); ``unset`` leaves it alone."""

OTEL_INGEST_CLIENT_REDACT_MODE = "OTEL_INGEST_CLIENT_REDACT_MODE"
"""``mask`` (default), ``drop`` or ``hash`` (HMAC-SHA256 with the key below: equal secrets stay joinable)."""

OTEL_INGEST_CLIENT_REDACT_KEY = "OTEL_INGEST_CLIENT_REDACT_KEY"
"""Key of mode ``hash``."""

OTEL_INGEST_CLIENT_REDACT_NAMES = "OTEL_INGEST_CLIENT_REDACT_NAMES"
"""More names of secret fields, comma separated; case and separators do not count."""

OTEL_INGEST_CLIENT_REDACT_ALLOW = "OTEL_INGEST_CLIENT_REDACT_ALLOW"
"""Names that are never secret, comma separated."""

OTEL_INGEST_CLIENT_REDACT_ONLY = "OTEL_INGEST_CLIENT_REDACT_ONLY"
"""Attributes that may leave, comma separated; where set, every other attribute is dropped."""

OTEL_INGEST_CLIENT_REDACT_ENABLE = "OTEL_INGEST_CLIENT_REDACT_ENABLE"
"""Optional rules to switch on, comma separated: ``email``, ``iban``."""

OTEL_INGEST_CLIENT_REDACT_DISABLE = "OTEL_INGEST_CLIENT_REDACT_DISABLE"
"""Rules to switch off, comma separated."""

OTEL_INGEST_CLIENT_REDACT_RULES = "OTEL_INGEST_CLIENT_REDACT_RULES"
"""A JSON file of the same options: ``{"names": […], "allow": […], "patterns": [{"name": …, "pattern": …}]}``."""

OTEL_INGEST_CLIENT_REDACT_CALLABLE = "OTEL_INGEST_CLIENT_REDACT_CALLABLE"
"""``package.module:function``, called as ``function(path, text)`` for each text, after the rules; returns the text."""

OTEL_INGEST_CLIENT_OPAMP = "OTEL_INGEST_CLIENT_OPAMP"
"""``on`` (default), ``off``, or the URL of the OpAMP server; on: ``/v1/opamp`` beside the OTLP endpoint."""

OTEL_INGEST_CLIENT_TRACE_HEADER = "OTEL_INGEST_CLIENT_TRACE_HEADER"
"""Who may have one request logged at TRACE: ``off`` (default), ``token`` (needs the secret below) or ``open``."""

OTEL_INGEST_CLIENT_TRACE_SECRET = "OTEL_INGEST_CLIENT_TRACE_SECRET"  # noqa: S105  # a variable's name
"""Secret that signs the tokens of ``X-Trace-Log``; the same in every service. Setting it means ``token``."""

OTEL_INGEST_CLIENT_TRACE_RECORDS = "OTEL_INGEST_CLIENT_TRACE_RECORDS"
"""Most records below their logger's level for one such request in one process (5000)."""

OTEL_INGEST_CLIENT_TRACE_HOSTS = "OTEL_INGEST_CLIENT_TRACE_HOSTS"
"""Hosts that may learn of it, comma separated, ``*.example.org`` too; default: loopback and private addresses, and
names without a dot or that end in ``.local``, ``.internal``, ``.svc`` or ``.cluster.local``."""
