"""What 0.2.0 adds to the tables of 0.1.0."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import context, op

from gateway.store.migrations.repack import repack
from gateway.store.types import Id, Key, Line, Moment

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add what is new; move the versions written before into pages."""
    op.add_column("messages", sa.Column("code", sa.Text(), server_default="", nullable=False))
    op.add_column("attempts", sa.Column("grounds", Line(), server_default="", nullable=False))
    _seals()
    _leases()
    _alerts()
    _rhythms()
    _holdings()
    _pages()
    repack(op.get_bind(), context.config.attributes["cipher"])
    op.drop_table("resource_versions")
    op.drop_table("written")


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


def _holdings() -> None:
    op.create_table(
        "holdings",
        sa.Column("delivery", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("upto", sa.BigInteger(), nullable=False),
        sa.Column("manifest", sa.LargeBinary(), nullable=False),
        sa.Column("unsure", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("delivery", name="holdings_pkey"),
    )


def _pages() -> None:
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "pages",
        sa.Column("page", number, autoincrement=False, nullable=False),
        sa.Column("first_change", sa.BigInteger(), nullable=False),
        sa.Column("patient", Id(), nullable=False),
        sa.Column("message", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("page", name="pages_pkey"),
    )
    op.create_index("pages_patient", "pages", ["patient", "page"])
    op.create_index("pages_message", "pages", ["message"])
    op.create_table(
        "versions",
        sa.Column("id", Id(), nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("change", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", "version", name="versions_pkey"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "typed",
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("patient", Id(), nullable=False),
        sa.Column("change", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("page", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("type", "patient", "change", name="typed_pkey"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "amended",
        sa.Column("change", number, autoincrement=False, nullable=False),
        sa.Column("superseded", sa.Boolean(), nullable=False),
        sa.Column("clocks", sa.Text()),
        sa.PrimaryKeyConstraint("change", name="amended_pkey"),
    )
    if op.get_bind().dialect.name == "postgresql":
        op.execute("ALTER SEQUENCE changes INCREMENT BY 4096")
        # Encrypted bytes do not compress; what leaves room for another in the block stays where its row is.
        op.execute("ALTER TABLE pages ALTER COLUMN body SET STORAGE EXTERNAL, SET (toast_tuple_target = 4080)")


def _alerts() -> None:
    op.create_table(
        "alerts",
        sa.Column("trouble", sa.Text(), nullable=False),
        sa.Column("subject", Key(), nullable=False),
        sa.Column("detail", Line(), nullable=False),
        sa.Column("began_at", Moment(), nullable=False),
        sa.Column("ended_at", Moment(), nullable=True),
        sa.Column("told", Line(), nullable=False),
        sa.PrimaryKeyConstraint("trouble", "subject", name="alerts_pkey"),
    )


def _rhythms() -> None:
    op.create_table(
        "rhythms",
        sa.Column("feed", Key(), nullable=False),
        sa.Column("last_at", Moment(), nullable=False),
        sa.Column("since", Moment(), nullable=False),
        sa.Column("longest", sa.BigInteger(), nullable=False),
        sa.Column("before", sa.BigInteger(), nullable=False),
        sa.Column("messages", sa.BigInteger(), nullable=False),
        sa.Column("seen", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("feed", name="rhythms_pkey"),
    )
