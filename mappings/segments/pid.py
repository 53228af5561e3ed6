"""``PID`` (patient identification) to ``Patient``."""

from __future__ import annotations

import re
from typing import Any, Final

from gateway.errors import MappingError
from gateway.hl7v2.message import Field, Segment
from gateway.model.site import Authority
from gateway.model.translation import PatientKey
from mappings.context import Context, Draft
from mappings.datatypes.cwe import concept, site_concept
from mappings.datatypes.cx import Identifier, cx, cx_identifier, cx_identifier_unnamed
from mappings.datatypes.ts import birth_date, ts_datetime
from mappings.datatypes.xad import xad_address
from mappings.datatypes.xpn import xpn_human_name
from mappings.datatypes.xtn import xtn_contact_point
from mappings.rules import Row, Rule, SegmentMap, coded
from mappings.tables import load

_EXTENSION: Final = "http://hl7.org/fhir/StructureDefinition/"
_LANGUAGES: Final = load("hl70296_language")
_REGIONAL: Final = re.compile(r"[a-z]{2}-[A-Z]{2}")
_YES_NO: Final = {"Y": True, "N": False}


def addresses(pid: Segment, context: Context) -> list[dict[str, Any]]:
    """PID-11, each with the county of PID-12 as district where the address says none and there is only one."""
    made = [address for found in pid.repeats(11) if not found.is_null and (address := xad_address(found, context))]
    county = pid.value(12)
    if county and len(made) == 1:
        made[0].setdefault("district", county)
    elif county:
        made.append({"district": county})
    return made


def language(found: Field, context: Context) -> dict[str, Any] | None:
    """PID-15: FHIR takes languages of BCP 47 only, so one that the table does not know travels as text, with a gap."""
    code = found.component(1)
    if _REGIONAL.fullmatch(code):
        return {"language": {"coding": [{"system": "urn:ietf:bcp:47", "code": code}]}}
    target = _LANGUAGES.targets.get(code.lower())
    if target is not None:
        return {"language": {"coding": [target.coding()]}}
    if code:
        context.gap("table", code, system=_LANGUAGES.system, text=found.component(2))
    text = found.component(2) or code
    return {"language": {"text": text}} if text else None


def birth_place(found: Field, _context: Context) -> dict[str, Any]:
    """PID-23: the place of birth, as the text of an address."""
    return {"url": f"{_EXTENSION}patient-birthPlace", "valueAddress": {"text": found.component(1)}}


def citizenship(found: Field, context: Context) -> dict[str, Any] | None:
    """PID-26 and PID-39."""
    return _country_extension("patient-citizenship", site_concept("0171")(found, context))


def nationality(found: Field, context: Context) -> dict[str, Any] | None:
    """PID-28."""
    return _country_extension("patient-nationality", site_concept("0212")(found, context))


def _country_extension(name: str, value: dict[str, Any] | None) -> dict[str, Any] | None:
    if value is None:
        return None
    return {"url": f"{_EXTENSION}{name}", "extension": [{"url": "code", "valueCodeableConcept": value}]}


def multiple_birth(pid: Segment, context: Context) -> dict[str, Any] | None:
    """PID-25 (birth order) where it is a number, else PID-24 (Y or N)."""
    order = pid.value(25)
    if order.isdecimal():
        return {"multipleBirthInteger": int(order)}
    if order:
        context.at(pid, 25)
        context.finding("a birth order that is no number: left out")
    return _yes_no(pid, 24, "multipleBirthBoolean", context)


def deceased(pid: Segment, context: Context) -> dict[str, Any] | None:
    """PID-29 (date of death) where it can be read, else PID-30 (Y or N)."""
    found = pid.field(29)
    if found and not found.is_null:
        context.at(pid, 29)
        died = ts_datetime(found, context)
        return {"deceasedDateTime": died} if died else {"deceasedBoolean": True}
    return _yes_no(pid, 30, "deceasedBoolean", context)


def _yes_no(pid: Segment, number: int, element: str, context: Context) -> dict[str, Any] | None:
    value = pid.value(number).upper()
    if not value:
        return None
    if value not in _YES_NO:
        context.at(pid, number)
        context.gap("table", value, system="http://terminology.hl7.org/CodeSystem/v2-0136")
        return None
    return {element: _YES_NO[value]}


PID_PATIENT: Final = SegmentMap(
    "PID",
    "Patient",
    rows=(
        Row("PID-2", "identifier", cx_identifier_unnamed("external"), repeats=True, note="up to 2.3, kept since"),
        Row("PID-3", "identifier", cx_identifier, repeats=True, note="the first that can names the Patient"),
        Row("PID-4", "identifier", cx_identifier_unnamed("alternate"), repeats=True, note="up to 2.3, kept since"),
        Row("PID-5", "name", xpn_human_name, repeats=True),
        Row("PID-7", "birthDate", birth_date, note="the time of birth is not taken: no study asks for it"),
        Row("PID-8", "gender", coded("hl70001_administrative_gender", unknown="unknown")),
        Row("PID-9", "name", xpn_human_name, repeats=True),
        Rule(("PID-11", "PID-12"), "address", addresses, repeats=True),
        Row("PID-13", "telecom", xtn_contact_point("home"), repeats=True),
        Row("PID-14", "telecom", xtn_contact_point("work"), repeats=True),
        Row("PID-15", "communication", language, repeats=True),
        Row("PID-16", "maritalStatus", concept("hl70002_marital_status")),
        Row("PID-23", "extension", birth_place, repeats=True, note="patient-birthPlace"),
        Rule(
            ("PID-24", "PID-25"),
            "multipleBirth[x]",
            multiple_birth,
            removes=("multipleBirthBoolean", "multipleBirthInteger"),
            note="twins and siblings are told apart by it",
        ),
        Row("PID-26", "extension", citizenship, repeats=True, note="patient-citizenship"),
        Row("PID-28", "extension", nationality, repeats=True, note="patient-nationality"),
        Rule(
            ("PID-29", "PID-30"),
            "deceased[x]",
            deceased,
            removes=("deceasedBoolean", "deceasedDateTime"),
        ),
        Row("PID-39", "extension", citizenship, repeats=True, note="patient-citizenship"),
        Row("PID-40", "telecom", xtn_contact_point(), repeats=True),
    ),
    not_mapped={
        "PID-1": "set id: a number of the message, not of the patient",
        "PID-6": "mother's maiden name: no trial may receive it",
        "PID-10": "race: no trial here asks for it, and its codes differ by country",
        "PID-17": "religion: no trial may receive it",
        "PID-18": "account number: names a bill",
        "PID-19": "national number: feeds send it in PID-3; in the US it is the SSN, which is never stored",
        "PID-20": "driver's licence number: no trial may receive it",
        "PID-21": "mother's identifier: a number of another person",
        "PID-22": "ethnic group: as PID-10",
        "PID-27": "veterans military status: no FHIR element, no use",
        "PID-31": "identity unknown: no FHIR element; an unnamed patient has an identifier all the same",
        "PID-32": "identity reliability: no FHIR element",
        "PID-33": "last update: MSH-7 orders what messages say",
        "PID-34": "last update facility: the feed says it",
        "PID-35": "species: patients are human",
        "PID-36": "breed: patients are human",
        "PID-37": "strain: patients are human",
        "PID-38": "production class: patients are human",
    },
)


def patient(pid: Segment, context: Context) -> Draft:
    """Open the Patient of a ``PID``, fill it, register its identifiers and make it the context's patient.

    Raises ``MappingError`` at PID-3 when no identifier can name the patient: nobody is matched by name and birth date.
    """
    draft = open_patient(pid, (3, 2, 4), context)
    context.patient = draft.id
    PID_PATIENT.apply(pid, context, draft)
    return draft


_UNNAMED: Final = {("PID", 2): "external", ("PID", 4): "alternate"}


def open_patient(segment: Segment, numbers: tuple[int, ...], context: Context) -> Draft:
    """Open the Patient that the identifiers in these fields name, and register them as its keys."""
    identifiers: list[Identifier] = []
    for number in numbers:
        unnamed = _UNNAMED.get((segment.name, number), "")
        for at, found in enumerate(segment.all_repeats(number), start=1):
            context.at(segment, number, at)
            if found and not found.is_null and (made := cx(found, context, unnamed=unnamed)):
                identifiers.append(made)
    if not identifiers:
        return _unidentified(segment, numbers[0], context)
    id = patient_id(primary(identifiers, context), context)
    for body, authority in identifiers:
        joins = authority is not None and authority.joins
        context.keys[PatientKey(id, body["system"], body["value"], joins)] = None
    context.patient = id
    return context.draft("Patient", id)


def primary(identifiers: list[Identifier], context: Context) -> Identifier:
    """Return the identifier that names the patient: by the site's order, else the first declared, else the first."""
    site = context.site
    for name in site.primary:
        wanted: Authority | None = site.authorities.get(name)
        for identifier in identifiers:
            if wanted is not None and identifier.authority == wanted:
                return identifier
    return next((identifier for identifier in identifiers if identifier.authority), identifiers[0])


def _unidentified(segment: Segment, number: int, context: Context) -> Draft:
    """Open a Patient of this message alone, held, where the site keeps such messages; else refuse."""
    if context.site.unidentified == "refuse":
        raise MappingError("no identifier that can name the patient", segment.place(number), "101")
    business = context.of_this_message("no identifier names the patient")
    context.patient = context.id("Patient", *business)
    return context.draft("Patient", context.patient)


def patient_id(identifier: Identifier, context: Context) -> str:
    """Return the internal id of the Patient: the same at every site only where the authority is declared to join."""
    business = (identifier.body["system"], identifier.body["value"])
    if identifier.authority is not None and identifier.authority.joins:
        return context.common_id("Patient", *business)
    return context.id("Patient", *business)
