"""The first tables."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

from gateway.store.types import Id, Key, Line, Moment

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def number() -> sa.Column[Any]:
    """Return a key that the database counts up."""
    return sa.Column("id", NUMBER, sa.Identity(), nullable=False)


def upgrade() -> None:
    """Make every table, the sequence of the changes and the 64 lanes."""
    if op.get_bind().dialect.name == "postgresql":
        op.execute(sa.schema.CreateSequence(sa.Sequence("changes")))
    for make in (
        _messages,
        _resource_versions,
        _written,
        _deliveries,
        _attempts,
        _refused_entries,
        _shared_holdings,
        _lanes,
        _gaps,
        _gap_messages,
        _holds,
        _audit,
        _code_map_changes,
        _code_map,
        _breakers,
        _processes,
        _outbox,
        _patient_keys,
        _patient_links,
        _key_checks,
    ):
        make()
    lanes = sa.table("lanes", sa.column("lane", sa.SmallInteger()), sa.column("epoch", sa.BigInteger()))
    op.bulk_insert(lanes, [{"lane": lane, "epoch": 0} for lane in range(64)])


def _messages() -> None:
    op.create_table(
        "messages",
        number(),
        sa.Column("feed", Key(), nullable=False),
        sa.Column("site", Line(), nullable=False),
        sa.Column("control_id", Key(), nullable=False),
        sa.Column("message_type", Line(), nullable=False),
        sa.Column("lane", sa.SmallInteger(), nullable=False),
        sa.Column("received_at", Moment(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("positive", sa.Boolean(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("raw", sa.LargeBinary(), nullable=False),
        sa.Column("acknowledgment", sa.LargeBinary(), nullable=False),
        sa.Column("reason", Line(), server_default="", nullable=False),
        sa.Column("place", Line(), server_default="", nullable=False),
        sa.Column("settled_at", Moment()),
        sa.PrimaryKeyConstraint("id", name="messages_pkey"),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "messages_backlog",
        "messages",
        ["feed", "received_at"],
        unique=False,
        sqlite_where=sa.text("state = 'stored'"),
        postgresql_where=sa.text("state = 'stored'"),
    )
    op.create_index(
        "messages_other",
        "messages",
        ["state", "id"],
        unique=False,
        sqlite_where=sa.text("state NOT IN ('stored', 'translated')"),
        postgresql_where=sa.text("state NOT IN ('stored', 'translated')"),
    )
    op.create_index("messages_seen", "messages", ["control_id", "feed", "positive", "digest"])
    op.create_index(
        "messages_waiting",
        "messages",
        ["lane", "id"],
        unique=False,
        sqlite_where=sa.text("state = 'stored'"),
        postgresql_where=sa.text("state = 'stored'"),
    )


def _resource_versions() -> None:
    op.create_table(
        "resource_versions",
        sa.Column("change", NUMBER, autoincrement=False, nullable=False),
        sa.Column("id", Id(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("patient", Id(), nullable=False),
        sa.Column("message", sa.BigInteger(), nullable=False),
        sa.Column("stored_at", Moment(), nullable=False),
        sa.Column("code", Line(), nullable=False),
        sa.Column("date", Moment()),
        sa.Column("status", Line(), nullable=False),
        sa.Column("held", Line(), nullable=False),
        sa.Column("clocks", sa.Text(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("own", sa.LargeBinary()),
        sa.PrimaryKeyConstraint("change", name="resource_versions_pkey"),
    )
    op.create_index("resource_versions_patient", "resource_versions", ["patient", "change"])
    op.create_index(
        "resource_versions_typed",
        "resource_versions",
        ["type", "patient"],
        unique=False,
        sqlite_where=sa.text("type IN ('Consent', 'Patient', 'ResearchStudy', 'ResearchSubject')"),
        postgresql_where=sa.text("type IN ('Consent', 'Patient', 'ResearchStudy', 'ResearchSubject')"),
    )
    op.create_index("resource_versions_version", "resource_versions", ["id", "version"], unique=True)


def _written() -> None:
    op.create_table(
        "written",
        sa.Column("message", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("first_change", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("last_change", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("message", "first_change", name="written_pkey"),
    )


def _deliveries() -> None:
    op.create_table(
        "deliveries",
        number(),
        sa.Column("recipient", Key(), nullable=False),
        sa.Column("study", Key(), nullable=False),
        sa.Column("patient", Id(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("sent", sa.BigInteger(), nullable=False),
        sa.Column("planned", sa.BigInteger(), nullable=False),
        sa.Column("window", sa.BigInteger()),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("due_at", Moment()),
        sa.Column("first_failed_at", Moment()),
        sa.Column("lease_until", Moment()),
        sa.Column("lease_owner", Line()),
        sa.Column("claimed_at", Moment()),
        sa.Column("claimed_upto", sa.BigInteger()),
        sa.Column("open_attempt", sa.BigInteger()),
        sa.Column("rewind", sa.BigInteger()),
        sa.Column("published_at", Moment()),
        sa.Column("detail", Line(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="deliveries_pkey"),
    )
    op.create_index(
        "deliveries_dead",
        "deliveries",
        ["recipient"],
        unique=False,
        sqlite_where=sa.text("state = 'dead'"),
        postgresql_where=sa.text("state = 'dead'"),
    )
    op.create_index(
        "deliveries_due",
        "deliveries",
        ["recipient", "due_at"],
        unique=False,
        sqlite_where=sa.text("state = 'due'"),
        postgresql_where=sa.text("state = 'due'"),
    )
    op.create_index(
        "deliveries_sending",
        "deliveries",
        ["lease_until"],
        unique=False,
        sqlite_where=sa.text("state = 'sending'"),
        postgresql_where=sa.text("state = 'sending'"),
    )
    op.create_index("deliveries_view", "deliveries", ["recipient", "study", "patient"], unique=True)


def _attempts() -> None:
    op.create_table(
        "attempts",
        number(),
        sa.Column("delivery", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("started_at", Moment(), nullable=False),
        sa.Column("settled_at", Moment(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("detail", Line(), nullable=False),
        sa.Column("upto", sa.BigInteger(), nullable=False),
        sa.Column("manifest", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="attempts_pkey"),
    )
    op.create_index("attempts_delivery", "attempts", ["delivery", "id"])


def _refused_entries() -> None:
    op.create_table(
        "refused_entries",
        number(),
        sa.Column("delivery", sa.BigInteger(), nullable=False),
        sa.Column("reference", Line(), nullable=False),
        sa.Column("detail", Line(), nullable=False),
        sa.Column("refused_at", Moment(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="refused_entries_pkey"),
    )
    op.create_index("refused_entries_delivery", "refused_entries", ["delivery"])


def _shared_holdings() -> None:
    op.create_table(
        "shared_holdings",
        sa.Column("recipient", Key(), nullable=False),
        sa.Column("study", Key(), nullable=False),
        sa.Column("resource", Id(), nullable=False),
        sa.Column("change", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("recipient", "study", "resource", name="shared_holdings_pkey"),
    )


def _lanes() -> None:
    op.create_table(
        "lanes",
        sa.Column("lane", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("owner", Line()),
        sa.Column("lease_until", Moment()),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("lane", name="lanes_pkey"),
    )


def _gaps() -> None:
    op.create_table(
        "gaps",
        number(),
        sa.Column("mark", sa.LargeBinary(), nullable=False),
        sa.Column("feed", Line(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("place", Line(), nullable=False),
        sa.Column("code", Line(), nullable=False),
        sa.Column("system", Line(), nullable=False),
        sa.Column("unit", Line(), nullable=False),
        sa.Column("text", Line(), nullable=False),
        sa.Column("mapped_at", Moment()),
        sa.PrimaryKeyConstraint("id", name="gaps_pkey"),
    )
    op.create_index("gaps_mark", "gaps", ["mark"], unique=True)


def _gap_messages() -> None:
    op.create_table(
        "gap_messages",
        sa.Column("gap", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("message", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("seen_at", Moment(), nullable=False),
        sa.PrimaryKeyConstraint("gap", "message", name="gap_messages_pkey"),
    )


def _holds() -> None:
    op.create_table(
        "holds",
        number(),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("message", sa.BigInteger(), nullable=False),
        sa.Column("resource", Key(), nullable=False),
        sa.Column("reason", Line(), nullable=False),
        sa.Column("opened_at", Moment(), nullable=False),
        sa.Column("closed_at", Moment()),
        sa.PrimaryKeyConstraint("id", name="holds_pkey"),
    )
    op.create_index("holds_once", "holds", ["kind", "message", "resource"], unique=True)


def _audit() -> None:
    op.create_table(
        "audit",
        number(),
        sa.Column("at", Moment(), nullable=False),
        sa.Column("action", Key(), nullable=False),
        sa.Column("actor", Line(), nullable=False),
        sa.Column("subject", Key(), nullable=False),
        sa.Column("detail", Line(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="audit_pkey"),
    )
    op.create_index("audit_action", "audit", ["action", "id"])
    op.create_index("audit_subject", "audit", ["subject", "id"])


def _code_map_changes() -> None:
    op.create_table(
        "code_map_changes",
        number(),
        sa.Column("site", Key(), nullable=False),
        sa.Column("author", Line(), nullable=False),
        sa.Column("reason", Line(), nullable=False),
        sa.Column("at", Moment(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="code_map_changes_pkey"),
    )


def _code_map() -> None:
    op.create_table(
        "code_map",
        number(),
        sa.Column("site", Key(), nullable=False),
        sa.Column("imported", sa.Boolean(), nullable=False),
        sa.Column("added", sa.BigInteger(), nullable=False),
        sa.Column("removed", sa.BigInteger()),
        sa.Column("code", Line(), nullable=False),
        sa.Column("system", Line(), nullable=False),
        sa.Column("unit", Line(), nullable=False),
        sa.Column("codings", sa.Text(), nullable=False),
        sa.Column("ucum", Line(), nullable=False),
        sa.Column("assumed_unit", Line(), nullable=False),
        sa.Column("low", sa.Text()),
        sa.Column("high", sa.Text()),
        sa.Column("method_required", sa.Boolean(), nullable=False),
        sa.Column("valid_from", sa.Date()),
        sa.Column("valid_until", sa.Date()),
        sa.PrimaryKeyConstraint("id", name="code_map_pkey"),
    )
    op.create_index("code_map_site", "code_map", ["site", "removed"])


def _breakers() -> None:
    op.create_table(
        "breakers",
        sa.Column("recipient", Key(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("open_until", Moment()),
        sa.Column("reason", Line(), nullable=False),
        sa.PrimaryKeyConstraint("recipient", name="breakers_pkey"),
    )


def _processes() -> None:
    op.create_table(
        "processes",
        sa.Column("owner", Key(), nullable=False),
        sa.Column("roles", Line(), nullable=False),
        sa.Column("began_at", Moment(), nullable=False),
        sa.Column("seen_at", Moment(), nullable=False),
        sa.PrimaryKeyConstraint("owner", name="processes_pkey"),
    )


def _outbox() -> None:
    op.create_table(
        "outbox",
        sa.Column("message_id", Key(), nullable=False),
        sa.Column("recipient", Key(), nullable=False),
        sa.Column("delivery", sa.BigInteger(), nullable=False),
        sa.Column("routing_key", Line(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("added_at", Moment(), nullable=False),
        sa.Column("published_at", Moment(), nullable=False),
        sa.PrimaryKeyConstraint("message_id", "recipient", name="outbox_pkey"),
    )
    op.create_index("outbox_published", "outbox", ["recipient", "published_at"])


def _patient_keys() -> None:
    op.create_table(
        "patient_keys",
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("patient", Id(), nullable=False),
        sa.PrimaryKeyConstraint("hash", name="patient_keys_pkey"),
    )


def _patient_links() -> None:
    op.create_table(
        "patient_links",
        sa.Column("alias", Id(), nullable=False),
        sa.Column("survivor", Id(), nullable=False),
        sa.PrimaryKeyConstraint("alias", name="patient_links_pkey"),
    )
    op.create_index("patient_links_survivor", "patient_links", ["survivor"])


def _key_checks() -> None:
    op.create_table(
        "key_checks",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("check", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="key_checks_pkey"),
    )
