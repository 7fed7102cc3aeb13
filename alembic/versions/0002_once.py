"""Each request once: rings of digests, by content and by the sender's batch id; spooled places; rejected records."""

import sqlalchemy as sa

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def digest_table(name: str, *columns: sa.Column) -> None:
    op.create_table(
        name,
        sa.Column("digest", sa.Uuid, primary_key=True),
        *columns,
        sa.Column("time", sa.DateTime(timezone=True), nullable=False, comment="When the request was stored"),
        sa.Column("rejected", sa.Integer, nullable=False, comment="Records of it that PostgreSQL refused"),
    )


def upgrade() -> None:
    for n in range(3):
        digest_table(f"request_digests_{n}")
        content = sa.Column("content", sa.Uuid, nullable=False, comment="Digest of the request")
        digest_table(f"batch_id_digests_{n}", content)
    op.create_table(
        "spooled_requests",
        sa.Column("segment", sa.Uuid, primary_key=True, comment="The spool's segment"),
        sa.Column(
            "position", sa.BigInteger, primary_key=True, autoincrement=False, comment="Where the request is in it"
        ),
        sa.Column("time", sa.DateTime(timezone=True), nullable=False, comment="When the request was stored"),
    )
    timestamp = sa.DateTime(timezone=True)
    bytewise = sa.Text(collation="C")
    op.create_table(
        "rejected_records",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("received_at", timestamp, nullable=False, server_default=sa.func.now()),
        sa.Column("signal", sa.Text, nullable=False, comment="logs, traces or metrics"),
        sa.Column("component", bytewise, nullable=False, comment="As in the telemetry tables; empty: not known"),
        sa.Column("position", sa.BigInteger, nullable=False, comment="Of the record in its request, from 0"),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("media_type", sa.Text, nullable=False, comment="How record is encoded"),
        sa.Column("record_bytes", sa.BigInteger, nullable=False, comment="Length as sent; record may be cut"),
        sa.Column("digest", sa.LargeBinary, comment="Key of the request"),
        sa.Column("record", sa.LargeBinary, nullable=False, comment="The record as sent; of a data point its metric"),
    )
    op.create_index("rejected_records_received_at_idx", "rejected_records", ["received_at"])


def downgrade() -> None:
    op.drop_table("rejected_records")
    op.drop_table("spooled_requests")
    for n in range(3):
        op.drop_table(f"batch_id_digests_{n}")
        op.drop_table(f"request_digests_{n}")
