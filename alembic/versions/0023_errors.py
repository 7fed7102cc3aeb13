"""An index on the errors of a component by time (docs/adr/016); writers wait while it is built."""

import sqlalchemy as sa

from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    errors = sa.text("severity_number >= 17")
    op.create_index("log_records_errors_idx", "log_records", ["component", "time"], postgresql_where=errors)


def downgrade() -> None:
    op.drop_index("log_records_errors_idx", "log_records")
