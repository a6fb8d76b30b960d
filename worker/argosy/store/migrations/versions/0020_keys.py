"""keys: by which ones this installation seals, so that a process with others does not begin"""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None
serves = "0015"


def upgrade() -> None:
    op.add_column("installation", sa.Column("keys_mark", sa.LargeBinary(), nullable=True), schema="argosy")
    op.add_column("installation", sa.Column("token_key", sa.Text(), nullable=True), schema="argosy")


def downgrade() -> None:
    op.drop_column("installation", "token_key", schema="argosy")
    op.drop_column("installation", "keys_mark", schema="argosy")
