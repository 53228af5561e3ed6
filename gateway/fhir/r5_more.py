"""R5 of what stands around care: documents, groups, tasks, provenance, and who gives it ("R4 Differences" of each)."""

from __future__ import annotations

from typing import Any, Final

from gateway.fhir.r5_steps import (
    CONCEPT,
    LISTED,
    Change,
    Object,
    Step,
    alter,
    coded,
    drop,
    each,
    edited,
    join,
    rename,
    tuck,
)

_RELATION: Final = coded("http://hl7.org/fhir/document-relationship-type")
_ATTESTED: Final = "http://hl7.org/fhir/composition-attestation-mode"
_CONTEXT: Final = ("facilityType", "practiceSetting", "period")


def _identifiers(it: Object) -> None:
    if "masterIdentifier" in it:
        it["identifier"] = [*it.get("identifier", ()), it.pop("masterIdentifier")]


def _context(it: Object) -> None:
    """Move what stood in ``context`` to where R5 has it; sourcePatientInfo and related have no place."""
    context = it.pop("context", {})
    it |= {name: context[name] for name in _CONTEXT if name in context}
    if "encounter" in context:
        it["context"] = context["encounter"]
    if "event" in context:
        it["event"] = [CONCEPT.there(one) for one in context["event"]]


def _context_back(it: Object) -> None:
    context = {"encounter": it.pop("context")} if "context" in it else {}
    context |= {name: it.pop(name) for name in _CONTEXT if name in it}
    if "event" in it:
        context["event"] = [CONCEPT.back(one) for one in it.pop("event")]
    if context:
        it["context"] = context


def _attester(it: Object) -> None:
    party = it.pop("authenticator", None)
    if party is not None:
        it["attester"] = [{"mode": coded(_ATTESTED).there("official"), "party": party}]


def _attester_back(it: Object) -> None:
    if "attester" in it:
        it["authenticator"] = LISTED.back(it.pop("attester"))["party"]


_PROFILE: Final = Change(lambda coding: [{"valueCoding": coding}], lambda it: LISTED.back(it)["valueCoding"])


_NO_CODE: Final = {
    "extension": [{"url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason", "valueCode": "unsupported"}]
}
"""Stands for a code that R5 does not have, where it wants one."""


def _membership(it: Object) -> None:
    if "actual" in it:
        it["membership"] = "enumerated" if it.pop("actual") else "definitional"
    if "_actual" in it:
        it["_membership"] = it.pop("_actual")
    if it.get("type") in ("medication", "substance"):
        del it["type"]
        it["_type"] = _NO_CODE


def _membership_back(it: Object) -> None:
    if "membership" in it:
        it["actual"] = {"enumerated": True, "definitional": False}[it.pop("membership")]
    if "_membership" in it:
        it["_actual"] = it.pop("_membership")


def _no_contributors(it: Object) -> None:
    """Leave out inputs and outputs of a type that R5 does not have."""
    for element in ("input", "output"):
        kept = [one for one in it.pop(element, ()) if "valueContributor" not in one]
        if kept:
            it[element] = kept


# --- who gives care -----------------------------------------------------------------------------------------------


def _contact(it: Object) -> None:
    """Gather telecom and addresses into contacts; an R4 contact's one name becomes a list."""
    contacts = [edited(alter("name", LISTED)).there(contact) for contact in it.pop("contact", ())]
    own = {"telecom": it.pop("telecom")} if "telecom" in it else {}
    addresses = it.pop("address", [])
    if own or addresses:
        contacts.insert(0, {**own, "address": addresses[0]} if addresses else own)
    contacts[1:1] = [{"address": address} for address in addresses[1:]]
    if contacts:
        it["contact"] = contacts


def _contact_back(it: Object) -> None:
    """Take the first contacts that say neither who nor what for to be the organization's own."""
    contacts = list(it.pop("contact", ()))
    addresses: list[Any] = []
    if contacts and contacts[0].keys() <= {"telecom", "address"}:
        own = contacts.pop(0)
        it |= {"telecom": own["telecom"]} if "telecom" in own else {}
        addresses += [own["address"]] if "address" in own else []
        while addresses and contacts and contacts[0].keys() == {"address"}:
            addresses.append(contacts.pop(0)["address"])
    if addresses:
        it["address"] = addresses
    if contacts:
        it["contact"] = [edited(alter("name", LISTED)).back(one) for one in contacts]


def _telecom(it: Object) -> None:
    if "telecom" in it:
        it["contact"] = [{"telecom": it.pop("telecom")}]


def _telecom_back(it: Object) -> None:
    if "contact" in it:
        it["telecom"] = LISTED.back(it.pop("contact"))["telecom"]


def _availability(it: Object) -> None:
    times = {"availableTime": it.pop("availableTime", None), "notAvailableTime": it.pop("notAvailable", None)}
    if any(times.values()):
        it["availability"] = [{key: value for key, value in times.items() if value}]


def _availability_back(it: Object) -> None:
    if "availability" in it:
        times = LISTED.back(it.pop("availability"))
        it |= {"availableTime": times["availableTime"]} if "availableTime" in times else {}
        it |= {"notAvailable": times["notAvailableTime"]} if "notAvailableTime" in times else {}


def _hours(hours: list[Object]) -> list[Object]:
    return [{"availableTime": [_HOURS.there(hour) for hour in hours]}]


def _hours_back(hours: list[Object]) -> list[Object]:
    return [_HOURS.back(hour) for hour in LISTED.back(hours)["availableTime"]]


_HOURS: Final = edited(rename("openingTime", "availableStartTime"), rename("closingTime", "availableEndTime"))
_LANGUAGE: Final = Change(lambda language: {"language": language}, lambda it: it["language"])


def _derived(it: Object) -> None:
    if it.get("role") == "derivation":
        it["role"] = "source"
        it["was"] = "derivation"


def _derived_back(it: Object) -> None:
    if "was" in it:
        it["role"] = it.pop("was")


DOCUMENT_REFERENCE: Final[tuple[Step, ...]] = (
    Step(_identifiers, lambda it: None),
    Step(_context, _context_back),
    Step(_attester, _attester_back),
    alter("relatesTo", each(edited(rename("code", "code", _RELATION)))),
    alter("content", each(edited(rename("format", "profile", _PROFILE)))),
)
GROUP: Final[tuple[Step, ...]] = (Step(_membership, _membership_back),)
TASK: Final[tuple[Step, ...]] = (
    alter("statusReason", CONCEPT),
    rename("performerType", "requestedPerformer", each(CONCEPT)),
    join("reason", "reasonCode", "reasonReference", single=True),
    Step(_no_contributors, lambda it: None),
)
PROVENANCE: Final[tuple[Step, ...]] = (
    rename("reason", "authorization", each(CONCEPT)),
    alter("entity", each(edited(Step(_derived, _derived_back), tuck("was", "Provenance.entity.role", "valueCode")))),
)
ORGANIZATION: Final[tuple[Step, ...]] = (Step(_contact, _contact_back),)
PRACTITIONER: Final[tuple[Step, ...]] = (alter("communication", each(_LANGUAGE)),)
PRACTITIONER_ROLE: Final[tuple[Step, ...]] = (
    Step(_telecom, _telecom_back),
    Step(_availability, _availability_back),
    drop("availabilityExceptions"),
)
LOCATION: Final[tuple[Step, ...]] = (
    Step(_telecom, _telecom_back),
    rename("physicalType", "form"),
    alter("hoursOfOperation", Change(_hours, _hours_back)),
    drop("availabilityExceptions"),
)
