"""What was deleted: whoever would see it had it not been is told that it is gone, anybody else that it is not there."""

from __future__ import annotations

from typing import Final

from gateway.model.resource import ResourceVersion
from gateway.ports import Transaction
from gateway.services.chart import Chart
from gateway.services.pull import Pull

_SUBSCRIPTION: Final = "Subscription"


def is_gone(pull: Pull, type: str, id: str) -> bool:
    """Whether a caller is told that a resource was deleted."""
    return ended(pull.tx, pull.caller.client, id) if type == _SUBSCRIPTION else deleted(pull, type, id) is not None


def ended(tx: Transaction, client: str, id: str) -> bool:
    """Whether a client took a subscription of its own away: that alone is kept of it, in the audit trail."""
    lines = tx.audit.find(subject=f"subscription/{id}", action="subscription-deleted", limit=1)
    return any(line.actor == client for line in lines)


def deleted(pull: Pull, type: str, id: str) -> tuple[Chart, ResourceVersion] | None:
    """Return the version that says a resource was deleted, and the chart it was in; None: there is none.

    ``id``: by which a view of the caller's knew it.
    """
    for rights in pull.views:
        if type not in rights.types:
            continue
        try:
            internal = rights.internal_id(id)
            head = pull.tx.resources.heads((internal,)).get(internal)
        except ValueError:
            continue
        if head is None or not head.gone or head.type != type:
            continue
        # What entitled the view to it may be gone itself: then it is not told.
        alive = head.but(gone=False)
        others = pull.tx.resources.of_patient(head.patient) if head.patient else ()
        before = [alive if one.id == head.id else one for one in others] or None
        if Chart(pull, rights, head.patient, before).seen(alive) is not None:
            return pull.chart(rights, head.patient), head
    return None
