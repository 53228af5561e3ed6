"""``ADT``: A01 A03 A04 A08 A11 (a patient's visit), A28 A31 (a person), A40 (a merge)."""

from __future__ import annotations

from gateway.errors import StructureError
from gateway.hl7v2.message import Message, Segment
from gateway.model.translation import PatientLink
from mappings.context import Context
from mappings.segments.mrg import MRG_PATIENT
from mappings.segments.pd1 import PD1_PATIENT
from mappings.segments.pid import open_patient, patient
from mappings.segments.pv1 import encounter
from mappings.segments.pv2 import PV2_ENCOUNTER


def person(message: Message, context: Context) -> None:
    """A28, A31: the Patient alone. PV1 of these events is there for its form only (class N)."""
    draft = patient(message.require("PID"), context)
    demographics = message.first("PD1")
    if demographics is not None:
        PD1_PATIENT.apply(demographics, context, draft)


def visit(message: Message, context: Context) -> None:
    """A01, A03, A04, A08, A11: the Patient and the Encounter. A cancelled visit stays, with status ``cancelled``."""
    person(message, context)
    pv1, pv2 = message.first("PV1"), message.first("PV2")
    draft = encounter(pv1, context) if pv1 is not None else None
    if draft is not None and pv2 is not None:
        PV2_ENCOUNTER.apply(pv2, context, draft)


def merge(message: Message, context: Context) -> None:
    """A40: the Patient of each MRG is given up for the one of the PID before it; nothing is deleted.

    The old Patient becomes inactive and points to the survivor (``replaced-by``), the survivor points back
    (``replaces``), and a ``PatientLink`` moves what belongs to the old one. Raises ``StructureError`` where a PID or
    MRG stands alone.
    """
    pairs = _pairs(message)
    for pid, mrg in pairs:
        old = open_patient(mrg, (1, 4, 2), context)
        survivor = patient(pid, context)
        if old.id == survivor.id:
            context.at(mrg, 1)
            context.finding("names the same patient as PID-3: nothing to merge")
            continue
        MRG_PATIENT.apply(mrg, context, old)
        old.body["active"] = False
        old.body["link"] = [{"other": survivor.reference, "type": "replaced-by"}]
        survivor.body.setdefault("link", []).append({"other": old.reference, "type": "replaces"})
        context.links[PatientLink(old.id, survivor.id)] = None


def _pairs(message: Message) -> list[tuple[Segment, Segment]]:
    pids = [segment for segment in message.segments if segment.name in {"PID", "MRG"}]
    message.require("PID")
    message.require("MRG")
    pairs = list(zip(pids[::2], pids[1::2], strict=False))
    for pid, mrg in pairs:
        if (pid.name, mrg.name) != ("PID", "MRG"):
            raise StructureError("PID and MRG do not come in pairs", mrg.place(), "100")
    if len(pids) % 2:
        raise StructureError("PID and MRG do not come in pairs", pids[-1].place(), "100")
    return pairs
