"""What the write role may not do by itself, as functions of the owner: day partitions, checking and noting tokens.

Each function does one thing and takes nothing that becomes a name of another object. Who may call them is granted by
``otel-ingest migrate --roles``; PUBLIC may not. A change of tokens is announced, so that receivers forget what they
knew of them.
"""

import sqlalchemy as sa

from alembic import op

revision = "0006"
down_revision = "0004"
branch_labels = None
depends_on = None

MAKE_PARTITION = """
CREATE FUNCTION otel_ingest_make_partition(parent text, day date) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, {schema}, pg_temp AS $$
DECLARE
  name text := parent || '_p' || to_char(day, 'YYYYMMDD');
BEGIN
  IF parent NOT IN ('log_records', 'spans', 'metric_points') THEN
    RAISE EXCEPTION 'no partitions are made of %', parent USING ERRCODE = 'insufficient_privilege';
  END IF;
  IF (SELECT count(*) FROM pg_inherits WHERE inhparent = ('{schema}.' || parent)::regclass) >= 4000 THEN
    RAISE EXCEPTION '% has all the partitions that it may have', parent USING ERRCODE = 'program_limit_exceeded';
  END IF;
  EXECUTE format('CREATE TABLE {schema}.%I (LIKE {schema}.%I INCLUDING ALL)', name, parent);
  EXECUTE format('ALTER TABLE {schema}.%I ATTACH PARTITION {schema}.%I FOR VALUES FROM (%L) TO (%L)', parent, name,
                 to_char(day, 'YYYY-MM-DD') || ' 00:00:00+00', to_char(day + 1, 'YYYY-MM-DD') || ' 00:00:00+00');
END $$
"""

FIND = """
CREATE FUNCTION otel_ingest_find_token(hash bytea)
RETURNS TABLE (id bigint, name text, role text, created_at timestamptz, expires_at timestamptz,
               revoked_at timestamptz, last_used_at timestamptz, valid_s double precision)
LANGUAGE sql STABLE STRICT SECURITY DEFINER SET search_path = pg_catalog, {schema}, pg_temp AS $$
  SELECT t.id, t.name, t.role, t.created_at, t.expires_at, t.revoked_at, t.last_used_at,
         extract(epoch FROM t.expires_at - now())::double precision
  FROM {schema}.tokens t
  WHERE t.token_hash = hash AND t.revoked_at IS NULL AND (t.expires_at IS NULL OR t.expires_at > now())
$$
"""

TOUCH = """
CREATE FUNCTION otel_ingest_touch_tokens(ids bigint[]) RETURNS void
LANGUAGE sql STRICT SECURITY DEFINER SET search_path = pg_catalog, {schema}, pg_temp AS $$
  UPDATE {schema}.tokens SET last_used_at = now() WHERE id = ANY (ids)
$$
"""

TOKENS_CHANGED = """
CREATE FUNCTION otel_ingest_tokens_changed() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM pg_notify('otel_ingest_tokens', TG_TABLE_SCHEMA);
  RETURN NULL;
END $$
"""

TRIGGER = """
CREATE TRIGGER tokens_changed AFTER INSERT OR DELETE OR UPDATE OF token_hash, role, expires_at, revoked_at
ON {schema}.tokens FOR EACH STATEMENT EXECUTE FUNCTION {schema}.otel_ingest_tokens_changed()
"""

FUNCTIONS = (
    "otel_ingest_make_partition(text, date)",
    "otel_ingest_find_token(bytea)",
    "otel_ingest_touch_tokens(bigint[])",
    "otel_ingest_tokens_changed()",
)


def schema() -> str:
    connection = op.get_bind()
    return str(connection.execute(sa.text("SELECT quote_ident(current_schema())")).scalar_one())


def upgrade() -> None:
    here = schema()
    for statement in (MAKE_PARTITION, FIND, TOUCH, TOKENS_CHANGED, TRIGGER):
        op.execute(sa.text(statement.replace("{schema}", here).replace(":", r"\:")))
    for function in FUNCTIONS:
        op.execute(f"REVOKE ALL ON FUNCTION {here}.{function} FROM PUBLIC")


def downgrade() -> None:
    here = schema()
    op.execute(f"DROP TRIGGER tokens_changed ON {here}.tokens")
    for function in FUNCTIONS:
        op.execute(f"DROP FUNCTION {here}.{function}")
