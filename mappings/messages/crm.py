"""``CRM^C01`` to ``C04``: a patient is registered on a study, the registration is cancelled, corrected, or ends.

Structure CRM_C01: MSH { PID [PV1] CSR [{CSP}] }.
"""

from __future__ import annotations

from gateway.errors import StructureError
from gateway.hl7v2.message import Message, Segment
from mappings.context import Context, Draft
from mappings.messages.passing import passing_visit
from mappings.segments.pd1 import PD1_PATIENT
from mappings.segments.pid import patient
from mappings.trials.consent import consents
from mappings.trials.csr import CSP_SUBJECT, CSR_SUBJECT, says_how_it_stands, study


def registration(message: Message, context: Context) -> None:
    """Translate every registration of the message: the Patient, the ResearchSubject, its Consents.

    Raises ``StructureError`` where there is no CSR, or one without a PID before it.
    """
    message.require("CSR")
    person: Draft | None = None
    subject: Draft | None = None
    for segment in message.segments:
        if segment.name == "PID":
            person, subject = patient(segment, context), None
        elif person is None:
            _needs_a_patient(segment)
        elif segment.name == "CSR":
            subject = _subject(segment, context)
        elif segment.name == "CSP" and subject is not None:
            CSP_SUBJECT.apply(segment, context, subject)
        elif segment.name == "PV1":
            passing_visit(segment, context)
        elif segment.name == "PD1":
            PD1_PATIENT.apply(segment, context, person)


def _needs_a_patient(segment: Segment) -> None:
    if segment.name in {"CSR", "CSP", "PV1"}:
        raise StructureError("no PID stands before it", segment.place(), "100")


def _subject(csr: Segment, context: Context) -> Draft:
    """State a subject: the patient's place in the study, under one id whatever its number becomes."""
    named = study(csr, context)
    id = context.common_id("ResearchSubject", context.patient, named.reference["reference"])
    draft = context.draft("ResearchSubject", id)
    draft.body["individual"] = {"reference": f"Patient/{context.patient}"}
    CSR_SUBJECT.apply(csr, context, draft)
    if not says_how_it_stands(csr, context):
        draft.tentative |= {"status"}
    stated = consents(csr, draft.body["status"], context)
    if stated:
        draft.body["consent"] = stated[0].reference
    return draft
