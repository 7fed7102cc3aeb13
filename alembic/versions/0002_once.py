"""Each request once: rings of digests, by content and by the sender's batch id; the places of spooled requests."""

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


def downgrade() -> None:
    op.drop_table("spooled_requests")
    for n in range(3):
        op.drop_table(f"batch_id_digests_{n}")
        op.drop_table(f"request_digests_{n}")
