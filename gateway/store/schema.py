"""The tables. Clear columns hold ids, codes, dates and states; names and identifiers only inside encrypted ones.

``REVISIONS`` lists the migrations from the first to the newest; a test compares what they build with these tables.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Date,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Sequence,
    SmallInteger,
    Table,
    Text,
    text,
)

from gateway.store.types import Id, Key, Line, Moment

REVISIONS: Final = ("0001", "0002", "0003")
HEAD: Final = REVISIONS[-1]
LANES: Final = 64
TYPED: Final = ("Consent", "Patient", "ResearchStudy", "ResearchSubject")
"""The resource types that ``of_type`` finds."""

IS_STORED: Final = "state = 'stored'"
IS_OTHER: Final = "state NOT IN ('stored', 'translated')"
"""Messages that are neither waiting nor done: few, and what a person lists."""
IS_DUE: Final = "state = 'due'"
IS_SENDING: Final = "state = 'sending'"
IS_DEAD: Final = "state = 'dead'"

metadata = MetaData(
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "ix": "%(table_name)s_%(column_0_N_name)s",
        "uq": "%(table_name)s_u",
    }
)
STRIDE: Final = 4096
"""Change numbers that are drawn at once: those of one append follow each other, whoever else appends."""

changes = Sequence("changes", metadata=metadata, increment=STRIDE)


def numbered(name: str = "id") -> Column[int]:
    """Return a key that the database counts up (a rowid in SQLite)."""
    return Column(name, BigInteger().with_variant(Integer(), "sqlite"), Identity(), primary_key=True)


def _partial(name: str, *columns: str, where: str, unique: bool = False) -> Index:
    """Return an index over the rows that a literal condition names."""
    return Index(name, *columns, unique=unique, sqlite_where=text(where), postgresql_where=text(where))


messages = Table(
    "messages",
    metadata,
    numbered(),
    Column("feed", Key, nullable=False),
    Column("site", Line, nullable=False),
    Column("control_id", Key, nullable=False),
    Column("message_type", Line, nullable=False),
    Column("lane", SmallInteger, nullable=False),
    Column("received_at", Moment, nullable=False),
    Column("state", Text, nullable=False),
    Column("positive", Boolean, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("raw", LargeBinary, nullable=False),
    Column("acknowledgment", LargeBinary, nullable=False),
    Column("reason", Line, nullable=False, server_default=""),
    Column("place", Line, nullable=False, server_default=""),
    Column("code", Text, nullable=False, server_default=""),
    Column("settled_at", Moment),
    Index("messages_seen", "control_id", "feed", "positive", "digest"),
    _partial("messages_waiting", "lane", "id", where=IS_STORED),
    _partial("messages_backlog", "feed", "received_at", where=IS_STORED),
    _partial("messages_other", "state", "id", where=IS_OTHER),
    sqlite_autoincrement=True,
)

pages = Table(
    "pages",
    metadata,
    Column("page", BigInteger().with_variant(Integer(), "sqlite"), primary_key=True, autoincrement=False),
    Column("first_change", BigInteger, nullable=False),
    Column("patient", Id, nullable=False),
    Column("message", BigInteger, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Index("pages_patient", "patient", "page"),
    Index("pages_message", "message"),
)
"""The versions that one message wrote for one patient, as one value; ``page`` is the change of the last of them."""

versions = Table(
    "versions",
    metadata,
    Column("id", Id, primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("change", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
"""Which change a version of a resource is, and so its page."""

typed = Table(
    "typed",
    metadata,
    Column("type", Text, primary_key=True),
    Column("patient", Id, primary_key=True),
    Column("change", BigInteger, primary_key=True, autoincrement=False),
    Column("page", BigInteger, nullable=False),
    Index("typed_change", "change"),
    sqlite_with_rowid=False,
)
"""The versions of the types that ``of_type`` finds."""

amended = Table(
    "amended",
    metadata,
    Column("change", BigInteger().with_variant(Integer(), "sqlite"), primary_key=True, autoincrement=False),
    Column("superseded", Boolean, nullable=False),
    Column("clocks", Text),
)
"""What became of versions after their page was written: there is a newer one; their clocks are others (JSON)."""

deliveries = Table(
    "deliveries",
    metadata,
    numbered(),
    Column("recipient", Key, nullable=False),
    Column("study", Key, nullable=False),
    Column("patient", Id, nullable=False),
    Column("state", Text, nullable=False),
    Column("sent", BigInteger, nullable=False),
    Column("planned", BigInteger, nullable=False),
    Column("window", BigInteger),
    Column("number", Integer, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("due_at", Moment),
    Column("first_failed_at", Moment),
    Column("lease_until", Moment),
    Column("lease_owner", Line),
    Column("claimed_at", Moment),
    Column("claimed_upto", BigInteger),
    Column("open_attempt", BigInteger),
    Column("rewind", BigInteger),
    Column("published_at", Moment),
    Column("detail", Line, nullable=False),
    Index("deliveries_view", "recipient", "study", "patient", unique=True),
    _partial("deliveries_due", "recipient", "due_at", where=IS_DUE),
    _partial("deliveries_sending", "lease_until", where=IS_SENDING),
    _partial("deliveries_dead", "recipient", where=IS_DEAD),
)

attempts = Table(
    "attempts",
    metadata,
    numbered(),
    Column("delivery", BigInteger, nullable=False),
    Column("number", Integer, nullable=False),
    Column("started_at", Moment, nullable=False),
    Column("settled_at", Moment, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("detail", Line, nullable=False),
    Column("upto", BigInteger, nullable=False),
    Column("manifest", LargeBinary, nullable=False),
    Column("grounds", Line, nullable=False, server_default=""),
    Index("attempts_delivery", "delivery", "id"),
)

holdings = Table(
    "holdings",
    metadata,
    Column("delivery", BigInteger, primary_key=True, autoincrement=False),
    Column("upto", BigInteger, nullable=False),
    Column("manifest", LargeBinary, nullable=False),
    Column("unsure", LargeBinary, nullable=False),
)
"""What a cursor's attempts up to one of them left with its view; ``unsure``: the ids of what may not have arrived."""

refused_entries = Table(
    "refused_entries",
    metadata,
    numbered(),
    Column("delivery", BigInteger, nullable=False),
    Column("reference", Line, nullable=False),
    Column("detail", Line, nullable=False),
    Column("refused_at", Moment, nullable=False),
    Index("refused_entries_delivery", "delivery"),
)

shared_holdings = Table(
    "shared_holdings",
    metadata,
    Column("recipient", Key, primary_key=True),
    Column("study", Key, primary_key=True),
    Column("resource", Id, primary_key=True),
    Column("change", BigInteger, nullable=False),
)

lanes = Table(
    "lanes",
    metadata,
    Column("lane", SmallInteger, primary_key=True, autoincrement=False),
    Column("owner", Line),
    Column("lease_until", Moment),
    Column("epoch", BigInteger, nullable=False),
)

gaps = Table(
    "gaps",
    metadata,
    numbered(),
    Column("mark", LargeBinary, nullable=False),
    Column("feed", Line, nullable=False),
    Column("kind", Text, nullable=False),
    Column("place", Line, nullable=False),
    Column("code", Line, nullable=False),
    Column("system", Line, nullable=False),
    Column("unit", Line, nullable=False),
    Column("text", Line, nullable=False),
    Column("mapped_at", Moment),
    Index("gaps_mark", "mark", unique=True),
)

gap_messages = Table(
    "gap_messages",
    metadata,
    Column("gap", BigInteger, primary_key=True, autoincrement=False),
    Column("message", BigInteger, primary_key=True, autoincrement=False),
    Column("seen_at", Moment, nullable=False),
)

holds = Table(
    "holds",
    metadata,
    numbered(),
    Column("kind", Text, nullable=False),
    Column("message", BigInteger, nullable=False),
    Column("resource", Key, nullable=False),
    Column("reason", Line, nullable=False),
    Column("opened_at", Moment, nullable=False),
    Column("closed_at", Moment),
    Index("holds_once", "kind", "message", "resource", unique=True),
)

audit = Table(
    "audit",
    metadata,
    numbered(),
    Column("at", Moment, nullable=False),
    Column("action", Key, nullable=False),
    Column("actor", Line, nullable=False),
    Column("subject", Key, nullable=False),
    Column("detail", Line, nullable=False),
    Index("audit_subject", "subject", "id"),
    Index("audit_action", "action", "id"),
)

seals = Table(
    "seals",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("at", Moment, nullable=False),
    Column("ledger", Key, nullable=False),
    Column("after", BigInteger, nullable=False),
    Column("upto", BigInteger, nullable=False),
    Column("marks", LargeBinary, nullable=False),
    Column("mac", LargeBinary, nullable=False),
    Index("seals_ledger", "ledger", "number"),
)
"""What a ledger's rows ``after`` < id <= ``upto`` were: a mark for each, chained by ``mac`` to the seal before."""

leases = Table(
    "leases",
    metadata,
    Column("name", Key, primary_key=True),
    Column("owner", Line, nullable=False),
    Column("lease_until", Moment, nullable=False),
)
"""Who does what one process alone may do."""

code_map_changes = Table(
    "code_map_changes",
    metadata,
    numbered(),
    Column("site", Key, nullable=False),
    Column("author", Line, nullable=False),
    Column("reason", Line, nullable=False),
    Column("at", Moment, nullable=False),
)

code_map = Table(
    "code_map",
    metadata,
    numbered(),
    Column("site", Key, nullable=False),
    Column("imported", Boolean, nullable=False),
    Column("added", BigInteger, nullable=False),
    Column("removed", BigInteger),
    Column("code", Line, nullable=False),
    Column("system", Line, nullable=False),
    Column("unit", Line, nullable=False),
    Column("codings", Text, nullable=False),
    Column("ucum", Line, nullable=False),
    Column("assumed_unit", Line, nullable=False),
    Column("low", Text),
    Column("high", Text),
    Column("method_required", Boolean, nullable=False),
    Column("valid_from", Date),
    Column("valid_until", Date),
    Index("code_map_site", "site", "removed"),
)

breakers = Table(
    "breakers",
    metadata,
    Column("recipient", Key, primary_key=True),
    Column("failures", Integer, nullable=False),
    Column("open_until", Moment),
    Column("reason", Line, nullable=False),
)

processes = Table(
    "processes",
    metadata,
    Column("owner", Key, primary_key=True),
    Column("roles", Line, nullable=False),
    Column("began_at", Moment, nullable=False),
    Column("seen_at", Moment, nullable=False),
)

outbox = Table(
    "outbox",
    metadata,
    Column("message_id", Key, primary_key=True),
    Column("recipient", Key, primary_key=True),
    Column("delivery", BigInteger, nullable=False),
    Column("routing_key", Line, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("added_at", Moment, nullable=False),
    Column("published_at", Moment, nullable=False),
    Index("outbox_published", "recipient", "published_at"),
)

patient_keys = Table(
    "patient_keys",
    metadata,
    Column("hash", LargeBinary, primary_key=True),
    Column("patient", Id, nullable=False),
)

patient_links = Table(
    "patient_links",
    metadata,
    Column("alias", Id, primary_key=True),
    Column("survivor", Id, nullable=False),
    Index("patient_links_survivor", "survivor"),
)

key_checks = Table(
    "key_checks",
    metadata,
    Column("name", Text, primary_key=True),
    Column("check", LargeBinary, nullable=False),
)
"""By what each key is recognised again (a keyed hash of its name): a wrong key file is noticed before it does harm."""

alerts = Table(
    "alerts",
    metadata,
    Column("trouble", Text, primary_key=True),
    Column("subject", Key, primary_key=True),
    Column("detail", Line, nullable=False),
    Column("began_at", Moment, nullable=False),
    Column("ended_at", Moment),
    Column("told", Line, nullable=False),
)

rhythms = Table(
    "rhythms",
    metadata,
    Column("feed", Key, primary_key=True),
    Column("last_at", Moment, nullable=False),
    Column("since", Moment, nullable=False),
    Column("longest", BigInteger, nullable=False),
    Column("before", BigInteger, nullable=False),
    Column("messages", BigInteger, nullable=False),
    Column("seen", BigInteger, nullable=False),
)
"""How each feed usually speaks; silences in milliseconds."""
