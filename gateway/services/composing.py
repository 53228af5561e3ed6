"""One resource as a client wrote it, made what is stored: bounded by the client's view, valid, under internal ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from gateway.errors import InvalidResource, RequestRefused
from gateway.fhir import codec
from gateway.fhir.checks import validate
from gateway.fhir.from_r5 import from_r5
from gateway.fhir.piecewise import check_element
from gateway.fhir.r5_trial import link_id
from gateway.fhir.references import references
from gateway.model.names import CONSENT_STUDY, STUDY_ID
from gateway.model.resource import ResourceVersion
from gateway.model.translation import Statement
from gateway.release.elements import keep
from gateway.release.policy import Rights
from gateway.services.addressing import PERSONS, Addresses
from gateway.services.concerns import shared_references
from gateway.services.merge import ANY, merge
from gateway.services.office import office_clock
from gateway.services.pull import Pull
from gateway.services.seen import Release
from gateway.services.subjects import start_of
from gateway.services.wanted import OF_PATIENTS

_OWN: Final = ("resourceType", "id", "meta")
"""Elements that are the gateway's."""

_FIXED: Final = {"ResearchSubject": ("study", "individual"), "Consent": ("patient",)}
"""Elements that say whose a resource is: they stay as they are."""

_SUBSETTED: Final = "SUBSETTED"
_OUT_OF_RANGE: Final = "holds a number or a depth that is out of range"


def received(body: dict[str, Any], kind: str, release: Release, told: Sequence[str] = ()) -> dict[str, Any]:
    """Return what was sent in the form of R4. Raises ``RequestRefused`` or ``InvalidResource``.

    ``told``: the states that the R5 form of a ResearchSubject tells.
    """
    if body.get("resourceType") != kind:
        raise RequestRefused(400, "invalid", f"the resource is not a {kind}", (f"{kind}.resourceType",))
    if any(tag.get("code") == _SUBSETTED for tag in _tags(body)):
        what = "only a part of the resource was read: read it whole before it is written back"
        raise RequestRefused(422, "business-rule", what, (f"{kind}.meta.tag",))
    return from_r5(body, told) if release == "R5" else body


def as_seen(sent: dict[str, Any], back: dict[str, Any], seen: dict[str, Any]) -> dict[str, Any]:
    """Return what was sent in R5, each element that it leaves as it was in R4 the view's own words.

    ``back``: what the view sees, by way of R5; R5 writes some things with less than R4 does (a date, an arm's name).
    """
    return {
        name: seen[name] if name in seen and name in back and _same(value, back[name]) else value
        for name, value in sent.items()
    }


def pruned(value: Any) -> Any:
    """Return what a patch left without what became empty: FHIR knows no empty list or object."""
    if isinstance(value, dict):
        kept = {name: pruned(item) for name, item in value.items()}
        return {name: item for name, item in kept.items() if item not in ({}, [])}
    if isinstance(value, list):
        return [item for one in value if (item := pruned(one)) not in ({}, [])]
    return value


def study_said(body: dict[str, Any]) -> str:
    """Return the study that a resource's tag names, ``""`` when it names none."""
    return next((str(tag.get("code", "")) for tag in _tags(body) if tag.get("system") == STUDY_ID), "")


def _tags(body: dict[str, Any]) -> list[dict[str, Any]]:
    meta = body.get("meta")
    tags = meta.get("tag") if isinstance(meta, dict) else None
    return [tag for tag in tags if isinstance(tag, dict)] if isinstance(tags, list) else []


# --- what is stored ---------------------------------------------------------------------------------------------------


def created(addresses: Addresses, rights: Rights, id: str, sent: dict[str, Any], now: datetime) -> ResourceVersion:
    """Return the first version of a resource, its message not yet known."""
    kind = sent["resourceType"]
    elements = _allowed(kind, {name: value for name, value in sent.items() if name not in _OWN}, rights)
    elements = _internal(addresses, rights, kind, elements)
    body = _bound({"resourceType": kind, "id": id, **elements}, rights)
    _check(body, rights, elements)
    patient = _patient(addresses, body, rights)
    _check_persons(addresses, body, patient)
    plain = ResourceVersion(kind, id, 1, codec.encode(body), 0, now, patient, {ANY: office_clock(now, 1)})
    return _described(plain, body).but(study="" if patient else rights.study.id)


@dataclass(frozen=True, slots=True)
class Said:
    """A resource as a view sees it, and as its client sends it back; both R4."""

    seen: dict[str, Any]
    sent: dict[str, Any]


def updated(
    addresses: Addresses, rights: Rights, head: ResourceVersion, said: Said, now: datetime
) -> ResourceVersion | None:
    """Return the next version of a resource; None when nothing is changed."""
    kind, seen = head.type, said.seen
    told = addresses.relative({name: value for name, value in said.sent.items() if name not in _OWN})
    changed = {name: value for name, value in told.items() if name not in seen or not _same(value, seen[name])}
    changed = _internal(addresses, rights, kind, _allowed(kind, changed, rights))
    removed = tuple(name for name in seen if name not in _OWN and name not in told)
    fixed = [name for name in _FIXED.get(kind, ()) if name in changed or name in removed]
    if fixed:
        raise RequestRefused(422, "business-rule", "whose it is cannot be changed", (f"{kind}.{fixed[0]}",))
    statement = Statement(
        kind, head.id, codec.encode({"resourceType": kind, "id": head.id, **changed}), removes=removed
    )
    merged = merge(head, statement, office_clock(now, head.version + 1))
    body = _bound(codec.decode(merged.body), rights)
    if not merged.changed:
        return None
    _check(body, rights, changed)
    _check_persons(addresses, body, head.patient)
    plain = head.but(
        version=head.version + 1,
        body=codec.encode(body),
        clocks=merged.clocks,
        own=None,
        change=0,
        stored_at=now,
        held="",
    )
    return _described(plain, body)


def tombstone(head: ResourceVersion, now: datetime) -> ResourceVersion:
    """Return the version that says that a resource was deleted."""
    return head.but(version=head.version + 1, own=None, change=0, stored_at=now, gone=True)


def _described(version: ResourceVersion, body: dict[str, Any]) -> ResourceVersion:
    """Return a version with the columns that its body fills."""
    date = body.get("dateTime") if version.type == "Consent" else None
    period = body.get("period")
    if version.type == "ResearchSubject" and isinstance(period, dict):
        date = period.get("start")
    return version.but(status=body.get("status", ""), date=start_of(date))


def _allowed(kind: str, elements: dict[str, Any], rights: Rights) -> dict[str, Any]:
    """Return elements that the view holds. Raises ``RequestRefused`` (403): what it never sees, it cannot write.

    What is no FHIR is told as such first, as ``$validate`` tells it (``InvalidResource``).
    """
    tree = rights.types[kind].tree
    kept = {name: value for name, value in elements.items() if name != "text" or name in tree}
    listed = keep(kept, tree)
    unheld = [name for name, value in kept.items() if not _same(listed.get(name), value)]
    if unheld:
        _check_elements(kind, elements)
        what = "the client's view does not hold this element, so it cannot be written through it"
        raise RequestRefused(403, "forbidden", what, (f"{kind}.{unheld[0]}",))
    return kept


def _same(one: Any, other: Any) -> bool:
    try:
        return codec.encode(one) == codec.encode(other) or _equal(one, other)
    except InvalidResource:
        return False


def _equal(one: Any, other: Any) -> bool:
    """Whether two values say the same, the order of an object's members aside; a number's digits count."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_equal(one[name], other[name]) for name in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_equal, one, other))
    return type(one) is type(other) and str(one) == str(other)


def _internal(addresses: Addresses, rights: Rights, kind: str, elements: dict[str, Any]) -> dict[str, Any]:
    """Return elements under internal references, a patient named by an identifier among them."""
    body = addresses.internal({"resourceType": kind, **elements, **_arm_names(elements, rights)}, rights)
    element = OF_PATIENTS.get(kind, "")
    if isinstance(body.get(element), dict):
        found = addresses.person(body[element], rights, f"{kind}.{element}")
        if found is not None:
            body[element] = {"reference": f"Patient/{found}"}
    return {name: value for name, value in body.items() if name != "resourceType"}


def _arm_names(elements: dict[str, Any], rights: Rights) -> dict[str, Any]:
    """Return by name the arms that are named by the linkId that R5 has for them."""
    names = {link_id(name): name for name in rights.study.arms}
    said = {name: elements.get(name) for name in ("assignedArm", "actualArm")}
    return {name: names[arm] for name, arm in said.items() if isinstance(arm, str) and arm in names}


def _bound(body: dict[str, Any], rights: Rights) -> dict[str, Any]:
    """Return a Consent as one for the view's study, whatever else it says."""
    study = f"ResearchStudy/{rights.study.resource}"
    if body["resourceType"] != "Consent" or any(reference == study for _, reference in references(body)):
        return body
    extensions = body.get("extension", [])
    extension = {"url": CONSENT_STUDY, "valueReference": {"reference": study}}
    return {**body, "extension": [*extensions, extension]} if isinstance(extensions, list) else body


def _patient(addresses: Addresses, body: dict[str, Any], rights: Rights) -> str:
    element = OF_PATIENTS.get(body["resourceType"])
    if element is None:
        return ""
    kind, _, id = str(body.get(element, {}).get("reference", "")).partition("/")
    if kind != "Patient":
        raise RequestRefused(422, "required", "the patient is not said", (f"{body['resourceType']}.{element}",))
    return addresses.pull.tx.resources.canonical([id])[id]


# --- what is refused --------------------------------------------------------------------------------------------------


def _check_elements(kind: str, elements: dict[str, Any]) -> None:
    """Raise ``InvalidResource`` for an element that is no FHIR; a reference may be a search, as in a transaction."""
    try:
        for name, value in elements.items():
            check_element(kind, name, value, in_transaction=True)
    except ArithmeticError:
        raise InvalidResource(kind, _OUT_OF_RANGE) from None


def _check(body: dict[str, Any], rights: Rights, said: dict[str, Any]) -> None:
    """Raise when a resource is not valid, or a person's of another study, or names an arm nobody declared.

    ``said``: the elements that the client wrote, under internal references.
    """
    try:
        validate(body)
    except (ArithmeticError, RecursionError):
        raise InvalidResource(body["resourceType"], _OUT_OF_RANGE) from None
    if body["resourceType"] in OF_PATIENTS:
        _check_study(body["resourceType"], rights, said)
    undeclared = [name for name in _arms(said) if name not in rights.study.arms]
    if undeclared:
        what = "an arm is declared in the study's file first, so that no blinded recipient is told of it"
        raise RequestRefused(422, "business-rule", what, (f"{body['resourceType']}.arm",))


def _check_study(kind: str, rights: Rights, said: dict[str, Any]) -> None:
    """Raise ``RequestRefused`` (422) for a person's resource that names a sub-study: no right follows from one."""
    own = f"ResearchStudy/{rights.study.resource}"
    if kind == "ResearchSubject" and "reference" not in said.get("study", {"reference": own}):
        raise RequestRefused(422, "not-found", "the study is not one of the client's", ("ResearchSubject.study",))
    for path, reference in references({"resourceType": kind, **said}):
        if reference.startswith("ResearchStudy/") and reference != own:
            what = (
                "subjects and consents are of the study that the gateway's configuration makes known, of no sub-study"
            )
            raise RequestRefused(422, "business-rule", what, (path,))


def _arms(said: dict[str, Any]) -> list[str]:
    arms = said.get("arm", ())
    named = [arm.get("name") for arm in arms if isinstance(arm, dict)] if isinstance(arms, list) else []
    return [name for name in (*named, said.get("assignedArm"), said.get("actualArm")) if isinstance(name, str)]


def check_own(addresses: Addresses, rights: Rights, head: ResourceVersion) -> None:
    """Raise ``RequestRefused`` (403) for what is not of the client's studies alone."""
    if head.patient:
        _check_consent(addresses, rights, head)
        return
    if rights.is_of_study(head):
        return
    study = addresses.head(rights.study.resource)
    if study is None or head.type == "Organization" or head.id not in shared_references(study):
        raise RequestRefused(403, "forbidden", "this belongs to others as well: a client writes what is of its studies")


def _check_consent(addresses: Addresses, rights: Rights, head: ResourceVersion) -> None:
    """Raise ``RequestRefused`` (403) for a Consent on which the patient's place in another study stands, too."""
    subjects = addresses.pull.chart(rights, head.patient).standing.subjects.values()
    on_it = {one.study for one in subjects if head.id in {consent.resource for consent in one.consents}}
    if on_it - {view.study.id for view in addresses.pull.views}:
        raise RequestRefused(403, "forbidden", "another study stands on this consent, too")


def _check_persons(addresses: Addresses, body: dict[str, Any], patient: str) -> None:
    """Raise ``RequestRefused`` (422) for a resource of a patient that refers to another."""
    for path, reference in references(body) if patient else ():
        kind, _, id = reference.partition("/")
        head = addresses.head(id) if kind in PERSONS else None
        if head is not None and head.patient != patient:
            raise RequestRefused(422, "business-rule", "refers to another patient", (path,))


def check_one_place(pull: Pull, rights: Rights, version: ResourceVersion, leaving: set[str]) -> None:
    """Raise ``RequestRefused`` (409) when the patient has a place in the study already."""
    if version.type != "ResearchSubject":
        return
    subject = pull.chart(rights, version.patient).subject
    if subject is not None and subject.resource not in leaving:
        raise RequestRefused(409, "duplicate", "the patient has a place in this study: update it")
