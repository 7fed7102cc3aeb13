"""Levels in force, the processes that take them, and the audit log."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from alembic import op

revision = "0004"
down_revision = "0002"
branch_labels = None
depends_on = None

BYTEWISE = sa.Text(collation="C")
TIMESTAMP = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "level_overrides",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("component", BYTEWISE, nullable=False),
        sa.Column("logger", sa.Text, nullable=False, comment="A logger and all below it; * is every logger"),
        sa.Column("level", sa.Text, nullable=False, comment="TRACE, DEBUG, INFO, WARN, ERROR or FATAL"),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("set_by", sa.Text, nullable=False, comment="Name of the token"),
        sa.Column("set_at", TIMESTAMP, nullable=False, server_default=sa.func.now()),
        sa.Column("expires_at", TIMESTAMP, nullable=False),
        sa.Column("ended_at", TIMESTAMP, comment="NULL: not ended before expires_at"),
    )
    op.create_index("level_overrides_expires_at_idx", "level_overrides", ["expires_at"])
    op.create_table(
        "agents",
        sa.Column("instance_uid", sa.Uuid, primary_key=True, comment="OpAMP instance_uid; one a process"),
        sa.Column("component", BYTEWISE, nullable=False),
        sa.Column("description", JSONB, nullable=False, comment="Attributes of its AgentDescription"),
        sa.Column("first_seen", TIMESTAMP, nullable=False, server_default=sa.func.now()),
        sa.Column("last_seen", TIMESTAMP, nullable=False, server_default=sa.func.now()),
        sa.Column("ended_at", TIMESTAMP, comment="When it said that it ends"),
        sa.Column("config_hash", sa.LargeBinary, comment="last_remote_config_hash it reported"),
        sa.Column(
            "config_status",
            sa.Integer,
            nullable=False,
            comment="RemoteConfigStatuses: 1 applied, 2 applying, 3 failed",
        ),
        sa.Column("config_error", sa.Text, nullable=False),
        sa.Column("effective", JSONB, comment="Its effective_config of log_levels"),
    )
    op.create_index("agents_component_idx", "agents", ["component"])
    op.create_table(
        "audit_log",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("at", TIMESTAMP, nullable=False, server_default=sa.func.now()),
        sa.Column("caller", sa.Text, nullable=False, comment="Name of the token"),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("action", sa.Text, nullable=False, comment="The tool"),
        sa.Column("arguments", JSONB, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False, comment="done, or refused: and why"),
    )


def downgrade() -> None:
    for name in ("audit_log", "agents", "level_overrides"):
        op.drop_table(name)
