"""Blocks of packed records (storage.packing). Going back needs them unpacked: `otel-ingest partitions unpack`."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None

BYTEWISE = sa.Text(collation="C")
TIMESTAMP = sa.DateTime(timezone=True)
NOT_EMPTY = """
DO $$ BEGIN
  IF EXISTS (SELECT 1 FROM packed_blocks) THEN
    RAISE EXCEPTION 'records are packed: unpack them first (otel-ingest partitions unpack), or they would be lost';
  END IF;
END $$
"""


def upgrade() -> None:
    op.create_table(
        "packed_blocks",
        sa.Column(
            "id",
            sa.BigInteger(),
            sa.Identity(always=True),
            primary_key=True,
            comment="Never used again: blocks do not change",
        ),
        sa.Column("table_name", sa.Text(), nullable=False, comment="The telemetry table its records are of"),
        sa.Column("component", BYTEWISE, nullable=False, comment="Of all its records"),
        sa.Column("first_time", TIMESTAMP, nullable=False),
        sa.Column("last_time", TIMESTAMP, nullable=False, comment="Of the same partition as first_time"),
        sa.Column("first_id", sa.BigInteger(), nullable=False),
        sa.Column("last_id", sa.BigInteger(), nullable=False),
        sa.Column("records", sa.Integer(), nullable=False),
        sa.Column("highest", sa.Integer(), comment="Highest severity_number or status_code of its records"),
        sa.Column(
            "trace_hashes",
            ARRAY(sa.Integer()),
            nullable=False,
            comment="storage.packing.needs.trace_hash of each trace id",
        ),
        sa.Column("packed_at", TIMESTAMP, nullable=False, server_default=sa.func.now()),
        sa.Column(
            "data",
            sa.LargeBinary(),
            nullable=False,
            comment="Its columns (storage.packing.block); not compressed again",
        ),
    )
    # zstd has been over it: a try of pglz at each would be in vain, and a part of it can be read by itself.
    op.execute("ALTER TABLE packed_blocks ALTER COLUMN data SET STORAGE EXTERNAL")
    op.create_index("packed_blocks_time_idx", "packed_blocks", ["table_name", "last_time"])
    op.create_index("packed_blocks_component_time_idx", "packed_blocks", ["table_name", "component", "last_time"])
    op.create_index("packed_blocks_id_idx", "packed_blocks", ["table_name", "last_id"])
    op.create_index("packed_blocks_trace_hashes_idx", "packed_blocks", ["trace_hashes"], postgresql_using="gin")


def downgrade() -> None:
    op.execute(NOT_EMPTY)
    op.drop_table("packed_blocks")
