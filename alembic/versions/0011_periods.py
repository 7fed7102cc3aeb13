"""What new partitions of a table last, where the planner and the function that makes them both see it."""

import sqlalchemy as sa

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

TABLES = ("log_records", "spans", "metric_points")

# Beside the function of migration 0006, which receivers of the release before call while this one is rolled out.
MAKE_PARTITION = """
CREATE FUNCTION otel_ingest_make_partition(parent text, since timestamptz, until timestamptz) RETURNS text
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
  EXECUTE format('CREATE TABLE {schema}.%I (LIKE {schema}.%I INCLUDING ALL)', name, parent);
  EXECUTE format('ALTER TABLE {schema}.%I ATTACH PARTITION {schema}.%I FOR VALUES FROM (%L) TO (%L)', parent, name,
                 to_char(since, 'YYYY-MM-DD HH24:00:00"+00"'), to_char(until, 'YYYY-MM-DD HH24:00:00"+00"'));
  RETURN name;
END $$
"""
FUNCTION = "otel_ingest_make_partition(text, timestamptz, timestamptz)"


def schema() -> str:
    connection = op.get_bind()
    return str(connection.execute(sa.text("SELECT quote_ident(current_schema())")).scalar_one())


def upgrade() -> None:
    here = schema()
    op.create_table(
        "time_partitions",
        sa.Column("table_name", sa.Text, primary_key=True),
        sa.Column("partition_column", sa.Text, nullable=False),
        sa.Column("default_period", sa.Text, nullable=False, comment="hour, day or week: what its migration says"),
        sa.Column("period", sa.Text, comment="What new partitions last, where that was changed; NULL: default_period"),
    )
    for name in TABLES:
        op.register_time_partitioned_table(name, by="time", period="day")
    op.execute(sa.text(MAKE_PARTITION.replace("{schema}", here).replace(":", r"\:")))
    op.execute(f"REVOKE ALL ON FUNCTION {here}.{FUNCTION} FROM PUBLIC")


def downgrade() -> None:
    op.execute(f"DROP FUNCTION {schema()}.{FUNCTION}")
    op.drop_table("time_partitions")
