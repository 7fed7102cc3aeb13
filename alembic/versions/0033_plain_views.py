"""otel_service_red and otel_service_edges read as their owner, like the other views, not through a function.

A function in a view is run with the rights of whoever asks: a role that may read the views and nothing else (the one of
logger_sql) could not ask these two.
"""

from alembic import op

revision = "0033"
down_revision = "0023"
branch_labels = None
depends_on = None

RED = """
CREATE OR REPLACE VIEW otel_service_red AS
SELECT date_bin('1 minute', s.time, '1970-01-01 00:00:00+00') AS time,
  s.component COLLATE "default" AS service, count(*) AS requests,
  count(*) FILTER (WHERE s.status_code = 2) AS errors,
  percentile_cont(0.5) WITHIN GROUP (ORDER BY s.duration_ns) / 1e6 AS p50_ms,
  percentile_cont(0.95) WITHIN GROUP (ORDER BY s.duration_ns) / 1e6 AS p95_ms,
  percentile_cont(0.99) WITHIN GROUP (ORDER BY s.duration_ns) / 1e6 AS p99_ms
FROM spans s
WHERE s.time >= now() - interval '24 hours' AND s.time < now() + interval '1 minute'
  AND (s.kind IN (2, 5) OR (s.parent_span_id IS NULL AND s.kind IN (0, 1)))
GROUP BY 1, 2
"""
EDGES = """
CREATE OR REPLACE VIEW otel_service_edges AS
SELECT date_bin('1 minute', c.time, '1970-01-01 00:00:00+00') AS time, p.component COLLATE "default" AS parent,
  c.component COLLATE "default" AS child,
  count(*) AS calls, count(*) FILTER (WHERE c.status_code = 2) AS errors
FROM spans c JOIN spans p ON p.trace_id = c.trace_id AND p.span_id = c.parent_span_id
WHERE c.time >= now() - interval '24 hours' AND c.time < now() + interval '1 minute'
  AND p.time >= now() - interval '25 hours' AND p.time < now() + interval '1 minute'
  AND p.component <> c.component
GROUP BY 1, 2, 3
"""
LAST_DAY = "(now() - interval '24 hours', now() + interval '1 minute')"


def upgrade() -> None:
    for view in (RED, EDGES):
        op.get_bind().exec_driver_sql(view)


def downgrade() -> None:
    for name in ("red", "edges"):
        op.execute(f"CREATE OR REPLACE VIEW otel_service_{name} AS SELECT * FROM otel_{name}{LAST_DAY}")  # noqa: S608
