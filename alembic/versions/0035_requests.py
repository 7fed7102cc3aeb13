"""What spans are called, how long requests took and who called whom, beside the rows (storage.rollups).

What is stored already is counted in the background, an hour at a time: nobody waits for this revision. An hour is told
from here where as many spans are counted here as in ``span_counts``, and else from its rows.
"""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from alembic import op

revision = "0035"
down_revision = "0034"
branch_labels = None
depends_on = None

TIMESTAMP = sa.DateTime(timezone=True)
BYTEWISE = sa.Text(collation="C")
NAME = "Its first 200 characters; NULL: one of too many"
FAILED = "Status code 2"

# The double's exponent and the first four bits of its fraction; what it cannot hold exactly is cut, not rounded.
BUCKET = """
CREATE FUNCTION otel_ingest_bucket(duration bigint) RETURNS integer
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN CASE WHEN duration < 32 THEN duration
  WHEN duration < 9007199254740992
  THEN 256 * get_byte(float8send(duration), 0) + get_byte(float8send(duration), 1) - 16416
  ELSE 256 * get_byte(float8send(duration & -1099511627776), 0)
       + get_byte(float8send(duration & -1099511627776), 1) - 16416
END::integer
"""

SERVED = "(s.kind IN (2, 5) OR s.parent_span_id IS NULL AND s.kind IN (0, 1))"

COMPACT = """
CREATE FUNCTION otel_ingest_compact_spans() RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, {schema}, pg_temp AS $$
BEGIN
  PERFORM pg_advisory_xact_lock(x'6F746C70000A'::bigint);
  WITH fresh AS (
    DELETE FROM span_detail_deltas RETURNING *, date_bin('1 hour', minute, '1970-01-01 00:00:00+00') AS hour
  ),
  gone_calls AS (
    DELETE FROM span_calls c
    USING (SELECT DISTINCT date_bin('5 minutes', minute, '1970-01-01 00:00:00+00') AS slot FROM fresh) f
    WHERE c.slot >= f.slot - interval '5 minutes' AND c.slot <= f.slot + interval '1 hour'
  ),
  old_names AS (
    DELETE FROM span_names o USING (SELECT DISTINCT hour, component FROM fresh) f
    WHERE o.hour = f.hour AND o.component = f.component RETURNING o.*
  ),
  names AS (
    SELECT hour, component, name, kind, sum(count) AS count, bool_or(known) AS known
    FROM (SELECT hour, component, name, kind, count, false AS known FROM fresh
          UNION ALL SELECT hour, component, name, kind, count, true FROM old_names) AS n
    GROUP BY 1, 2, 3, 4 HAVING sum(count) <> 0
  ),
  ranked AS (
    SELECT *, row_number() OVER (PARTITION BY hour, component ORDER BY known DESC, count DESC, name, kind) AS place
    FROM names WHERE name IS NOT NULL AND count > 0
  ),
  kept AS (
    SELECT hour, component, name, kind, count FROM ranked WHERE place <= {names}
    UNION ALL SELECT hour, component, NULL, 0, count FROM ranked WHERE place > {names}
    UNION ALL SELECT hour, component, NULL, 0, count FROM names WHERE name IS NULL OR count < 0
  ),
  stored_names AS (
    INSERT INTO span_names (hour, component, name, kind, count)
    SELECT hour, component, name, kind, sum(count) FROM kept GROUP BY 1, 2, 3, 4 HAVING sum(count) <> 0
  ),
  fresh_cells AS (
    SELECT hour, component, failed, (extract(epoch FROM minute)::bigint / 60 % 60) * 1024 AS lane, cell
    FROM fresh, unnest(cells) AS cell
  ),
  old_times AS (
    DELETE FROM span_times o USING (SELECT DISTINCT hour, component, failed FROM fresh_cells) f
    WHERE o.hour = f.hour AND o.component = f.component AND o.failed = f.failed RETURNING o.*
  ),
  cells AS (
    SELECT hour, component, failed, place, sum(n) AS n FROM (
      SELECT hour, component, failed, lane + ((cell + 2147483648) >> 32) AS place,
             cell - (((cell + 2147483648) >> 32) << 32) AS n FROM fresh_cells
      UNION ALL
      SELECT hour, component, failed, (cell + 2147483648) >> 32, cell - (((cell + 2147483648) >> 32) << 32)
      FROM old_times, unnest(cells) AS cell
    ) AS c GROUP BY 1, 2, 3, 4 HAVING sum(n) <> 0
  ),
  by_hour AS (
    SELECT hour, component, failed, array_agg(bucket * 4294967296 + n ORDER BY bucket) AS cells
    FROM (SELECT hour, component, failed, place & 1023 AS bucket, sum(n)::bigint AS n
          FROM cells GROUP BY 1, 2, 3, 4) AS b
    GROUP BY 1, 2, 3
  )
  INSERT INTO span_times (hour, component, failed, cells, hour_cells)
  SELECT hour, component, failed, array_agg(place * 4294967296 + n::bigint ORDER BY place), any_value(h.cells)
  FROM cells JOIN by_hour h USING (hour, component, failed) GROUP BY 1, 2, 3;
END $$
"""

FORGET = """
CREATE FUNCTION otel_ingest_forget_spans(since timestamptz, until timestamptz) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, {schema}, pg_temp AS $$
BEGIN
  IF extract(epoch FROM since) % 3600 <> 0 OR extract(epoch FROM until) % 3600 <> 0 THEN
    RAISE EXCEPTION 'spans are forgotten by whole hours, not from % to %', since, until
      USING ERRCODE = 'invalid_parameter_value';
  END IF;
  PERFORM pg_advisory_xact_lock(x'6F746C70000A'::bigint);
  DELETE FROM span_detail_deltas WHERE minute >= since AND minute < until;
  DELETE FROM span_names WHERE hour >= since AND hour < until;
  DELETE FROM span_times WHERE hour >= since AND hour < until;
  DELETE FROM span_calls WHERE slot >= since - interval '5 minutes' AND slot <= until + interval '1 hour';
END $$
"""

# Hours of which more or fewer spans are counted here than in span_counts; a function, as readers ask the same.
UNCOUNTED = """
CREATE FUNCTION otel_ingest_uncounted_hours(since timestamptz, until timestamptz) RETURNS SETOF timestamptz
LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
  SELECT DISTINCT hour FROM (
    SELECT hour, component, total AS n FROM span_counts WHERE hour >= since AND hour < until
    UNION ALL
    SELECT date_bin('1 hour', minute, '1970-01-01 00:00:00+00'), component, count FROM span_count_deltas
    WHERE minute >= since AND minute < until
    UNION ALL
    SELECT hour, component, -count FROM span_names WHERE hour >= since AND hour < until
    UNION ALL
    SELECT date_bin('1 hour', minute, '1970-01-01 00:00:00+00'), component, -count FROM span_detail_deltas
    WHERE minute >= since AND minute < until
  ) AS both_ways GROUP BY hour, component HAVING sum(n) <> 0;
END
"""

# One statement is one snapshot: what it counts from rows and the changes it must not count again are of one moment.
COUNT_HOUR = """
CREATE FUNCTION otel_ingest_count_hour(this timestamptz) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, {schema}, pg_temp
BEGIN ATOMIC
  WITH quiet AS (
    SELECT 1 WHERE NOT EXISTS (
      SELECT 1 FROM span_detail_deltas WHERE minute >= this AND minute < this + interval '1 hour'
    )
  ),
  old_names AS (DELETE FROM span_names WHERE hour = this AND EXISTS (SELECT 1 FROM quiet)),
  old_times AS (DELETE FROM span_times WHERE hour = this AND EXISTS (SELECT 1 FROM quiet)),
  old_calls AS (
    DELETE FROM span_calls WHERE slot >= this - interval '5 minutes' AND slot <= this + interval '2 hours'
      AND EXISTS (SELECT 1 FROM quiet)
  ),
  stored AS (
    SELECT s.component, "left"(s.name, 200) AS name, s.kind, coalesce(s.status_code = 2, false) AS failed,
      CASE WHEN {served} THEN 1024 * (extract(epoch FROM s.time)::bigint / 60 % 60) + otel_ingest_bucket(s.duration_ns)
      END AS place, count(*) AS n
    FROM spans s, quiet WHERE s.time >= this AND s.time < this + interval '1 hour' GROUP BY 1, 2, 3, 4, 5
  ),
  names AS (
    SELECT component, name, kind, n, row_number() OVER (PARTITION BY component ORDER BY n DESC, name, kind) AS rank
    FROM (SELECT component, name, kind, sum(n) AS n FROM stored GROUP BY 1, 2, 3) AS named
  ),
  new_names AS (
    INSERT INTO span_names (hour, component, name, kind, count)
    SELECT this, component, name, kind, n FROM names WHERE rank <= {names}
    UNION ALL SELECT this, component, NULL, 0, sum(n) FROM names WHERE rank > {names} GROUP BY component
  ),
  cells AS (
    SELECT component, failed, place, sum(n)::bigint AS n FROM stored WHERE place IS NOT NULL GROUP BY 1, 2, 3
  ),
  by_hour AS (
    SELECT component, failed, array_agg(bucket * 4294967296 + n ORDER BY bucket) AS cells
    FROM (SELECT component, failed, place & 1023 AS bucket, sum(n)::bigint AS n FROM cells GROUP BY 1, 2, 3) AS b
    GROUP BY 1, 2
  )
  INSERT INTO span_times (hour, component, failed, cells, hour_cells)
  SELECT this, c.component, c.failed, array_agg(c.place * 4294967296 + c.n ORDER BY c.place), any_value(h.cells)
  FROM cells c JOIN by_hour h ON h.component = c.component AND h.failed = c.failed GROUP BY 2, 3;
END
"""

# A caller's span began up to an hour before the one it calls, or by clocks that differ up to a minute after it.
COUNT_SLOT = """
CREATE FUNCTION otel_ingest_count_slot(this timestamptz) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, {schema}, pg_temp SET enable_nestloop = off
BEGIN ATOMIC
  INSERT INTO span_calls (slot, parent, child, calls)
  SELECT this, NULL, NULL, 0
  UNION ALL
  SELECT this, p.component, c.component, count(*)
  FROM spans c JOIN spans p ON p.trace_id = c.trace_id AND p.span_id = c.parent_span_id
  WHERE c.time >= this AND c.time < this + interval '5 minutes'
    AND p.time >= this - interval '1 hour' AND p.time <= this + interval '6 minutes'
    AND p.time >= c.time - interval '1 hour' AND p.time <= c.time + interval '1 minute'
    AND p.component <> c.component
  GROUP BY 2, 3;
END
"""

CATCH_UP = """
CREATE FUNCTION otel_ingest_catch_up_spans() RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, {schema}, pg_temp AS $$
DECLARE
  begun timestamptz := clock_timestamp();
  this timestamptz;
  uncounted timestamptz[];
BEGIN
  PERFORM pg_advisory_xact_lock(x'6F746C70000A'::bigint);
  FOR this IN
    SELECT u FROM otel_ingest_uncounted_hours('-infinity', 'infinity') AS u
    WHERE NOT EXISTS (SELECT 1 FROM {elsewhere} AS b WHERE b.table_name = 'spans'
                      AND b.last_time >= u AND b.first_time < u + interval '1 hour')
    ORDER BY u DESC
  LOOP
    EXIT WHEN clock_timestamp() > begun + interval '1 second';
    PERFORM otel_ingest_count_hour(this);
  END LOOP;
  uncounted := ARRAY(SELECT otel_ingest_uncounted_hours('-infinity', 'infinity'));
  FOR this IN
    SELECT s FROM (SELECT DISTINCT hour FROM span_names) AS h,
      generate_series(h.hour, h.hour + interval '55 minutes', interval '5 minutes') AS s
    WHERE s < clock_timestamp() - interval '10 minutes' AND NOT EXISTS (SELECT 1 FROM span_calls c WHERE c.slot = s)
      AND NOT EXISTS (SELECT 1 FROM {elsewhere} AS b WHERE b.table_name = 'spans'
                      AND b.last_time >= s - interval '1 hour' AND b.first_time <= s + interval '6 minutes')
      AND NOT uncounted && ARRAY[h.hour - interval '1 hour', h.hour, h.hour + interval '1 hour']
    ORDER BY s DESC
  LOOP
    EXIT WHEN clock_timestamp() > begun + interval '2 seconds';
    PERFORM otel_ingest_count_slot(this);
  END LOOP;
END $$
"""

# Where spans may be that no row holds: they are told of from there.
ELSEWHERE = """(
  SELECT table_name, first_time, last_time FROM packed_blocks
  UNION ALL SELECT table_name, first_time, last_time FROM cold_chunks
)"""
NAMES_MAX = 200
FUNCTIONS = (
    "otel_ingest_catch_up_spans()",
    "otel_ingest_count_slot(timestamptz)",
    "otel_ingest_count_hour(timestamptz)",
    "otel_ingest_uncounted_hours(timestamptz, timestamptz)",
    "otel_ingest_forget_spans(timestamptz, timestamptz)",
    "otel_ingest_compact_spans()",
    "otel_ingest_bucket(bigint)",
)
OF_THE_OWNER = tuple(f for f in FUNCTIONS if "bucket" not in f and "uncounted" not in f)


def schema() -> str:
    connection = op.get_bind()
    return str(connection.execute(sa.text("SELECT quote_ident(current_schema())")).scalar_one())


def required(name: str, kind: sa.types.TypeEngine, comment: str | None = None) -> sa.Column:
    return sa.Column(name, kind, nullable=False, comment=comment)


def make_tables() -> None:
    op.create_table(
        "span_detail_deltas",
        required("minute", TIMESTAMP),
        required("component", BYTEWISE),
        sa.Column("name", sa.Text(), comment=NAME),
        required("kind", sa.Integer()),
        required("failed", sa.Boolean(), FAILED),
        required("count", sa.BigInteger(), "Spans stored, or with a minus deleted"),
        sa.Column("cells", ARRAY(sa.BigInteger()), comment="bucket * 2^32 + requests served (storage.latency)"),
    )
    op.create_table(
        "span_names",
        required("hour", TIMESTAMP),
        required("component", BYTEWISE),
        sa.Column("name", sa.Text(), comment=NAME),
        required("kind", sa.Integer()),
        required("count", sa.BigInteger()),
    )
    op.create_index("span_names_hour_idx", "span_names", ["hour"])
    op.create_index("span_names_component_idx", "span_names", ["component"], postgresql_using="hash")
    op.create_table(
        "span_times",
        required("hour", TIMESTAMP),
        required("component", BYTEWISE),
        required("failed", sa.Boolean(), FAILED),
        required("cells", ARRAY(sa.BigInteger()), "(1024 * minute + bucket) * 2^32 + requests served"),
        required("hour_cells", ARRAY(sa.BigInteger()), "bucket * 2^32 + requests served"),
    )
    op.create_index("span_times_hour_idx", "span_times", ["hour"])
    op.create_table(
        "span_calls",
        required("slot", TIMESTAMP, "Five minutes in which the spans called began"),
        sa.Column("parent", BYTEWISE, comment="NULL: the slot was counted"),
        sa.Column("child", BYTEWISE),
        required("calls", sa.BigInteger()),
    )
    op.create_index("span_calls_slot_idx", "span_calls", ["slot"])


def upgrade() -> None:
    here = schema()
    make_tables()
    for statement in (BUCKET, COMPACT, FORGET, UNCOUNTED, COUNT_HOUR, COUNT_SLOT, CATCH_UP):
        made = statement.replace("{schema}", here).replace("{names}", str(NAMES_MAX)).replace("{served}", SERVED)
        made = made.replace("{elsewhere}", ELSEWHERE)
        op.get_bind().exec_driver_sql(made.replace("%", "%%"))
    for function in OF_THE_OWNER:
        op.execute(f"REVOKE ALL ON FUNCTION {here}.{function} FROM PUBLIC")


def downgrade() -> None:
    here = schema()
    for function in FUNCTIONS:
        op.execute(f"DROP FUNCTION {here}.{function}")
    for name in ("span_calls", "span_times", "span_names", "span_detail_deltas"):
        op.drop_table(name)
