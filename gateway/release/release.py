"""``release``: the one way out. Push, pull, broker and export all ask it, at the moment of leaving.

In order: is the type listed, is the patient a subject under active consent for this purpose, do the data lie between
consent and end, must a person look first, is the code listed; then the elements: allow-list, arms, identity,
references; and the result must still be valid R4. The first rule that says no is the answer.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from gateway.errors import InvalidResource
from gateway.fhir.checks import check
from gateway.fhir.references import rewrite, split
from gateway.model.resource import ResourceVersion
from gateway.model.study import Subject
from gateway.release.blinding import code_reveals, codings, names_an_arm, without_arms
from gateway.release.consent import entitlement
from gateway.release.decision import Let, Withheld
from gateway.release.elements import empty, keep
from gateway.release.identity import PSEUDED, Pseudonymiser, generalise, subject_numbers, without_other_studies
from gateway.release.policy import REQUIRED, SHARED, UNDATED, Rights, TypeRights

Reachable = Callable[[str], bool]
"""Whether the view has, or gets in the same package, what an internal ``Type/id`` names."""

CODED: Final = ("Observation", "DiagnosticReport")

ATTACHED: Final = "http://hl7.org/fhir/5.0/StructureDefinition/extension-Observation.value"
"""HL7's extension for the value R4 does not have: a document."""


def release(
    version: ResourceVersion,
    body: dict[str, Any],
    rights: Rights,
    subject: Subject | None,
    now: datetime,
    *,
    reachable: Reachable | None = None,
) -> Let | Withheld:
    """Decide whether a version may leave to a view now, and in what form.

    ``subject`` is the patient's place in the view's study, None when it has none; shared resources need none.
    ``reachable`` None: every reference to a listed type stays. ``now`` is UTC. ``body`` is not changed.
    """
    withheld = permitted(version, body, rights, subject, now)
    return withheld or shaped(version, body, rights, subject, reachable)


def permitted(
    version: ResourceVersion, body: dict[str, Any], rights: Rights, subject: Subject | None, now: datetime
) -> Withheld | None:
    """Return the rule that keeps a resource in, elements not yet considered; None when it may leave."""
    types = rights.types.get(version.type)
    if types is None:
        return Withheld("type", version.type)
    if version.type in SHARED:
        return _study_of_view(version, rights)
    return (
        _member(version, rights, subject)
        or _in_time(version, rights, subject, now)
        or (Withheld("held", version.held) if version.held else None)
        or _coded(version, body, types)
    )


def _study_of_view(version: ResourceVersion, rights: Rights) -> Withheld | None:
    if version.type == "ResearchStudy" and version.id != rights.study.resource:
        return Withheld("study", "of another study")
    return None


def _member(version: ResourceVersion, rights: Rights, subject: Subject | None) -> Withheld | None:
    if subject is None or subject.study != rights.study.id or subject.patient != version.patient:
        return Withheld("not-a-subject")
    if version.type == "ResearchSubject" and version.id != subject.resource:
        return Withheld("study", "a subject of another study")
    if version.type == "Consent" and version.id not in {consent.resource for consent in subject.consents}:
        return Withheld("study", "a consent to something else")
    if version.type == "Patient" and version.id != version.patient:
        return Withheld("merged")
    return None


def _in_time(version: ResourceVersion, rights: Rights, subject: Subject | None, now: datetime) -> Withheld | None:
    entitled = entitlement(subject, rights.recipient, now)
    if isinstance(entitled, Withheld):
        return entitled
    return None if version.type in UNDATED else entitled.check(version.date)


def _coded(version: ResourceVersion, body: dict[str, Any], types: TypeRights) -> Withheld | None:
    if version.type not in CODED or not types.codes:
        return None
    if any(f"{system}|{code}" in types.codes for system, code in codings(body.get("code"))):
        return None
    return Withheld("code", version.code)


# --- the form in which it leaves ------------------------------------------------------------------------------------


def shaped(
    version: ResourceVersion,
    body: dict[str, Any],
    rights: Rights,
    subject: Subject | None,
    reachable: Reachable | None = None,
) -> Let | Withheld:
    """Return a resource in the form a view may see, nobody asking whether it may see it now."""
    if rights.recipient.blinded and code_reveals(body):
        return Withheld("blinded", version.code)
    links = _Links(version, rights, reachable)
    try:
        public = rights.public_id(version.id)
        listed = keep(body, rights.types[version.type].tree)
        kept = _formed(listed, version, rights, subject, links)
    except ValueError:
        return Withheld("invalid", f"{version.type}.id")
    lost = _value_lost(body, kept, rights.types[version.type])
    if lost:
        return Withheld("value", lost)
    return _checked(kept, version, rights, public, links)


def _formed(
    listed: dict[str, Any], version: ResourceVersion, rights: Rights, subject: Subject | None, links: _Links
) -> dict[str, Any]:
    for inherent in ("resourceType", "id", "meta"):
        listed.pop(inherent, None)
    kept = {"resourceType": version.type} | listed
    if rights.recipient.blinded:
        kept = without_arms(kept)
    own_number = version.type in ("Patient", "ResearchSubject")
    number = kept.pop("identifier", None) if own_number and rights.pseudonymous else None
    if rights.pseudonymous and version.type != "ResearchStudy":
        kept = Pseudonymiser(rights.types[version.type].named, links.rewrite).clean(kept)
    else:
        kept = rewrite(kept, links.rewrite)
    if number is not None and subject is not None:
        kept["identifier"] = number
        subject_numbers(kept, subject)
    without_other_studies(kept, rights.study.id)
    if rights.pseudonymous and version.type == "Patient":
        generalise(kept)
    _without_empty_ranges(kept)
    return kept


def _without_empty_ranges(element: dict[str, Any]) -> None:
    """Drop reference ranges whose bounds and words stayed inside (obs-3 asks for one of them)."""
    for part in element.get("component", ()):
        _without_empty_ranges(part)
    ranges = [one for one in element.pop("referenceRange", ()) if one.keys() & {"low", "high", "text"}]
    if ranges:
        element["referenceRange"] = ranges


def _checked(
    kept: dict[str, Any], version: ResourceVersion, rights: Rights, public: str, links: _Links
) -> Let | Withheld:
    missing = [name for name in REQUIRED.get(version.type, ()) if name not in kept]
    if missing:
        return Withheld("required", f"{version.type}.{missing[0]}")
    if rights.recipient.blinded and version.type not in SHARED and names_an_arm(kept, rights.study.arms):
        return Withheld("blinded", "names an arm")
    head: dict[str, Any] = {"resourceType": version.type, "id": public}
    if rights.pseudonymous:
        head["meta"] = {"security": [dict(PSEUDED)]}
    released = head | {name: value for name, value in kept.items() if name != "resourceType"}
    try:
        check(released)
    except InvalidResource as error:
        return Withheld("invalid", error.path)
    return Let(released, public, tuple(links.followed))


def _value_lost(body: dict[str, Any], kept: dict[str, Any], types: TypeRights) -> str:
    """Name the value an Observation would leave without, where the file lets some values out; drop such components.

    An Observation without its value reads as one that has none.
    """
    lets_values = (
        any(path.startswith(("value", "component.value")) for path in types.named) or "component" in types.tree
    )
    if body.get("resourceType") != "Observation" or not lets_values:
        return ""
    if "component" in kept:
        _drop_valueless(kept, body["component"])
    before = _value_name(body)
    if before and not _value_name(kept) and any(path.startswith("value") for path in types.named):
        return before
    return ""


def _drop_valueless(kept: dict[str, Any], original: list[dict[str, Any]]) -> None:
    had = any(_value_name(part) for part in original)
    parts = [part for part in kept["component"] if not had or _value_name(part) or "dataAbsentReason" in part]
    if parts:
        kept["component"] = parts
    else:
        del kept["component"]


def _value_name(element: dict[str, Any]) -> str:
    if any(extension.get("url") == ATTACHED for extension in element.get("extension", ())):
        return "valueAttachment"
    return next((name for name, value in element.items() if name.startswith("value") and not empty(value)), "")


class _Links:
    """Rewrites the references of one body to the view's own ids, and remembers which it kept."""

    def __init__(self, version: ResourceVersion, rights: Rights, reachable: Reachable | None) -> None:
        self.followed: dict[str, None] = {}
        self._version = version
        self._rights = rights
        self._reachable = reachable

    def rewrite(self, reference: str) -> str | None:
        """Return the reference as the view knows it; None when the view may not see what it names."""
        parts = split(reference)
        if parts is None or "://" in reference:
            return None
        kind, id = parts
        if kind not in self._rights.types or not self._own(kind, id):
            return None
        internal = f"{kind}/{id}"
        if self._reachable is not None and not self._reachable(internal):
            return None
        try:
            public = self._rights.public_id(id)
        except ValueError:
            return None
        self.followed[internal] = None
        return f"{kind}/{public}"

    def _own(self, kind: str, id: str) -> bool:
        """A view sees its own study, and no patient but the one the resource belongs to."""
        if kind == "ResearchStudy":
            return id == self._rights.study.resource
        if kind == "Patient" and self._rights.pseudonymous:
            return id == self._version.patient
        return True
