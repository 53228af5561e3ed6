"""``release``: the one way out. Push, pull, broker and export all ask it, at the moment of leaving.

In order: is the type listed, is the patient a subject under active consent for this purpose, do the data lie between
consent and end, must a person look first, is the code listed; then the elements: allow-list, arms, identity,
references; and the result must still be valid R4. The first rule that says no is the answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final

from msgspec import Raw

from gateway.errors import InvalidResource
from gateway.fhir import codec
from gateway.fhir.checks import check
from gateway.fhir.piecewise import check_element, check_together
from gateway.model.resource import ResourceVersion
from gateway.model.study import Subject
from gateway.release.blinding import ARM_TYPES, code_reveals, codings
from gateway.release.consent import Entitlement, entitlement
from gateway.release.decision import Let, Withheld
from gateway.release.documents import TAKEN_BACK
from gateway.release.form import Form, Forms, value_name
from gateway.release.kinds import CODED, REQUIRED, SAYS_OF_OTHERS, SHARED, UNDATED
from gateway.release.links import Ids, Links, Reachable
from gateway.release.outline import outline
from gateway.release.policy import Rights, TypeRights

_OF_PERSONS: Final = ("ResearchSubject", "Consent", "Patient")
BINARY: Final = "Binary"
_ID: Final = re.compile(r"[A-Za-z0-9\-.]{1,64}")


def release(
    version: ResourceVersion,
    rights: Rights,
    subject: Subject | None,
    now: datetime,
    *,
    reachable: Reachable | None = None,
) -> Let | Withheld:
    """Decide whether a version may leave to a view now, and in what form; ``Releasing`` decides on many."""
    return Releasing(rights, now).release(version, subject, reachable)


class Releasing:
    """Decides what may leave to one view at one moment (UTC).

    Remembers what it has formed and whom it has found entitled: let go of it with the packages it decides on.
    """

    def __init__(self, rights: Rights, now: datetime) -> None:
        self.rights = rights
        self.now = now
        self.ids = Ids(rights)
        self.forms = Forms(rights)
        self._asked: Subject | None = None
        self._entitled: Entitlement | Withheld = Withheld("not-a-subject")

    def release(
        self, version: ResourceVersion, subject: Subject | None, reachable: Reachable | None = None
    ) -> Let | Withheld:
        """Decide whether a version may leave, and in what form.

        ``subject`` is the patient's place in the view's study, None when it has none; shared resources need none.
        ``reachable`` None: every reference to a listed type stays.
        """
        return self.decide(version, subject, self.links(version.patient, reachable))

    def links(self, patient: str, reachable: Reachable | None) -> Links:
        """Return where the references of a patient's resources lead, as long as ``reachable`` does not change."""
        return Links(self.ids, self.rights.pseudonymous, patient, reachable)

    def decide(self, version: ResourceVersion, subject: Subject | None, links: Links) -> Let | Withheld:
        """Decide as ``release`` does; ``links`` are those of the version's patient."""
        return self.permitted(version, subject) or self.shaped(version, subject, links)

    def permitted(self, version: ResourceVersion, subject: Subject | None) -> Withheld | None:
        """Return the rule that keeps a resource in, elements not yet considered; None when it may leave."""
        kind = version.type
        types = self.rights.types.get(kind)
        if types is None:
            return Withheld("type", kind)
        if version.gone:
            return Withheld("deleted")
        if kind in SHARED or (kind in SAYS_OF_OTHERS and not version.patient):
            return _study_of_view(version, self.rights)
        if subject is None or subject.study != self.rights.study.id or subject.patient != version.patient:
            return Withheld("not-a-subject")
        return (
            (_own(version, subject) if kind in _OF_PERSONS else None)
            or self._in_time(version, subject)
            or (Withheld("held", version.held) if version.held else None)
            or (self._fetched(version) if kind == BINARY else None)
            or (_coded(version, types) if types.codes else None)
        )

    def _in_time(self, version: ResourceVersion, subject: Subject) -> Withheld | None:
        if subject is not self._asked:
            self._asked, self._entitled = subject, entitlement(subject, self.rights.recipient, self.now)
        if isinstance(self._entitled, Withheld):
            return self._entitled
        return None if version.type in UNDATED else self._entitled.check(version.date)

    def _fetched(self, version: ResourceVersion) -> Withheld | None:
        """Return the rule that keeps a document's bytes in, whatever refers to them."""
        if version.status in TAKEN_BACK:
            return Withheld("taken-back")
        return None if self.rights.documents else Withheld("document")

    # --- the form in which it leaves --------------------------------------------------------------------------------

    def shaped(self, version: ResourceVersion, subject: Subject | None, links: Links) -> Let | Withheld:
        """Return a resource in the form the view may see, nobody asking whether it may see it now."""
        kind, elements = version.type, codec.members(version.body)
        if self.rights.recipient.blinded and _reveals(kind, elements):
            return Withheld("blinded", version.code)
        try:
            public = self.ids.public(version.id)
        except ValueError:
            return Withheld("invalid", f"{kind}.id")
        if kind == BINARY and not _told_of(elements, links):
            return Withheld("document")
        plan = outline(kind, tuple(elements), self.rights)
        known, stood = self.forms.known[kind], links.stood
        texts = [bytes(elements[name]) for name in plan.names]
        found = [known[name].get(text) for name, text in zip(plan.names, texts, strict=True)]
        forms = [
            known_form
            if known_form is not None and (not known_form.asked or known_form.asked in stood)
            else self.forms.of(kind, subject, name, text, links)
            for name, text, known_form in zip(plan.names, texts, found, strict=True)
        ]
        bits, bit, sound = 0, 1, self.rights.pseudonymous or _ID.fullmatch(public) is not None
        for form in forms:
            sound = sound and form.sound
            bits |= bit if form.text else 0
            bit <<= 1
        text = b"".join([plan.head, public.encode(), plan.tail, *[form.text for form in forms], b"}"])
        let = Let(text, public)
        if sound and (bits in plan.whole or plan.stands(bits)):
            return let
        kept = {name: form for name, form in zip(plan.names, forms, strict=True) if form.text}
        return self._lost(kind, elements, kept) or self._invalid(kind, let, kept) or let

    def _lost(self, kind: str, elements: dict[str, Raw], kept: dict[str, Form]) -> Withheld | None:
        """Return the rule when something that must not go missing would."""
        if kind == "Observation":
            lost = _value_lost(elements, kept, self.rights)
            if lost:
                return Withheld("value", lost)
        for name in REQUIRED.get(kind, ()):
            if name not in kept:
                return Withheld("required", f"{kind}.{name}")
        if self.rights.recipient.blinded and any(form.arm for form in kept.values()):
            return Withheld("blinded", "names an arm")
        return None

    def _invalid(self, kind: str, let: Let, kept: dict[str, Form]) -> Withheld | None:
        """Return why what leaves is not valid R4, each element valid by itself or not; None when it is."""
        broken = next((form.broken for form in kept.values() if form.broken), "")
        if broken:
            return Withheld("invalid", broken)
        try:
            if check_element(kind, "id", let.id) and all(form.alone for form in kept.values()):
                check_together(let.body)
            else:
                check(let.body)
        except InvalidResource as error:
            return Withheld("invalid", error.path)
        return None


def _study_of_view(version: ResourceVersion, rights: Rights) -> Withheld | None:
    if version.type == "ResearchStudy" and not rights.is_of_study(version):
        return Withheld("study", "of another study")
    return None


def _own(version: ResourceVersion, subject: Subject) -> Withheld | None:
    if version.type == "ResearchSubject" and version.id != subject.resource:
        return Withheld("study", "a subject of another study")
    if version.type == "Consent" and version.id not in {consent.resource for consent in subject.consents}:
        return Withheld("study", "a consent to something else")
    if version.type == "Patient" and version.id != version.patient:
        return Withheld("merged")
    return None


def _coded(version: ResourceVersion, types: TypeRights) -> Withheld | None:
    if version.type not in CODED:
        return None
    code = _member_of(codec.members(version.body), "code")
    if any(f"{system}|{code}" in types.codes for system, code in codings(code)):
        return None
    return Withheld("code", version.code)


def _member_of(elements: dict[str, Raw], name: str) -> Any:
    return codec.decode(bytes(elements[name])) if name in elements else None


def _reveals(kind: str, elements: dict[str, Raw]) -> bool:
    if kind in ARM_TYPES:
        return True
    return kind in CODED and code_reveals({"resourceType": kind, "code": _member_of(elements, "code")})


def _value_lost(elements: dict[str, Raw], kept: dict[str, Form], rights: Rights) -> str:
    """Name the value an Observation would leave without, where the file lets some values out.

    An Observation without its value reads as one that has none.
    """
    if not rights.types["Observation"].values or value_name({name: kept[name].value for name in _values(kept)}):
        return ""
    return value_name({name: codec.decode(bytes(elements[name])) for name in _values(elements)})


def _told_of(elements: dict[str, Raw], links: Links) -> bool:
    """Whether the view sees the DocumentReference that a Binary is of (FHIR R4, Binary.securityContext)."""
    context = _member_of(elements, "securityContext")
    reference = context.get("reference") if isinstance(context, dict) else None
    return (
        isinstance(reference, str)
        and reference.startswith("DocumentReference/")
        and links.target(reference) is not None
    )


def _values(names: Iterable[str]) -> list[str]:
    return [name for name in names if name == "extension" or name.startswith("value")]
