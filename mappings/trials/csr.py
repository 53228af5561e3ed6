"""``CSR`` (clinical study registration) and ``CSP`` (its phases) to ``ResearchSubject``.

CRM^C01 registers, C02 cancels, C03 corrects, C04 ends. A correction says how a subject stands only where it says so
(CSR-10, CSR-15, CSR-16): else its status is tentative, so that correcting the date of a withdrawn subject's
registration does not bring the subject back.
"""

from __future__ import annotations

from typing import Any, Final

from gateway.errors import MappingError
from gateway.hl7v2.message import Field, Segment
from gateway.model.names import REASON_ENDED, SUBJECT_NUMBER, TREATMENT_PHASE
from mappings.context import Context
from mappings.datatypes.cwe import cwe_concept
from mappings.datatypes.cx import cx
from mappings.datatypes.ts import period, ts_datetime
from mappings.rules import Row, Rule, SegmentMap
from mappings.tables import user_table
from mappings.trials.studies import NamedStudy, study_of

_ELIGIBILITY: Final = user_table("csr10_eligibility")
_REASONS: Final = user_table("csr16_reason_ended")
_STUDY: Final = "study of the CSR"


def study(csr: Segment, context: Context) -> NamedStudy:
    """Return the study of a CSR, by CSR-1 or else CSR-2. Raises ``MappingError`` (101) when it names none."""
    for number in (1, 2):
        context.at(csr, number)
        if named := study_of(csr.field(number), context):
            context.memo[_STUDY] = named
            return named
    raise MappingError("the study is not said", csr.place(1), "101")


def current_study(context: Context) -> NamedStudy:
    """Return the study of the CSR being read."""
    named: NamedStudy = context.memo[_STUDY]
    return named


def study_reference(_csr: Segment, context: Context) -> dict[str, Any]:
    """CSR-1, else CSR-2: the study of the configuration the sponsor's id stands for."""
    return current_study(context).reference


def subject_number(found: Field, context: Context) -> dict[str, Any] | None:
    """CSR-4: the subject number; its system is the study's."""
    value = found.component(1)
    return {"system": _number_system(context), "value": value} if value else None


def alternate_number(found: Field, context: Context) -> dict[str, Any] | None:
    """CSR-5: another number of the subject, by its authority, else in a system beside the study's own."""
    if found.component(4) or found.component(5):
        made = cx(found, context)
        return made.body if made else None
    value = found.component(1)
    return {"system": f"{_number_system(context)}/alternate", "value": value} if value else None


def _number_system(context: Context) -> str:
    named = current_study(context)
    if named.id:
        return f"{SUBJECT_NUMBER}/{named.id}"
    return context.site.scoped("subject-number", named.reference["reference"].rpartition("/")[2])


def is_valued(csr: Segment, number: int) -> bool:
    """Say whether a field says something other than that it is no longer so."""
    found = csr.field(number)
    return bool(found) and not found.is_null


def status(csr: Segment, context: Context) -> str:
    """Return how a subject stands.

    =====================================  ==============================================================
    message                                ResearchSubject.status
    =====================================  ==============================================================
    C02                                    not-registered
    C04, or CSR-15 valued                  by CSR-16: withdrawn or off-study; off-study when it is empty
    CSR-10 other than eligible             what the table says: screening, ineligible ...
    CSR-6 or CSR-11 valued                 on-study
    otherwise                              eligible when CSR-10 says so, else candidate
    =====================================  ==============================================================
    """
    event = context.message.event
    if event == "C02":
        return "not-registered"
    if event == "C04" or is_valued(csr, 15):
        return _ended(csr, context)
    eligibility = _through(_ELIGIBILITY, csr, 10, context)
    if eligibility not in {"", "eligible"}:
        return eligibility
    if is_valued(csr, 6) or is_valued(csr, 11):
        return "on-study"
    return eligibility or "candidate"


def _ended(csr: Segment, context: Context) -> str:
    return _through(_REASONS, csr, 16, context) or "off-study"


def _through(table: Any, csr: Segment, number: int, context: Context) -> str:
    """Return the status a code of CSR-10 or CSR-16 stands for; a code the table lacks is a gap, the site's default."""
    context.at(csr, number)
    code = csr.value(number)
    if not code:
        return ""
    target = table.targets.get(code.upper())
    if target is not None:
        return str(target.code)
    context.gap("table", code, system=csr.value(number, 3), text=csr.value(number, 2))
    return context.site.defaults.get(f"CSR-{number}", "")


def says_how_it_stands(csr: Segment, context: Context) -> bool:
    """Say whether the status is meant in earnest: every event does but a correction that leaves CSR-10, -15, -16."""
    return context.message.event != "C03" or any(csr.field(number) for number in (10, 15, 16))


def participation(csr: Segment, context: Context) -> dict[str, Any] | None:
    """CSR-6 (registered) to CSR-15 (ended)."""
    ends = []
    for number in (6, 15):
        context.at(csr, number)
        ends.append(ts_datetime(csr.field(number), context) if is_valued(csr, number) else None)
    if context.message.event == "C04" and ends[1] is None:
        context.finding("the end of the study is not said")
    return period(ends[0], ends[1], context)


def arm(csr: Segment, _context: Context) -> str | None:
    """CSR-12: the arm of the newest randomisation (the last repetition), by its code: ``ResearchStudy.arm.name``."""
    arms = [found for found in csr.repeats(12) if not found.is_null]
    return (arms[-1].component(1) or arms[-1].component(2) or None) if arms else None


def reason_ended(found: Field, context: Context) -> dict[str, Any] | None:
    """CSR-16, as an extension: why the subject left."""
    made = cwe_concept(found, context)
    return {"url": REASON_ENDED, "valueCodeableConcept": made} if made else None


_PERSON: Final = "no recipient is entitled to it"

CSR_SUBJECT: Final = SegmentMap(
    "CSR",
    "ResearchSubject",
    rows=(
        Row("CSR-4", "identifier", subject_number, repeats=True),
        Row("CSR-5", "identifier", alternate_number, repeats=True),
        Rule(("CSR-6", "CSR-10", "CSR-11", "CSR-15", "CSR-16"), "status", status, note="with the event"),
        Rule(("CSR-6", "CSR-15"), "period", participation),
        Rule(("CSR-1", "CSR-2"), "study", study_reference),
        Rule(("CSR-12",), "assignedArm", arm, note="what the subject really followed (actualArm) is not said"),
        Row("CSR-16", "extension", reason_ended, repeats=True, note="reason-ended"),
    ),
    not_mapped={
        "CSR-3": "institution that registers: the feed says it",
        "CSR-7": f"who registered: {_PERSON}",
        "CSR-8": f"who authorised: {_PERSON}",
        "CSR-13": "stratum: no FHIR element, and it can tell the arm",
        "CSR-14": "evaluability: no FHIR element",
    },
)


def phase(csp: Segment, context: Context) -> list[dict[str, Any]]:
    """CSP-1 and its time (CSP-2 to CSP-3): one extension each, the phase of the protocol's treatment."""
    context.at(csp, 1)
    concept = cwe_concept(csp.field(1), context) if is_valued(csp, 1) else None
    if concept is None:
        return []
    parts = [{"url": "phase", "valueCodeableConcept": concept}]
    ends = []
    for number in (2, 3):
        context.at(csp, number)
        ends.append(ts_datetime(csp.field(number), context) if is_valued(csp, number) else None)
    if lasted := period(ends[0], ends[1], context):
        parts.append({"url": "period", "valuePeriod": lasted})
    return [{"url": TREATMENT_PHASE, "extension": parts}]


CSP_SUBJECT: Final = SegmentMap(
    "CSP",
    "ResearchSubject",
    rows=(Rule(("CSP-1", "CSP-2", "CSP-3"), "extension", phase, repeats=True, note="treatment-phase"),),
    not_mapped={"CSP-4": "evaluability: no FHIR element"},
)
