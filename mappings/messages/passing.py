"""A visit as a message mentions it that is not about visits."""

from __future__ import annotations

from gateway.hl7v2.message import Segment
from mappings.context import Context, Draft
from mappings.segments.pv1 import encounter


def passing_visit(pv1: Segment, context: Context) -> Draft | None:
    """State the Encounter that a result or a registration names.

    A laboratory does not know how a visit stands: unless it says that it ended (PV1-45), status and class are tentative
    so that a result sent after the discharge does not open it again.
    """
    draft = encounter(pv1, context)
    if draft is not None and not pv1.value(45):
        draft.tentative |= {"status", "class"}
    return draft
