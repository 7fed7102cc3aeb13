"""Counts of log records and spans by minute, kept in the transactions that store and delete them (storage.rollups).

What is stored already is counted here. Nobody may store meanwhile, so writers wait, or keep what they get in their
spools: some second for two million rows.
"""

import sqlalchemy as sa

from alembic import op

revision = "0014"
down_revision = "0012"
branch_labels = None
depends_on = None

TIMESTAMP = sa.DateTime(timezone=True)
BYTEWISE = sa.Text(collation="C")


LANE = """
CREATE FUNCTION otel_ingest_lane(lanes bytea, lane integer) RETURNS bigint
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN ('x' || encode(substring(lanes FROM 4 * lane + 1 FOR 4), 'hex'))::bit(32)::bigint
"""

COMPACT_LOGS = """
  WITH fresh AS (DELETE FROM log_count_deltas RETURNING *),
  kinds AS (
    SELECT DISTINCT date_bin('1 hour', minute, '1970-01-01 00:00:00+00') AS hour, component, severity_number FROM fresh
  ),
  old AS (
    DELETE FROM log_counts c USING kinds k
    WHERE c.hour = k.hour AND c.component = k.component AND c.severity_number = k.severity_number RETURNING c.*
  ),
  cells AS (
    SELECT date_bin('1 hour', minute, '1970-01-01 00:00:00+00') AS hour, component, severity_number,
           (extract(epoch FROM minute)::bigint / 60 % 60)::integer AS lane, count AS n FROM fresh
    UNION ALL
    SELECT hour, component, severity_number, lane, otel_ingest_lane(minutes, lane)
    FROM old, generate_series(0, 59) AS lane
    UNION ALL
    SELECT hour, component, severity_number, lane, 0 FROM kinds, generate_series(0, 59) AS lane
  ),
  summed AS (
    SELECT hour, component, severity_number, lane, sum(n)::bigint AS n FROM cells GROUP BY 1, 2, 3, 4
  )
  INSERT INTO log_counts (hour, component, severity_number, total, minutes)
  SELECT hour, component, severity_number, sum(n), string_agg(substring(int8send(n) FROM 5), '' ORDER BY lane)
  FROM summed GROUP BY 1, 2, 3 HAVING sum(n) <> 0;
"""

COMPACT_SPANS = """
  WITH fresh AS (DELETE FROM span_count_deltas RETURNING *),
  kinds AS (
    SELECT DISTINCT date_bin('1 hour', minute, '1970-01-01 00:00:00+00') AS hour, component, status_code FROM fresh
  ),
  old AS (
    DELETE FROM span_counts c USING kinds k
    WHERE c.hour = k.hour AND c.component = k.component AND c.status_code = k.status_code RETURNING c.*
  ),
  cells AS (
    SELECT date_bin('1 hour', minute, '1970-01-01 00:00:00+00') AS hour, component, status_code,
           (extract(epoch FROM minute)::bigint / 60 % 60)::integer AS lane, count AS n, duration_ns AS d FROM fresh
    UNION ALL
    SELECT hour, component, status_code, lane, otel_ingest_lane(minutes, lane),
           ('x' || encode(substring(durations FROM 12 * lane + 1 FOR 8), 'hex'))::bit(64)::bigint * 4294967296::numeric
           + otel_ingest_lane(durations, 3 * lane + 2)
    FROM old, generate_series(0, 59) AS lane
    UNION ALL
    SELECT hour, component, status_code, lane, 0, 0 FROM kinds, generate_series(0, 59) AS lane
  ),
  summed AS (
    SELECT hour, component, status_code, lane, sum(n)::bigint AS n, sum(d) AS d FROM cells GROUP BY 1, 2, 3, 4
  )
  INSERT INTO span_counts (hour, component, status_code, total, minutes, duration_ns, durations)
  SELECT hour, component, status_code, sum(n), string_agg(substring(int8send(n) FROM 5), '' ORDER BY lane), sum(d),
         string_agg(int8send(div(d, 4294967296)::bigint) || substring(int8send(mod(d, 4294967296)::bigint) FROM 5), ''
                    ORDER BY lane)
  FROM summed GROUP BY 1, 2, 3 HAVING sum(n) <> 0;
"""

COMPACT = """
CREATE FUNCTION otel_ingest_compact_counts() RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, {schema}, pg_temp AS $$
BEGIN
  PERFORM pg_advisory_xact_lock(x'6F746C70000A'::bigint);
{logs}{spans}END $$
"""

FORGET = """
CREATE FUNCTION otel_ingest_forget_counts(parent text, since timestamptz, until timestamptz) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, {schema}, pg_temp AS $$
BEGIN
  IF extract(epoch FROM since) % 3600 <> 0 OR extract(epoch FROM until) % 3600 <> 0 THEN
    RAISE EXCEPTION 'counts are forgotten by whole hours, not from % to %', since, until
      USING ERRCODE = 'invalid_parameter_value';
  END IF;
  PERFORM pg_advisory_xact_lock(x'6F746C70000A'::bigint);
  IF parent = 'log_records' THEN
    DELETE FROM log_count_deltas WHERE minute >= since AND minute < until;
    DELETE FROM log_counts WHERE hour >= since AND hour < until;
  ELSIF parent = 'spans' THEN
    DELETE FROM span_count_deltas WHERE minute >= since AND minute < until;
    DELETE FROM span_counts WHERE hour >= since AND hour < until;
  END IF;
END $$
"""

FUNCTIONS = (
    "otel_ingest_forget_counts(text, timestamptz, timestamptz)",
    "otel_ingest_compact_counts()",
    "otel_ingest_lane(bytea, integer)",
)


def required(name: str, kind: sa.types.TypeEngine, comment: str | None = None) -> sa.Column:
    return sa.Column(name, kind, nullable=False, comment=comment)


def count_tables(noun: str, code: str, durations: list[sa.Column], duration: list[sa.Column]) -> None:
    op.create_table(
        f"{noun}_counts",
        required("hour", TIMESTAMP),
        required("component", BYTEWISE),
        required(code, sa.Integer()),
        required("total", sa.BigInteger(), "Sum of minutes"),
        required("minutes", sa.LargeBinary(), "60 counts of 4 bytes, big endian"),
        *durations,
    )
    op.create_index(f"{noun}_counts_hour_idx", f"{noun}_counts", ["hour"])
    op.create_table(
        f"{noun}_count_deltas",
        required("minute", TIMESTAMP),
        required("component", BYTEWISE),
        required(code, sa.Integer()),
        required("count", sa.BigInteger(), "Rows stored, or with a minus deleted"),
        *duration,
    )


def schema() -> str:
    connection = op.get_bind()
    return str(connection.execute(sa.text("SELECT quote_ident(current_schema())")).scalar_one())


def count_what_is_there() -> None:
    op.execute("LOCK TABLE log_records, spans IN SHARE MODE")
    op.execute("""
INSERT INTO log_count_deltas (minute, component, severity_number, count)
SELECT date_bin('1 minute', time, '1970-01-01 00:00:00+00'), component, severity_number, count(*)
FROM log_records GROUP BY 1, 2, 3
""")
    op.execute("""
INSERT INTO span_count_deltas (minute, component, status_code, count, duration_ns)
SELECT date_bin('1 minute', time, '1970-01-01 00:00:00+00'), component, coalesce(status_code, 0), count(*),
       sum(duration_ns)
FROM spans GROUP BY 1, 2, 3
""")
    op.execute("SELECT otel_ingest_compact_counts()")


def upgrade() -> None:
    here = schema()
    count_tables("log", "severity_number", [], [])
    count_tables(
        "span",
        "status_code",
        [
            required("duration_ns", sa.Numeric(), "Sum of durations"),
            required("durations", sa.LargeBinary(), "60 sums of 12 bytes, big endian, ns"),
        ],
        [required("duration_ns", sa.Numeric(), "Sum of the spans' durations")],
    )
    compact = COMPACT.replace("{logs}", COMPACT_LOGS).replace("{spans}", COMPACT_SPANS)
    for statement in (LANE, compact, FORGET):
        op.execute(sa.text(statement.replace("{schema}", here).replace(":", r"\:")))
    for function in FUNCTIONS[:2]:
        op.execute(f"REVOKE ALL ON FUNCTION {here}.{function} FROM PUBLIC")
    count_what_is_there()


def downgrade() -> None:
    here = schema()
    for function in FUNCTIONS:
        op.execute(f"DROP FUNCTION {here}.{function}")
    for name in ("log_counts", "log_count_deltas", "span_counts", "span_count_deltas"):
        op.drop_table(name)
