"""Rules of retention, and when a partition was made, as the comment of its table.

A store that is new keeps all for 30 days. One that holds partitions already gets no rule: nothing of it may go that
was not asked for.
"""

import sqlalchemy as sa

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

BYTEWISE = sa.Text(collation="C")

MAKE_PARTITION = """
CREATE OR REPLACE FUNCTION otel_ingest_make_partition(parent text, since timestamptz, until timestamptz) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, {schema}, pg_temp SET timezone = 'UTC' AS $$
DECLARE
  hours integer := extract(epoch FROM until - since) / 3600;
  name text := parent || CASE
    WHEN hours = 24 AND since = date_trunc('day', since) THEN to_char(since, '"_p"YYYYMMDD')
    ELSE to_char(since, '"_p"YYYYMMDDHH24') || '_' || hours || 'h' END;
BEGIN
  IF NOT EXISTS (SELECT FROM {schema}.time_partitions WHERE table_name = parent) THEN
    RAISE EXCEPTION 'no partitions are made of %', parent USING ERRCODE = 'insufficient_privilege';
  END IF;
  IF since <> date_trunc('hour', since) OR until <> date_trunc('hour', until) OR hours NOT BETWEEN 1 AND 168 THEN
    RAISE EXCEPTION 'a partition is of 1 to 168 whole hours, not from % to %', since, until
      USING ERRCODE = 'invalid_parameter_value';
  END IF;
  IF (SELECT count(*) FROM pg_inherits WHERE inhparent = ('{schema}.' || quote_ident(parent))::regclass) >= 4000 THEN
    RAISE EXCEPTION '% has all the partitions that it may have', parent USING ERRCODE = 'program_limit_exceeded';
  END IF;
  EXECUTE format('CREATE TABLE {schema}.%I (LIKE {schema}.%I INCLUDING ALL)', name, parent);{comment}
  EXECUTE format('ALTER TABLE {schema}.%I ATTACH PARTITION {schema}.%I FOR VALUES FROM (%L) TO (%L)', parent, name,
                 to_char(since, 'YYYY-MM-DD HH24:00:00"+00"'), to_char(until, 'YYYY-MM-DD HH24:00:00"+00"'));
  RETURN name;
END $$
"""
COMMENT = """
  EXECUTE format('COMMENT ON TABLE {schema}.%I IS %L', name,
                 'otel-ingest made=' || extract(epoch FROM now())::bigint);"""

DEFAULTS = """
INSERT INTO retention_rules (signal, keep_s, reason, set_by)
SELECT signal, 30 * 86400, 'what a new store begins with', 'otel-ingest'
FROM unnest(ARRAY['logs', 'spans', 'metrics']) AS s (signal)
WHERE NOT EXISTS (
  SELECT FROM pg_inherits i JOIN pg_class p ON p.oid = i.inhparent JOIN pg_namespace n ON n.oid = p.relnamespace
  WHERE n.nspname = current_schema() AND p.relname IN ('log_records', 'spans', 'metric_points') AND p.relkind = 'p')
"""


def make_partition(comment: str) -> sa.TextClause:
    here = op.get_bind().execute(sa.text("SELECT quote_ident(current_schema())")).scalar_one()
    body = MAKE_PARTITION.replace("{comment}", comment).replace("{schema}", str(here))
    return sa.text(body.replace(":", r"\:"))


def upgrade() -> None:
    op.create_table(
        "retention_rules",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("signal", sa.Text, nullable=False, comment="logs, spans or metrics"),
        sa.Column("component", BYTEWISE, comment="NULL: any"),
        sa.Column("severity_min", sa.Integer, comment="Of severity_number, included; NULL: any"),
        sa.Column("severity_max", sa.Integer, comment="Of severity_number, included; NULL: any"),
        sa.Column("keep_s", sa.BigInteger, comment="Seconds; NULL: for ever"),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("set_by", sa.Text, nullable=False, comment="Name of the token"),
        sa.Column("set_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
    )
    op.execute(DEFAULTS)
    op.execute(make_partition(COMMENT))


def downgrade() -> None:
    op.execute(make_partition(""))
    op.drop_table("retention_rules")
