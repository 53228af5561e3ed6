"""Taking a resource back: its id, what FHIR requires, ``entered-in-error``, and nothing else.

======================  ===============================================================================================
type                    what a view gets
======================  ===============================================================================================
Observation             status ``entered-in-error``, code ``unknown``
DiagnosticReport        status ``entered-in-error``, code ``unknown``
Encounter               status ``entered-in-error``, class ``UNK``
Specimen                status ``entered-in-error``
Consent                 status ``entered-in-error``, scope, category and policyRule ``unknown``
ResearchSubject         status ``not-registered`` (R4 has no other), the study and the pseudonymous or internal Patient
Patient                 ``active`` false (R4 has no such status)
any other               an empty body: DELETE
======================  ===============================================================================================

A recipient with ``retraction = "delete"`` gets an empty body for each type: DELETE.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from gateway.model.resource import ResourceVersion
from gateway.release.elements import copy
from gateway.release.identity import PSEUDED
from gateway.release.policy import Rights

_UNKNOWN: Final = {
    "coding": [{"system": "http://terminology.hl7.org/CodeSystem/data-absent-reason", "code": "unknown"}]
}
_NULL: Final = {"system": "http://terminology.hl7.org/CodeSystem/v3-NullFlavor", "code": "UNK"}
_ERROR: Final = "entered-in-error"

_CONSTANT: Final[dict[str, dict[str, Any]]] = {
    "Observation": {"status": _ERROR, "code": _UNKNOWN},
    "DiagnosticReport": {"status": _ERROR, "code": _UNKNOWN},
    "Encounter": {"status": _ERROR, "class": _NULL},
    "Specimen": {"status": _ERROR},
    "Consent": {"status": _ERROR, "scope": _UNKNOWN, "category": [_UNKNOWN], "policyRule": _UNKNOWN},
    "Patient": {"active": False},
}


def retraction(version: ResourceVersion, rights: Rights) -> tuple[str, dict[str, Any]]:
    """Return (id, body) of a retraction as the view must see it; an empty body is a DELETE.

    Nothing of the stored body is read. Raises ``ValueError`` when an id is no UUID.
    """
    public = rights.public_id(version.id)
    if rights.recipient.retraction == "delete":
        return public, {}
    elements = _ELEMENTS.get(version.type, _constant)(version, rights)
    if not elements:
        return public, {}
    meta = {"meta": {"security": [dict(PSEUDED)]}} if rights.pseudonymous else {}
    return public, {"resourceType": version.type, "id": public} | meta | elements


def _constant(version: ResourceVersion, _: Rights) -> dict[str, Any]:
    elements: dict[str, Any] = copy(_CONSTANT.get(version.type, {}))
    return elements


def _research_subject(version: ResourceVersion, rights: Rights) -> dict[str, Any]:
    return {
        "status": "not-registered",
        "study": {"reference": f"ResearchStudy/{rights.public_id(rights.study.resource)}"},
        "individual": {"reference": f"Patient/{rights.public_id(version.patient)}"},
    }


_ELEMENTS: Final[dict[str, Callable[[ResourceVersion, Rights], dict[str, Any]]]] = {
    "ResearchSubject": _research_subject,
}


# --- when ----------------------------------------------------------------------------------------------------------


WRONG: Final = frozenset({"not-a-subject", "study", "before-consent", "merged", "blinded", "deleted", "taken-back"})
"""Rules that say the view should never have held the resource."""

_CORE: Final = {
    "Observation": ("code", "component", "dataAbsentReason"),
    "DiagnosticReport": ("code", "conclusionCode"),
    "Specimen": ("type", "collection"),
}
_CORE_CHOICES: Final = ("value", "effective")
_UNDONE: Final = frozenset({_ERROR, "cancelled"})


def holds_wrongly(before: dict[str, Any], after: dict[str, Any]) -> bool:
    """Whether a corrected resource says something else than the version a view holds.

    That is: it became ``entered-in-error`` or ``cancelled``, or what was measured changed: code, value, time,
    components. A status that went on (``preliminary`` to ``final``), a note or a performer do not make a view wrong.
    """
    if after.get("status") in _UNDONE and before.get("status") not in _UNDONE:
        return True
    kind = after.get("resourceType", "")
    if kind not in _CORE:
        return False
    return _core(before, kind) != _core(after, kind)


def _core(body: dict[str, Any], kind: str) -> dict[str, Any]:
    choices = _CORE_CHOICES if kind != "Specimen" else ()
    return {name: value for name, value in body.items() if name in _CORE[kind] or name.startswith(choices)}
