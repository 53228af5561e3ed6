"""The ports: what the services need of the world, and nothing about how it is done.

``Store`` and ``Transaction`` hold the truth, ``Broker`` moves wake-ups, ``Translator`` turns bytes into statements,
``RecipientAdapter`` makes one attempt, ``Clock`` tells the time. Each real implementation and each fake passes the
same contract test (``tests/contracts``).
"""

from gateway.ports.accounts import Accounts, Period, Received, Twin
from gateway.ports.alerts import Alerts, Channel, FeedNews
from gateway.ports.answers import Answer, Answers, Shown
from gateway.ports.broker import Broker, Event, WakeUp
from gateway.ports.clients import Clients, Holder, KeySetSource
from gateway.ports.edges import Clock, GroupAdapter, Packager, RecipientAdapter, Translator
from gateway.ports.exports import Export, Exports, Part, PartLine
from gateway.ports.rows import (
    AuditEvent,
    Backup,
    Breaker,
    ChangeRange,
    GapLine,
    Hold,
    Holding,
    LaneClaim,
    MessageFilter,
    Process,
    QueueLine,
    Resealed,
    Saved,
    Unreceipted,
    spans,
)
from gateway.ports.sealing import Draft, Horizon, Leases, Misfit, Seal, Seals
from gateway.ports.store import Store, Transaction
from gateway.ports.subscriptions import Hook, Listener, Subscriptions, Telling
from gateway.ports.tables import (
    Audit,
    Breakers,
    CodeMaps,
    Deliveries,
    Lanes,
    Messages,
    Outbox,
    Processes,
    Resources,
    Sealing,
    WorkList,
)

__all__ = [
    "Accounts",
    "Alerts",
    "Answer",
    "Answers",
    "Audit",
    "AuditEvent",
    "Backup",
    "Breaker",
    "Breakers",
    "Broker",
    "ChangeRange",
    "Channel",
    "Clients",
    "Clock",
    "CodeMaps",
    "Deliveries",
    "Draft",
    "Event",
    "Export",
    "Exports",
    "FeedNews",
    "GapLine",
    "GroupAdapter",
    "Hold",
    "Holder",
    "Holding",
    "Hook",
    "Horizon",
    "KeySetSource",
    "LaneClaim",
    "Lanes",
    "Leases",
    "Listener",
    "MessageFilter",
    "Messages",
    "Misfit",
    "Outbox",
    "Packager",
    "Part",
    "PartLine",
    "Period",
    "Process",
    "Processes",
    "QueueLine",
    "Received",
    "RecipientAdapter",
    "Resealed",
    "Resources",
    "Saved",
    "Seal",
    "Sealing",
    "Seals",
    "Shown",
    "Store",
    "Subscriptions",
    "Telling",
    "Transaction",
    "Translator",
    "Twin",
    "Unreceipted",
    "WakeUp",
    "WorkList",
    "spans",
]
