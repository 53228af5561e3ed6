"""``CTI`` (clinical trial identification): which study, phase and protocol visit a result or a visit belongs to."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from gateway.errors import StructureError
from gateway.hl7v2.message import Field, Message, Segment
from gateway.model.names import PROTOCOL_VISIT, TREATMENT_PHASE
from mappings.context import Context, Draft
from mappings.datatypes.cwe import cwe_concept
from mappings.rules import Row, SegmentMap
from mappings.trials.studies import WORKFLOW_STUDY, study_of

_MOST: Final = 100
_RESULTS: Final = frozenset({"Observation", "DiagnosticReport"})


def in_study(found: Field, context: Context) -> dict[str, Any] | None:
    """CTI-1: FHIR's extension workflow-researchStudy."""
    named = study_of(found, context)
    return {"url": WORKFLOW_STUDY, "valueReference": named.reference} if named else None


def protocol_visit(found: Field, context: Context) -> dict[str, Any] | None:
    """CTI-3: the visit of the protocol, as an extension."""
    made = cwe_concept(found, context)
    return {"url": PROTOCOL_VISIT, "valueCodeableConcept": made} if made else None


def treatment_phase(found: Field, context: Context) -> dict[str, Any] | None:
    """CTI-2: the phase of the protocol's treatment (not of the trial), as an extension."""
    made = cwe_concept(found, context)
    return {"url": TREATMENT_PHASE, "extension": [{"url": "phase", "valueCodeableConcept": made}]} if made else None


CTI_RESULT: Final = SegmentMap(
    "CTI",
    "Observation",
    rows=(
        Row("CTI-1", "extension", in_study, repeats=True, note="workflow-researchStudy"),
        Row("CTI-2", "extension", treatment_phase, repeats=True, note="treatment-phase"),
        Row("CTI-3", "extension", protocol_visit, repeats=True, note="protocol-visit"),
    ),
    not_mapped={"CTI-4": "action code: what becomes of a result is in OBX-11"},
    title="and DiagnosticReport, Encounter",
)


def link(ctis: Iterable[Segment], drafts: Iterable[Draft], context: Context) -> None:
    """Place these resources in the studies of these CTI segments. Raises ``StructureError`` for more than 100."""
    made = Draft("Observation", "", {})
    for cti in ctis:
        CTI_RESULT.apply(cti, context, made)
    extensions = made.body.get("extension")
    if not extensions:
        return
    if len(extensions) > _MOST:
        raise StructureError(f"more than {_MOST} studies, phases and visits for one result", cti.place(), "102")
    for draft in drafts:
        draft.unseal()
        held = draft.body.setdefault("extension", [])
        held += [extension for extension in extensions if extension not in held]


def link_message(message: Message, context: Context) -> None:
    """Place what a message says in the study of a CTI that stands outside any order, or in a message without orders.

    A message of results places its results, any other the visit too.
    """
    outside = context.memo.get(OUTSIDE)
    ctis = message.all("CTI") if outside is None else outside
    if ctis:
        kinds = _RESULTS if outside is not None else _RESULTS | {"Encounter"}
        link(ctis, [draft for draft in context.drafts.values() if draft.type in kinds], context)


OUTSIDE: Final = "CTI outside the orders"
"""Where a message rule that looks at orders notes (in ``Context.memo``) the CTI segments it did not use."""
