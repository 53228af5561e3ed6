"""CSR-9 (consent signed) to ``Consent``: one for each purpose the site says a signed consent covers."""

from __future__ import annotations

from typing import Any, Final

from gateway.hl7v2.message import Segment
from gateway.model.names import CONSENT_STUDY
from mappings.context import Context, Draft
from mappings.datatypes.ts import ts_datetime
from mappings.rules import Row, SegmentMap
from mappings.trials.csr import current_study, is_valued

_CODES: Final = "http://terminology.hl7.org/CodeSystem"
_DEFAULT_PURPOSES: Final = ("CLINTRCH",)

CSR_CONSENT: Final = SegmentMap(
    "CSR",
    "Consent",
    rows=(Row("CSR-9", "dateTime", ts_datetime, note="one Consent for each purpose the site declares"),),
)


def consents(csr: Segment, status: str, context: Context) -> list[Draft]:
    """State the Consents of a subject of that status, in the order of the site's purposes; [] when nothing is said.

    ===============================================  ================  =====================================
    message                                          Consent.status    rule
    ===============================================  ================  =====================================
    the subject is withdrawn or not registered       inactive          whether CSR-9 is repeated or not
    CSR-9 is nulled                                  entered-in-error  there never was one
    CSR-9 is valued                                  active            tentative but in C01: a later message
                                                                       that repeats the date revives nothing
    CSR-9 is empty                                   (nothing said)
    ===============================================  ================  =====================================
    """
    state = _state(csr, status)
    if not state:
        return []
    named = current_study(context)
    purposes = context.site.consent_purposes.get(named.id) or _DEFAULT_PURPOSES
    return [_consent(csr, purpose, state, context) for purpose in purposes]


def _state(csr: Segment, status: str) -> str:
    if status in {"withdrawn", "not-registered"}:
        return "inactive"
    if csr.field(9).is_null:
        return "entered-in-error"
    return "active" if is_valued(csr, 9) else ""


def _consent(csr: Segment, purpose: str, state: str, context: Context) -> Draft:
    study = current_study(context).reference
    id = context.common_id("Consent", context.patient, study["reference"], purpose)
    draft = context.draft("Consent", id)
    draft.body |= {
        "extension": [{"url": CONSENT_STUDY, "valueReference": study}],
        "status": state,
        "scope": {"coding": [{"system": f"{_CODES}/consentscope", "code": "research"}]},
        "category": [{"coding": [{"system": f"{_CODES}/consentcategorycodes", "code": "research"}]}],
        "patient": {"reference": f"Patient/{context.patient}"},
        "policyRule": {"coding": [{"system": f"{_CODES}/v3-ActCode", "code": "OPTIN"}]},
        "provision": _provision(csr, purpose, state, context),
    }
    CSR_CONSENT.apply(csr, context, draft)
    if state == "active" and not _is_given_now(csr, context):
        draft.tentative |= {"status", "provision"}
    return draft


def _is_given_now(csr: Segment, context: Context) -> bool:
    """Say whether this message gives the consent: it registers, or takes back the end of the participation."""
    return context.message.event == "C01" or csr.field(15).is_null


def _provision(csr: Segment, purpose: str, state: str, context: Context) -> dict[str, Any]:
    made: dict[str, Any] = {"purpose": [{"system": f"{_CODES}/v3-ActReason", "code": purpose}]}
    if state == "inactive" and is_valued(csr, 15):
        context.at(csr, 15)
        if end := ts_datetime(csr.field(15), context):
            made["period"] = {"end": end}
    return made
