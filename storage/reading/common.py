"""What the read functions share: the tables with what is interned."""

from sqlalchemy import select

from storage.mapping import log_columns, message_columns, node_columns
from storage.models import log_records, resources, scopes, spans

# Counting goes this far; past it an answer says "at least".
COUNT_MAX = 10_000
LOGS = log_records.outerjoin(resources, resources.c.id == log_records.c.resource_id).outerjoin(
    scopes, scopes.c.id == log_records.c.scope_id
)
SPANS = spans.outerjoin(resources, resources.c.id == spans.c.resource_id).outerjoin(
    scopes, scopes.c.id == spans.c.scope_id
)
# What questions begin with, made once: to make a column list anew costs as much as PostgreSQL takes for a small answer.
LOG_ENTRIES = select(*log_columns()).select_from(LOGS)
MESSAGES = select(*message_columns()).select_from(LOGS)
SPAN_NODES = select(*node_columns()).select_from(SPANS)
