"""the Argo Server that a cluster names"""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name in ("argo_server", "argo_server_ca"):
        op.add_column("cluster", sa.Column(name, sa.Text(), server_default="", nullable=False), schema="argosy")


def downgrade() -> None:
    for name in ("argo_server_ca", "argo_server"):
        op.drop_column("cluster", name, schema="argosy")
