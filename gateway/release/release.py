"""``release``: the one way out. Push, pull, broker and export all ask it, at the moment of leaving.

In order: is the type listed, is the patient a subject under active consent for this purpose, do the data lie between
consent and end, must a person look first, is the code listed; then the elements: allow-list, arms, identity,
references; and the result must still be valid R4. The first rule that says no is the answer.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from gateway.errors import InvalidResource
from gateway.fhir import codec
from gateway.fhir.checks import check
from gateway.fhir.piecewise import check_element, check_together
from gateway.model.resource import ResourceVersion
from gateway.model.study import Subject
from gateway.release.blinding import code_reveals, codings
from gateway.release.consent import Entitlement, entitlement
from gateway.release.decision import Let, Withheld
from gateway.release.form import Form, Forms, Links, Reachable, value_name
from gateway.release.identity import PSEUDED
from gateway.release.policy import REQUIRED, SHARED, UNDATED, Rights, TypeRights

CODED: Final = ("Observation", "DiagnosticReport")

_INHERENT: Final = ("resourceType", "id", "meta")
_PSEUDED: Final = {"security": [dict(PSEUDED)]}
_MARKED: Final = b',"meta":' + codec.encode(_PSEUDED)


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
        return self.permitted(version, subject) or self.shaped(version, subject, reachable)

    def permitted(self, version: ResourceVersion, subject: Subject | None) -> Withheld | None:
        """Return the rule that keeps a resource in, elements not yet considered; None when it may leave."""
        types = self.rights.types.get(version.type)
        if types is None:
            return Withheld("type", version.type)
        if version.type in SHARED:
            return _study_of_view(version, self.rights)
        return (
            _member(version, self.rights, subject)
            or self._in_time(version, subject)
            or (Withheld("held", version.held) if version.held else None)
            or _coded(version, types)
        )

    def _in_time(self, version: ResourceVersion, subject: Subject | None) -> Withheld | None:
        if subject is not self._asked:
            self._asked, self._entitled = subject, entitlement(subject, self.rights.recipient, self.now)
        if isinstance(self._entitled, Withheld):
            return self._entitled
        return None if version.type in UNDATED else self._entitled.check(version.date)

    # --- the form in which it leaves --------------------------------------------------------------------------------

    def shaped(
        self, version: ResourceVersion, subject: Subject | None, reachable: Reachable | None = None
    ) -> Let | Withheld:
        """Return a resource in the form the view may see, nobody asking whether it may see it now."""
        elements = codec.members(version.body)
        if self.rights.recipient.blinded and _reveals(version.type, elements):
            return Withheld("blinded", version.code)
        try:
            public = self.forms.public_id(version.id)
        except ValueError:
            return Withheld("invalid", f"{version.type}.id")
        links = Links(version, self.forms, reachable)
        tree, kept = self.rights.types[version.type].tree, {}
        for name, text in elements.items():
            if name.removeprefix("_") in tree and name not in _INHERENT:
                form = self.forms.of(version, subject, name, text, links)
                if form.text:
                    kept[name] = form
        withheld = self._lost(version, elements, kept)
        if withheld is not None:
            return withheld
        return self._put_together(version, public, kept) or self._let(version, public, kept, links)

    def _lost(self, version: ResourceVersion, elements: dict[str, bytes], kept: dict[str, Form]) -> Withheld | None:
        """Return the rule when something that must not go missing would."""
        if version.type == "Observation":
            lost = _value_lost(elements, kept, self.rights)
            if lost:
                return Withheld("value", lost)
        for name in REQUIRED.get(version.type, ()):
            if name not in kept:
                return Withheld("required", f"{version.type}.{name}")
        if self.rights.recipient.blinded and any(form.arm for form in kept.values()):
            return Withheld("blinded", "names an arm")
        return None

    def _put_together(self, version: ResourceVersion, public: str, kept: dict[str, Form]) -> Withheld | None:
        """Return why what leaves is not valid R4, each element valid by itself or not; None when it is."""
        resource: dict[str, Any] = {"resourceType": version.type, "id": public}
        if self.rights.pseudonymous:
            resource["meta"] = _PSEUDED
        alone = True
        for name, form in kept.items():
            if form.broken:
                return Withheld("invalid", form.broken)
            resource[name] = form.value
            alone = alone and form.alone
        try:
            if alone and (self.rights.pseudonymous or check_element(version.type, "id", public)):
                check_together(resource)
            else:
                check(resource)
        except InvalidResource as error:
            return Withheld("invalid", error.path)
        return None

    def _let(self, version: ResourceVersion, public: str, kept: dict[str, Form], links: Links) -> Let:
        marked = _MARKED if self.rights.pseudonymous else b""
        members = b"".join([form.text for form in kept.values()])
        text = b'{"resourceType":"%s","id":"%s"%s%s}' % (version.type.encode(), public.encode(), marked, members)
        return Let(text, public, tuple(links.followed))


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


def _coded(version: ResourceVersion, types: TypeRights) -> Withheld | None:
    if version.type not in CODED or not types.codes:
        return None
    code = _member_of(codec.members(version.body), "code")
    if any(f"{system}|{code}" in types.codes for system, code in codings(code)):
        return None
    return Withheld("code", version.code)


def _member_of(elements: dict[str, bytes], name: str) -> Any:
    return codec.decode(elements[name]) if name in elements else None


def _reveals(kind: str, elements: dict[str, bytes]) -> bool:
    return kind in CODED and code_reveals({"resourceType": kind, "code": _member_of(elements, "code")})


def _value_lost(elements: dict[str, bytes], kept: dict[str, Form], rights: Rights) -> str:
    """Name the value an Observation would leave without, where the file lets some values out.

    An Observation without its value reads as one that has none.
    """
    if not rights.types["Observation"].values or value_name({name: form.value for name, form in kept.items()}):
        return ""
    bears = (name for name in elements if name == "extension" or name.startswith("value"))
    return value_name({name: codec.decode(elements[name]) for name in bears})
