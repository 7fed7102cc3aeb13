"""What is in Parquet files (storage.cold). Going back needs it back here: `otel-ingest partitions unpack`."""

import sqlalchemy as sa

from alembic import op

revision = "0034"
down_revision = "0033"
branch_labels = None
depends_on = None

BYTEWISE = sa.Text(collation="C")
TIMESTAMP = sa.DateTime(timezone=True)
NOT_EMPTY = """
DO $$ BEGIN
  IF EXISTS (SELECT 1 FROM cold_chunks) THEN
    RAISE EXCEPTION 'records are in cold files: unpack them first (otel-ingest partitions unpack), or they are lost';
  END IF;
END $$
"""


def upgrade() -> None:
    op.create_table(
        "cold_files",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), primary_key=True),
        sa.Column("table_name", sa.Text(), nullable=False, comment="The telemetry table its records are of"),
        sa.Column("path", sa.Text(), nullable=False, unique=True, comment="Below the cold location"),
        sa.Column("state", sa.Text(), nullable=False, comment="writing, live or gone; only a live one has chunks"),
        sa.Column("since", TIMESTAMP, nullable=False, comment="Of its partition"),
        sa.Column("until", TIMESTAMP, nullable=False),
        sa.Column("records", sa.BigInteger(), nullable=False, comment="As it was written"),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), comment="SHA-256 of its columns (storage.cold.digest)"),
        sa.Column("trace_filter", sa.LargeBinary(), comment="storage.cold.traces: which trace ids may be in it"),
        sa.Column("written_at", TIMESTAMP, nullable=False, server_default=sa.func.now()),
    )
    # So that a few bytes of it are read without the rest.
    op.execute("ALTER TABLE cold_files ALTER COLUMN trace_filter SET STORAGE EXTERNAL")
    op.create_table(
        "cold_chunks",
        sa.Column("file_id", sa.BigInteger(), primary_key=True, autoincrement=False, comment="cold_files.id"),
        sa.Column(
            "first_row", sa.BigInteger(), primary_key=True, autoincrement=False, comment="Its first row in the file"
        ),
        sa.Column("table_name", sa.Text(), nullable=False),
        sa.Column("component", BYTEWISE, nullable=False, comment="Of all its records"),
        sa.Column("first_time", TIMESTAMP, nullable=False),
        sa.Column("last_time", TIMESTAMP, nullable=False),
        sa.Column("first_id", sa.BigInteger(), nullable=False),
        sa.Column("last_id", sa.BigInteger(), nullable=False),
        sa.Column("records", sa.Integer(), nullable=False),
        sa.Column("highest", sa.Integer(), comment="Highest severity_number or status_code of its records"),
    )
    op.create_index("cold_chunks_time_idx", "cold_chunks", ["table_name", "last_time"])
    op.create_index("cold_chunks_component_time_idx", "cold_chunks", ["table_name", "component", "last_time"])
    op.create_index("cold_chunks_id_idx", "cold_chunks", ["table_name", "last_id"])


def downgrade() -> None:
    op.execute(NOT_EMPTY)
    op.drop_table("cold_chunks")
    op.drop_table("cold_files")
