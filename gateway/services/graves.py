"""What was deleted: whoever would see it had it not been is told that it is gone, anybody else that it is not there."""

from __future__ import annotations

from gateway.model.resource import ResourceVersion
from gateway.services.chart import Chart
from gateway.services.pull import Pull


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
