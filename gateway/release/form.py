"""The form in which one element leaves to a view: allow-list, arms, identity, references; and whether it is valid.

An element's form depends on its words and on which of its references the view can follow, on nothing beside it. So
each is formed once for its words; ``Forms`` forgets them with the package.
"""

from __future__ import annotations

import re
from typing import Any, Final

from msgspec import Struct

from gateway.errors import InvalidResource
from gateway.fhir import codec
from gateway.fhir.piecewise import check_element, refers
from gateway.fhir.references import Mapping, rewrite
from gateway.model.study import Subject
from gateway.release.blinding import names_an_arm, without_arms
from gateway.release.documents import link
from gateway.release.elements import empty, keep
from gateway.release.identity import Pseudonymiser, generalise, never, subject_numbers, without_other_studies
from gateway.release.links import Asked, Links
from gateway.release.policy import SHARED, Rights

ATTACHED: Final = "http://hl7.org/fhir/5.0/StructureDefinition/extension-Observation.value"
"""HL7's extension for the value R4 does not have: a document."""

VOCABULARY: Final = frozenset(
    {
        "status", "code", "category", "class", "type", "interpretation", "method", "scope", "policyRule",
        "valueQuantity", "referenceRange",
    }
)  # fmt: skip
"""Elements whose forms outlive a package where they hold codes, units and a laboratory's limits alone: nothing in
them is of a person."""

_LIMITS: Final = re.compile(rb'"text":"[-0-9.,<>= ]{1,40}"')
"""The words of a reference range that are numbers alone."""

_MORE_THAN_CODES: Final = (b'"text"', b"xtension", b'"reference"')
_TERMS: Final = 1024
"""Forms of one element that a view's rights keep."""

_MEASURED: Final = re.compile(rb'\{"value":(-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?)([,}].*)', re.DOTALL)
_MEASURED_HEAD: Final = b',"valueQuantity":{"value":'
_UNMEASURED: Final = _MEASURED_HEAD + b"0"
_UNMEASURED_LENGTH: Final = len(_UNMEASURED)
_REFERENCE: Final = rb'\{"reference":"([A-Z][A-Za-z]*)/([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})"\}'
_REFERENCES: Final = re.compile(rb"(?:%b|\[%b(?:,%b)*\])" % ((_REFERENCE,) * 3))
_EACH_REFERENCE: Final = re.compile(_REFERENCE)
_TIME: Final = re.compile(rb'"[0-9][-0-9T:.+Z]{3,40}"')
_TIMES: Final = frozenset({"effectiveDateTime", "issued"})
"""Elements that are a time alone and differ from resource to resource."""

_EXACT: Final = re.compile(
    rb'"[12][0-9]{3}-(?:0[1-9]|1[0-2])-(?:0[1-9]|1[0-9]|2[0-8])T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]'
    rb'(?:\.[0-9]{1,9})?(?:Z|[+-](?:0[0-9]|1[0-3]):[0-5][0-9])"'
)
"""Times that every dateTime and every instant may be; whoever is not sure looks closer."""

_NOTHING: Final = (b"null", b"[]", b"{}", b'""')
OF_THE_STUDY: Final = ("ResearchStudy", "PlanDefinition")
"""Types that say nothing of any person: their words may leave in a pseudonymous view."""

_OWN_NUMBER: Final = ("Patient", "ResearchSubject")


class Form(Struct, frozen=True, gc=False):
    """An element as it leaves: ``text`` is its member of the JSON object (``b""``: it does not leave).

    ``asked`` are the references it held. ``broken`` is the path of what is not valid R4 in it; ``alone`` says that
    this verdict holds whatever stands beside it. ``arm``: it names an arm to a blinded view. ``sound``: it is valid
    whatever stands beside it, and names none.
    """

    text: bytes = b""
    asked: Asked = ()
    broken: str = ""
    alone: bool = True
    arm: bool = False
    sound: bool = True

    @property
    def value(self) -> Any:
        """The element's value."""
        return codec.decode(self.text[self.text.index(b":") + 1 :])


class ByElement(dict[str, dict[bytes, Form]]):
    """The forms of one type's elements by name and words; those of codes and units are the rights' own."""

    def __init__(self, kind: str, rights: Rights) -> None:
        super().__init__()
        self._kind = kind
        self._rights = rights

    def __missing__(self, name: str) -> dict[bytes, Form]:
        """Begin with an element, or go on with it where its forms outlive a package."""
        kept = self._rights.terms.setdefault((self._kind, name), {}) if name in VOCABULARY else {}
        self[name] = kept
        return kept


class Forms:
    """What the elements of a view's resources become. Lives no longer than the packages it is made for."""

    def __init__(self, rights: Rights) -> None:
        self.known: dict[str, ByElement] = {kind: ByElement(kind, rights) for kind in rights.types}
        self._rights = rights
        self._worded: dict[tuple[str, str, bytes], Form] = {}
        self._numbers: dict[tuple[str, str], Form] = {}

    def of(self, kind: str, subject: Subject | None, name: str, text: bytes, links: Links) -> Form:
        """Return the form of an element of a type; ``text`` is its value as stored."""
        if name in _TIMES and self._stands(kind, name, text):
            return Form(b',"%b":%b' % (name.encode(), text))
        measured = _MEASURED.fullmatch(text) if name == "valueQuantity" else None
        if measured is None:
            return self._of(kind, subject, name, text, links)
        # No rule asks how much was measured: one form does for all numbers of a unit.
        number, rest = measured.groups()
        unmeasured = b'{"value":0' + rest
        form = self.known[kind][name].get(unmeasured)
        if form is None or form.asked:
            form = self._of(kind, subject, name, unmeasured, links)
        if form.text[:_UNMEASURED_LENGTH] != _UNMEASURED:
            return form
        text = b"%b%b%b" % (_MEASURED_HEAD, number, form.text[_UNMEASURED_LENGTH:])
        return Form(text, form.asked, form.broken, form.alone, form.arm, form.sound)

    def _stands(self, kind: str, name: str, text: bytes) -> bool:
        """Whether a time leaves as it is, whatever the resource is: it would not be met again."""
        rights = self._rights
        exact = not rights.recipient.blinded and rights.types[kind].tree.get(name) == {}
        return exact and _EXACT.fullmatch(text) is not None

    def _of(self, kind: str, subject: Subject | None, name: str, text: bytes, links: Links) -> Form:
        known, key = self.known[kind][name], (kind, name, text)
        form = known.get(text) or self._worded.get(key)
        if form is not None and (not form.asked or links.still(form.asked)):
            return form
        form = self._made(kind, subject, name, text, links)
        if name in VOCABULARY:
            if _has_words(text):
                self._worded[key] = form
            else:
                _keep_term(known, text, form)
        elif name != "identifier":  # a subject's number is the subject's
            known[text] = form
        return form

    def _made(self, kind: str, subject: Subject | None, name: str, text: bytes, links: Links) -> Form:
        whole = self._rights.types[kind].tree.get(name) == {}
        if whole and name in _TIMES and _TIME.fullmatch(text):
            return self._checked(kind, name, codec.decode(text), ())
        if whole and name == "identifier" and kind in _OWN_NUMBER and self._rights.pseudonymous and subject is not None:
            return Form() if text in _NOTHING else self._numbered(kind, subject)
        referring = self._referring(kind, name, text, links) if whole else None
        return referring or self._formed(kind, subject, name, text, links)

    def _numbered(self, kind: str, subject: Subject) -> Form:
        """Return the form of a person's identifiers: the subject number stands for them all."""
        key = (kind, subject.number)
        if key not in self._numbers:
            person: dict[str, Any] = {"identifier": True}
            subject_numbers(person, subject)
            own = person.get("identifier")
            self._numbers[key] = self._checked(kind, "identifier", own, ()) if own else Form()
        return self._numbers[key]

    def _referring(self, kind: str, name: str, text: bytes, links: Links) -> Form | None:
        """Return the form of plain references, which nothing but their targets decides; None: there is more to it."""
        if _REFERENCES.fullmatch(text) is None or (self._rights.pseudonymous and never(kind, name)):
            return None
        listed = text.startswith(b"[")
        asked, kept = [], []
        for target_kind, id in _EACH_REFERENCE.findall(text):
            target = target_kind.decode()
            if not refers(kind, name, target, listed=listed):
                return None
            uuid = id.decode()
            led = links.plain(target, uuid)
            asked.append((f"{target}/{uuid}", led))
            if led is not None:
                kept.append(f'{{"reference":"{led}"}}')
        if not kept:
            return Form(asked=tuple(asked))
        value = f"[{','.join(kept)}]" if listed else kept[0]
        return Form(f',"{name}":{value}'.encode(), tuple(asked))

    def _formed(self, kind: str, subject: Subject | None, name: str, text: bytes, links: Links) -> Form:
        asked: list[tuple[str, str | None]] = []

        def led(reference: str) -> str | None:
            target = links.target(reference)
            asked.append((reference, target))
            return target

        value = codec.decode(text)
        types = self._rights.types[kind]
        listed = keep({name: value}, types.tree)
        kept = formed({"resourceType": kind, **listed}, self._rights, subject, led)
        if kind == "Observation" and name == "component" and name in kept and types.parts:
            _drop_valueless(kept, value)
        return self._checked(kind, name, kept[name], tuple(asked)) if name in kept else Form(asked=tuple(asked))

    def _checked(self, kind: str, name: str, value: Any, asked: Asked) -> Form:
        rights = self._rights
        personal = kind not in SHARED or kind == "Group"
        arm = rights.recipient.blinded and personal and names_an_arm({name: value}, rights.study.arms)
        broken, alone = "", True
        try:
            alone = check_element(kind, name, value)
        except InvalidResource as error:
            broken = error.path
        text = b',"%s":%s' % (name.encode(), codec.encode(value))
        return Form(text, asked, broken, alone, arm, alone and not broken and not arm)


def _has_words(text: bytes) -> bool:
    plain = _LIMITS.sub(b"", text) if text.startswith(b'[{"low"') or text.startswith(b'[{"high"') else text
    return any(sign in plain for sign in _MORE_THAN_CODES)


def _keep_term(known: dict[bytes, Form], text: bytes, form: Form) -> None:
    if len(known) >= _TERMS:
        known.clear()
    known[text] = form


# --- one element ----------------------------------------------------------------------------------------------------


def formed(listed: dict[str, Any], rights: Rights, subject: Subject | None, led: Mapping) -> dict[str, Any]:
    """Return listed elements of a resource in the form they leave in, ``resourceType`` among them.

    ``led`` says where a reference leads.
    """
    kind = listed["resourceType"]
    kept = without_arms(listed) if rights.recipient.blinded else listed
    number = kept.pop("identifier", None) if kind in _OWN_NUMBER and rights.pseudonymous else None
    if rights.pseudonymous and kind not in OF_THE_STUDY:
        kept = Pseudonymiser(rights.types[kind].named, led).clean(kept)
    else:
        kept = rewrite(kept, led)
    if number is not None and subject is not None:
        kept["identifier"] = number
        subject_numbers(kept, subject)
    without_other_studies(kept, rights.study.id)
    if kind == "DocumentReference":
        link(kept, led)
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


def _attaches(extension: dict[str, Any]) -> bool:
    """Whether an extension says a value that is a document, not only of what type one is."""
    return extension.get("url") == ATTACHED and bool({"data", "url"} & extension.get("valueAttachment", {}).keys())


def value_name(element: dict[str, Any]) -> str:
    """Return the name of an Observation's or component's value, ``""`` where it has none."""
    if any(_attaches(extension) for extension in element.get("extension", ())):
        return "valueAttachment"
    return next((name for name, value in element.items() if name.startswith("value") and not empty(value)), "")
