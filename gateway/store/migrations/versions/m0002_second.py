"""What 0.2.0 adds to the tables of 0.1.0."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from gateway.store.types import Key, Line, Moment

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add what is new; rows written before stay readable as they are."""
    op.add_column("attempts", sa.Column("grounds", Line(), server_default="", nullable=False))
    _seals()
    _leases()


def _seals() -> None:
    op.create_table(
        "seals",
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("at", Moment(), nullable=False),
        sa.Column("ledger", Key(), nullable=False),
        sa.Column("after", sa.BigInteger(), nullable=False),
        sa.Column("upto", sa.BigInteger(), nullable=False),
        sa.Column("marks", sa.LargeBinary(), nullable=False),
        sa.Column("mac", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("number", name="seals_pkey"),
    )
    op.create_index("seals_ledger", "seals", ["ledger", "number"])


def _leases() -> None:
    op.create_table(
        "leases",
        sa.Column("name", Key(), nullable=False),
        sa.Column("owner", Line(), nullable=False),
        sa.Column("lease_until", Moment(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="leases_pkey"),
    )
