"""Views and functions for psql and dashboards: names and columns that stay (docs/grafana.md, docs/adr/025).

They read as whoever asks and hold nothing. ``otel-ingest migrate --roles`` lets the reader's role use them.
"""

from alembic import op

revision = "0009"
down_revision = "0006"
branch_labels = None
depends_on = None

LEVEL = """CASE WHEN l.severity_number BETWEEN 1 AND 24
    THEN (ARRAY['trace', 'debug', 'info', 'warn', 'error', 'fatal'])[(l.severity_number + 3) / 4] ELSE 'unset' END"""
KIND = """coalesce((ARRAY['unspecified', 'internal', 'server', 'client', 'producer', 'consumer'])[s.kind + 1],
    s.kind::text)"""
STATUS = "CASE s.status_code WHEN 1 THEN 'ok' WHEN 2 THEN 'error' ELSE 'unset' END"


def _trace(alias: str) -> str:
    return f"replace({alias}.trace_id::text, '-', '')"


def _span(column: str) -> str:
    return f"lpad(to_hex({column}), 16, '0')"


LOGS = f"""
CREATE VIEW otel_logs AS
SELECT l.time, {LEVEL} AS level, l.severity_text AS severity, l.severity_number, l.component AS service, l.body,
  {_trace("l")} AS trace_id, {_span("l.span_id")} AS span_id, l.event_name AS event, c.name AS scope,
  l.attributes, coalesce(r.attributes, '{{}}') AS resource, l.trace_id AS trace_uuid, l.id
FROM log_records l LEFT JOIN resources r ON r.id = l.resource_id LEFT JOIN scopes c ON c.id = l.scope_id
"""  # noqa: S608 - text of ours alone

SPANS = f"""
CREATE VIEW otel_spans AS
SELECT s.time, s.component AS service, s.name, {KIND} AS kind, {STATUS} AS status, s.status_message,
  s.duration_ns / 1e6::double precision AS duration_ms, {_trace("s")} AS trace_id, {_span("s.span_id")} AS span_id,
  {_span("s.parent_span_id")} AS parent_span_id, c.name AS scope, s.attributes,
  coalesce(r.attributes, '{{}}') AS resource, s.events, s.links, s.trace_id AS trace_uuid, s.id
FROM spans s LEFT JOIN resources r ON r.id = s.resource_id LEFT JOIN scopes c ON c.id = s.scope_id
"""  # noqa: S608

PAIRS = """
CREATE FUNCTION otel_pairs(attributes jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (SELECT coalesce(jsonb_agg(jsonb_build_object('key', key, 'value', value)), '[]') FROM jsonb_each(attributes))
"""

# The columns are those of Grafana's Traces panel: startTime and duration in ms; logs are the span's events and log
# records, which are looked for from an hour before to a day after it began.
PANEL = f"""
CREATE VIEW otel_traces_panel AS
SELECT {_trace("s")} AS "traceID", {_span("s.span_id")} AS "spanID", {_span("s.parent_span_id")} AS "parentSpanID",
  s.name AS "operationName", s.component AS "serviceName",
  otel_pairs(coalesce(r.attributes, '{{}}')) AS "serviceTags",
  extract(epoch FROM s.time)::double precision * 1000 AS "startTime",
  s.duration_ns / 1e6::double precision AS "duration",
  otel_pairs(s.attributes || CASE WHEN s.status_code = 2 THEN '{{"error": true}}'::jsonb ELSE '{{}}' END) AS "tags",
  coalesce((SELECT jsonb_agg(entry) FROM (
    SELECT jsonb_build_object('timestamp', (e ->> 'time_unix_nano')::numeric / 1e6,
      'fields', jsonb_build_array(jsonb_build_object('key', 'event', 'value', e -> 'name'))
        || otel_pairs(e -> 'attributes')) AS entry
    FROM jsonb_array_elements(s.events) e
    UNION ALL
    SELECT jsonb_build_object('timestamp', extract(epoch FROM l.time) * 1000,
      'fields', jsonb_build_array(jsonb_build_object('key', 'level', 'value', {LEVEL}),
        jsonb_build_object('key', 'message', 'value', l.body)) || otel_pairs(l.attributes))
    FROM log_records l
    WHERE l.trace_id = s.trace_id AND l.span_id = s.span_id
      AND l.time >= s.time - interval '1 hour' AND l.time < s.time + interval '1 day'
  ) entries), '[]') AS "logs",
  {KIND} AS "kind", coalesce(s.status_code, 0) AS "statusCode", s.status_message AS "statusMessage",
  s.time, s.trace_id AS trace_uuid
FROM spans s LEFT JOIN resources r ON r.id = s.resource_id
"""  # noqa: S608

# A request: what came from outside (server, consumer), and what began by itself without being a call to somebody else.
RED = """
CREATE FUNCTION otel_red(since timestamptz, until timestamptz, step interval DEFAULT '1 minute')
RETURNS TABLE ("time" timestamptz, service text, requests bigint, errors bigint, p50_ms double precision,
  p95_ms double precision, p99_ms double precision)
LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
  SELECT date_bin(step, s.time, '1970-01-01 00:00:00+00'), s.component, count(*),
    count(*) FILTER (WHERE s.status_code = 2),
    percentile_cont(0.5) WITHIN GROUP (ORDER BY s.duration_ns) / 1e6,
    percentile_cont(0.95) WITHIN GROUP (ORDER BY s.duration_ns) / 1e6,
    percentile_cont(0.99) WITHIN GROUP (ORDER BY s.duration_ns) / 1e6
  FROM spans s
  WHERE s.time >= since AND s.time < until AND (s.kind IN (2, 5) OR (s.parent_span_id IS NULL AND s.kind IN (0, 1)))
  GROUP BY 1, 2;
END
"""

# A call: a span whose parent is a span of another service. Parents are looked for up to an hour before the window.
EDGES = """
CREATE FUNCTION otel_edges(since timestamptz, until timestamptz, step interval DEFAULT '1 minute')
RETURNS TABLE ("time" timestamptz, parent text, child text, calls bigint, errors bigint)
LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
  SELECT date_bin(step, c.time, '1970-01-01 00:00:00+00'), p.component, c.component, count(*),
    count(*) FILTER (WHERE c.status_code = 2)
  FROM spans c JOIN spans p ON p.trace_id = c.trace_id AND p.span_id = c.parent_span_id
  WHERE c.time >= since AND c.time < until AND p.time >= since - interval '1 hour' AND p.time < until
    AND p.component <> c.component
  GROUP BY 1, 2, 3;
END
"""

LAST_DAY = "(now() - interval '24 hours', now() + interval '1 minute')"
OTHERS = (
    "CREATE VIEW otel_services AS SELECT DISTINCT component AS service FROM resources",
    f"CREATE VIEW otel_service_red AS SELECT * FROM otel_red{LAST_DAY}",  # noqa: S608
    f"CREATE VIEW otel_service_edges AS SELECT * FROM otel_edges{LAST_DAY}",  # noqa: S608
)

COMMENTS = {
    "VIEW otel_logs": "Log records. Filter by time, service, or trace_uuid = '32 hex digits'",
    "VIEW otel_spans": "Spans. Filter by time, service, or trace_uuid = '32 hex digits'",
    "VIEW otel_services": "Every service ever seen, from a small table",
    "VIEW otel_traces_panel": "One trace as the Traces panel of Grafana takes it; filter by trace_uuid",
    "VIEW otel_service_red": "otel_red of the last 24 hours by minute",
    "VIEW otel_service_edges": "otel_edges of the last 24 hours by minute",
    "FUNCTION otel_red": "Requests, errors and latency of each service in [since, until) by step",
    "FUNCTION otel_edges": "Calls of one service by another in [since, until) by step",
    "FUNCTION otel_pairs": "Attributes as an array of {key, value}",
}


def upgrade() -> None:
    for statement in (LOGS, SPANS, PAIRS, PANEL, RED, EDGES, *OTHERS):
        op.get_bind().exec_driver_sql(statement)
    for what, comment in COMMENTS.items():
        op.get_bind().exec_driver_sql(f"COMMENT ON {what} IS '{comment.replace(chr(39), chr(39) * 2)}'")


def downgrade() -> None:
    for view in ("services", "service_edges", "service_red", "traces_panel", "spans", "logs"):
        op.execute(f"DROP VIEW otel_{view}")
    for function in ("edges", "red", "pairs"):
        op.execute(f"DROP FUNCTION otel_{function}")
