"""The form in which one element leaves to a view: allow-list, arms, identity, references; and whether it is valid.

An element's form depends on its words and on which of its references the view can follow, on nothing beside it. So
each is formed once for its words; ``Forms`` forgets them with the package.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, Final

from msgspec import Struct, structs

from gateway.errors import InvalidResource
from gateway.fhir import codec
from gateway.fhir.piecewise import check_element
from gateway.fhir.references import rewrite, split
from gateway.model.resource import ResourceVersion
from gateway.model.study import Subject
from gateway.release.blinding import names_an_arm, without_arms
from gateway.release.elements import empty, keep
from gateway.release.identity import Pseudonymiser, generalise, subject_numbers, without_other_studies
from gateway.release.policy import SHARED, Rights

Reachable = Callable[[str], bool]
"""Whether the view has, or gets in the same package, what an internal ``Type/id`` names."""

ATTACHED: Final = "http://hl7.org/fhir/5.0/StructureDefinition/extension-Observation.value"
"""HL7's extension for the value R4 does not have: a document."""

VOCABULARY: Final = frozenset(
    {"status", "code", "category", "class", "type", "interpretation", "method", "scope", "policyRule", "valueQuantity"}
)
"""Elements whose forms outlive a package where they hold codes and units alone: nothing in them is of a person."""

_MORE_THAN_CODES: Final = (b'"text"', b"xtension", b'"reference"')
_TERMS: Final = 4096
"""Forms of codes and units that one view's rights keep."""

_MEASURED: Final = re.compile(rb'\{"value":(-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?)([,}].*)', re.DOTALL)
_OWN_NUMBER: Final = ("Patient", "ResearchSubject")


class Form(Struct, frozen=True, gc=False):
    """An element as it leaves: ``text`` is its member of the JSON object (``b""``: it does not leave), with its value.

    ``asked`` are the references it held, and as what each left. ``broken`` is the path of what is not valid R4 in it;
    ``alone`` says that this verdict holds whatever stands beside it. ``arm``: it names an arm to a blinded view.
    """

    text: bytes = b""
    value: Any = None
    asked: tuple[tuple[str, str | None], ...] = ()
    broken: str = ""
    alone: bool = True
    arm: bool = False


class Links:
    """Rewrites the references of one body to the view's own ids, and remembers which it kept."""

    def __init__(self, version: ResourceVersion, forms: Forms, reachable: Reachable | None) -> None:
        self.followed: dict[str, None] = {}
        self.asked: list[tuple[str, str | None]] = []
        self._version = version
        self._forms = forms
        self._reachable = reachable

    def rewrite(self, reference: str) -> str | None:
        """Return the reference as the view knows it; None when the view may not see what it names."""
        target = self._target(reference)
        self.asked.append((reference, target))
        return target

    def still(self, asked: Iterable[tuple[str, str | None]]) -> bool:
        """Whether references lead this body where they led another."""
        return all(self._target(reference) == target for reference, target in asked)

    def _target(self, reference: str) -> str | None:
        known = self._forms.pointed(reference)
        if known is None:
            return None
        internal, public = known
        if self._of_another(internal):
            return None
        if self._reachable is not None and not self._reachable(internal):
            return None
        if public:
            self.followed[internal] = None
        return public or None

    def _of_another(self, internal: str) -> bool:
        """Whether it is a patient, but not the one the resource belongs to."""
        if not (internal.startswith("Patient/") and self._forms.rights.pseudonymous):
            return False
        return internal != f"Patient/{self._version.patient}"


class Forms:
    """What the elements of a view's resources become. Lives no longer than the packages it is made for."""

    def __init__(self, rights: Rights) -> None:
        self.rights = rights
        self._known: dict[tuple[str, str, bytes], Form] = {}
        self._terms: dict[tuple[str, str, bytes], Form] = rights.terms
        self._pointed: dict[str, tuple[str, str] | None] = {}
        self._public: dict[str, str] = {}

    def meet(self, ids: Iterable[str]) -> None:
        """Learn at once the ids under which the view knows these; what is no UUID is left out."""
        self._public |= self.rights.public_ids(id for id in ids if id not in self._public)

    def public_id(self, internal: str) -> str:
        """Return the id under which the view knows a resource. Raises ``ValueError`` when it is no UUID."""
        known = self._public.get(internal)
        if known is None:
            known = self._public[internal] = self.rights.public_id(internal)
        return known

    def pointed(self, reference: str) -> tuple[str, str] | None:
        """Return what a reference names, internal ``Type/id`` and the view's own; None where no view may follow it.

        The view's own is ``""`` for an id that is no UUID.
        """
        if reference not in self._pointed:
            self._pointed[reference] = self._point(reference)
        return self._pointed[reference]

    def _point(self, reference: str) -> tuple[str, str] | None:
        parts = split(reference)
        if parts is None or "://" in reference or parts[0] not in self.rights.types:
            return None
        kind, id = parts
        if kind == "ResearchStudy" and id != self.rights.study.resource:
            return None  # a view sees its own study
        try:
            return f"{kind}/{id}", f"{kind}/{self.public_id(id)}"
        except ValueError:
            return f"{kind}/{id}", ""

    def of(self, version: ResourceVersion, subject: Subject | None, name: str, text: bytes, links: Links) -> Form:
        """Return the form of an element; ``text`` is its value as stored."""
        measured = _MEASURED.fullmatch(text) if name == "valueQuantity" else None
        if measured is None:
            return self._of(version, subject, name, text, links)
        # No rule asks how much was measured: one form does for all numbers of a unit.
        number, rest = measured.groups()
        form = self._of(version, subject, name, b'{"value":0' + rest, links)
        return structs.replace(form, text=form.text.replace(b'"value":0', b'"value":' + number, 1))

    def _of(self, version: ResourceVersion, subject: Subject | None, name: str, text: bytes, links: Links) -> Form:
        key = (version.type, name, text)
        known = self._known.get(key) or self._terms.get(key)
        if known is not None and (not known.asked or links.still(known.asked)):
            return known
        form = self._made(version, subject, name, text, links)
        if name in VOCABULARY and not any(sign in text for sign in _MORE_THAN_CODES):
            self._keep_term(key, form)
        elif name != "identifier":  # a subject's number is the subject's
            self._known[key] = form
        return form

    def _keep_term(self, key: tuple[str, str, bytes], form: Form) -> None:
        if len(self._terms) >= _TERMS:
            self._terms.clear()
        self._terms[key] = form

    def _made(self, version: ResourceVersion, subject: Subject | None, name: str, text: bytes, links: Links) -> Form:
        links.asked = []
        value = codec.decode(text)
        types = self.rights.types[version.type]
        listed = keep({name: value}, types.tree)
        kept = formed({"resourceType": version.type, **listed}, self.rights, subject, links)
        if version.type == "Observation" and name == "component" and name in kept and types.parts:
            _drop_valueless(kept, value)
        asked = tuple(links.asked)
        if name not in kept:
            return Form(asked=asked)
        return self._checked(version.type, name, kept[name], asked)

    def _checked(self, kind: str, name: str, value: Any, asked: tuple[tuple[str, str | None], ...]) -> Form:
        rights = self.rights
        arm = rights.recipient.blinded and kind not in SHARED and names_an_arm({name: value}, rights.study.arms)
        broken, alone = "", True
        try:
            alone = check_element(kind, name, value)
        except InvalidResource as error:
            broken = error.path
        return Form(b',"%s":%s' % (name.encode(), codec.encode(value)), value, asked, broken, alone, arm)


# --- one element ----------------------------------------------------------------------------------------------------


def formed(listed: dict[str, Any], rights: Rights, subject: Subject | None, links: Links) -> dict[str, Any]:
    """Return listed elements of a resource in the form they leave in, ``resourceType`` among them."""
    kind = listed["resourceType"]
    kept = without_arms(listed) if rights.recipient.blinded else listed
    number = kept.pop("identifier", None) if kind in _OWN_NUMBER and rights.pseudonymous else None
    if rights.pseudonymous and kind != "ResearchStudy":
        kept = Pseudonymiser(rights.types[kind].named, links.rewrite).clean(kept)
    else:
        kept = rewrite(kept, links.rewrite)
    if number is not None and subject is not None:
        kept["identifier"] = number
        subject_numbers(kept, subject)
    without_other_studies(kept, rights.study.id)
    if rights.pseudonymous and kind == "Patient":
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


def _drop_valueless(kept: dict[str, Any], original: list[dict[str, Any]]) -> None:
    """Drop components whose value does not leave: one without its value reads as one that has none."""
    had = any(value_name(part) for part in original)
    parts = [part for part in kept["component"] if not had or value_name(part) or "dataAbsentReason" in part]
    if parts:
        kept["component"] = parts
    else:
        del kept["component"]


def value_name(element: dict[str, Any]) -> str:
    """Return the name of an Observation's or component's value, ``""`` where it has none."""
    if any(extension.get("url") == ATTACHED for extension in element.get("extension", ())):
        return "valueAttachment"
    return next((name for name, value in element.items() if name.startswith("value") and not empty(value)), "")
