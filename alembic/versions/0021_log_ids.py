"""A block-range index on the ids of log records: a tail, or a record by its id, reads few blocks. docs/adr/021.

Ids rise as rows are stored, so that a few bytes for each 128 blocks tell where an id can be; storing pays nothing.
"""

from alembic import op

revision = "0021"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("CREATE INDEX log_records_id_idx ON log_records USING brin (id) WITH (autosummarize = true)")


def downgrade() -> None:
    op.execute("DROP INDEX log_records_id_idx")
