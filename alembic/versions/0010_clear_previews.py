"""What deletion on demand showed and was allowed to delete (storage.clearing)."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

TIMESTAMP = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "clear_previews",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("confirm_hash", sa.LargeBinary, nullable=False, unique=True, comment="SHA-256 of the confirmation"),
        sa.Column("caller", sa.Text, nullable=False, comment="Who asked; nobody else may confirm"),
        sa.Column("asked", JSONB, nullable=False, comment="The question as it was asked"),
        sa.Column("query", JSONB, nullable=False, comment="The question as it was understood, times in ns"),
        sa.Column(
            "watermark", sa.BigInteger, nullable=False, comment="Rows of transactions before this one were counted"
        ),
        sa.Column("counts", JSONB, nullable=False, comment="Rows by signal"),
        sa.Column("made_at", TIMESTAMP, nullable=False, server_default=sa.func.now()),
        sa.Column("expires_at", TIMESTAMP, nullable=False),
        sa.Column("used_at", TIMESTAMP),
    )


def downgrade() -> None:
    op.drop_table("clear_previews")
