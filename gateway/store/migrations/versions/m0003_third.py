"""What the FHIR API adds to the tables of 0.2.0."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from gateway.store.types import Id, Key, Line, Moment

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add what is new."""
    op.create_index("typed_change", "typed", ["change"])
    _clients()
    _answers()
    _exports()
    _subscriptions()


def _clients() -> None:
    op.create_table(
        "clients",
        sa.Column("name", Key(), nullable=False),
        sa.Column("views", sa.Text(), nullable=False),
        sa.Column("scopes", sa.Text(), nullable=False),
        sa.Column("jwks", sa.Text(), nullable=False),
        sa.Column("jwks_url", Line(), nullable=False),
        sa.Column("secret", sa.LargeBinary(), nullable=True),
        sa.Column("old_jwks", sa.Text(), nullable=False),
        sa.Column("old_jwks_url", Line(), nullable=False),
        sa.Column("old_secret", sa.LargeBinary(), nullable=True),
        sa.Column("old_until", Moment(), nullable=True),
        sa.Column("thumbprints", sa.Text(), nullable=False),
        sa.Column("writes", sa.Boolean(), nullable=False),
        sa.Column("audits", sa.Boolean(), nullable=False),
        sa.Column("per_minute", sa.Integer(), nullable=False),
        sa.Column("added_at", Moment(), nullable=False),
        sa.Column("revoked_at", Moment(), nullable=True),
        sa.PrimaryKeyConstraint("name", name="clients_pkey"),
    )
    op.create_table(
        "tokens",
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("client", Key(), nullable=False),
        sa.Column("scopes", sa.Text(), nullable=False),
        sa.Column("thumbprint", sa.Text(), nullable=False),
        sa.Column("expires_at", Moment(), nullable=False),
        sa.PrimaryKeyConstraint("hash", name="tokens_pkey"),
    )
    op.create_index("tokens_client", "tokens", ["client"])
    op.create_index("tokens_expires_at", "tokens", ["expires_at"])
    op.create_table(
        "assertions",
        sa.Column("client", Key(), nullable=False),
        sa.Column("jti", sa.LargeBinary(), nullable=False),
        sa.Column("expires_at", Moment(), nullable=False),
        sa.PrimaryKeyConstraint("client", "jti", name="assertions_pkey"),
    )
    op.create_index("assertions_expires_at", "assertions", ["expires_at"])


def _answers() -> None:
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "answers",
        sa.Column("id", number, sa.Identity(), nullable=False),
        sa.Column("at", Moment(), nullable=False),
        sa.Column("client", Key(), nullable=False),
        sa.Column("interaction", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("request", sa.LargeBinary(), nullable=False),
        sa.Column("manifest", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="answers_pkey"),
    )
    op.create_index("answers_client", "answers", ["client", "id"])
    op.create_table(
        "answered",
        sa.Column("patient", Id(), nullable=False),
        sa.Column("answer", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("patient", "answer", name="answered_pkey"),
        sqlite_with_rowid=False,
    )


def _exports() -> None:
    op.create_table(
        "exports",
        sa.Column("id", Id(), nullable=False),
        sa.Column("client", Key(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("asked", sa.LargeBinary(), nullable=False),
        sa.Column("cursor", sa.LargeBinary(), nullable=False),
        sa.Column("started_at", Moment(), nullable=False),
        sa.Column("expires_at", Moment(), nullable=False),
        sa.Column("done", sa.Integer(), nullable=False),
        sa.Column("total", sa.Integer(), nullable=False),
        sa.Column("lease_until", Moment(), nullable=True),
        sa.Column("lease_owner", Line(), nullable=True),
        sa.Column("detail", Line(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="exports_pkey"),
    )
    op.create_index("exports_state", "exports", ["state", "started_at"])
    op.create_index("exports_client", "exports", ["client"])
    op.create_table(
        "export_parts",
        sa.Column("export", Id(), nullable=False),
        sa.Column("file", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("resources", sa.Integer(), nullable=False),
        sa.Column("about", sa.LargeBinary(), nullable=False),
        sa.Column("manifest", sa.LargeBinary(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("export", "file", "number", name="export_parts_pkey"),
    )


def _subscriptions() -> None:
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "subscriptions",
        sa.Column("id", Id(), nullable=False),
        sa.Column("client", Key(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("terms", sa.LargeBinary(), nullable=False),
        sa.Column("updated_at", Moment(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("events", sa.BigInteger(), nullable=False),
        sa.Column("settled", sa.BigInteger(), nullable=False),
        sa.Column("sending", sa.BigInteger(), nullable=True),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("failed_at", Moment(), nullable=True),
        sa.Column("told_at", Moment(), nullable=True),
        sa.Column("due_at", Moment(), nullable=True),
        sa.Column("lease_until", Moment(), nullable=True),
        sa.Column("lease_owner", Line(), nullable=True),
        sa.Column("detail", Line(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="subscriptions_pkey"),
    )
    op.create_index("subscriptions_client", "subscriptions", ["client"])
    op.create_index("subscriptions_due", "subscriptions", ["due_at"])
    op.create_table(
        "subscription_triggers",
        sa.Column("id", number, sa.Identity(), nullable=False),
        sa.Column("subscription", Id(), nullable=False),
        sa.Column("patient", Id(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("resource", Id(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("due_at", Moment(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="subscription_triggers_pkey"),
    )
    op.create_index("subscription_triggers_of", "subscription_triggers", ["subscription", "id"])
    op.create_table(
        "subscription_events",
        sa.Column("subscription", Id(), nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("at", Moment(), nullable=False),
        sa.Column("recipient", Key(), nullable=False),
        sa.Column("study", Key(), nullable=False),
        sa.Column("patient", Id(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("resource", Id(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("subscription", "number", name="subscription_events_pkey"),
        sqlite_with_rowid=False,
    )
    op.create_index("subscription_events_at", "subscription_events", ["at"])
