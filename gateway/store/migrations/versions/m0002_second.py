"""What 0.2.0 adds to the tables of 0.1.0."""

from __future__ import annotations

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add what is new; rows written before stay readable as they are."""
