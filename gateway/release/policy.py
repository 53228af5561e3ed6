"""What each recipient's file comes to, compiled once; and what is wrong with a file."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Final

from gateway.fhir import codec
from gateway.model.delivery import View
from gateway.model.names import OBSERVATION_CODES
from gateway.model.recipient import Recipient, ReleaseRule
from gateway.model.study import Study
from gateway.release.blinding import ARM_ELEMENTS, reveals
from gateway.release.elements import Tree, tree_of
from gateway.release.identity import never, pseudonym, pseudonyms, resolve

SHARED: Final = ("Organization", "Practitioner", "ResearchStudy")
"""Types that belong to no patient."""

UNDATED: Final = ("Patient", "ResearchSubject", "Consent", "Provenance", *SHARED)
"""Types without a clinical date: membership alone governs them."""

REQUIRED: Final[Mapping[str, tuple[str, ...]]] = {
    "Patient": (),
    "ResearchSubject": ("status", "study", "individual"),
    "ResearchStudy": ("status",),
    "Consent": ("status", "scope", "category"),
    "Encounter": ("status", "class"),
    "Specimen": (),
    "Observation": ("status", "code"),
    "DiagnosticReport": ("status", "code"),
    "Provenance": ("target", "recorded", "agent"),
    "Organization": (),
    "Practitioner": (),
}
"""Elements without which a resource is not valid R4 (FHIR R4 4.0.1, the resource pages), by releasable type."""

ANY_OF: Final[Mapping[str, tuple[str, ...]]] = {
    "Organization": ("identifier", "name"),
    "Consent": ("policy", "policyRule"),
}
"""Elements of which one is needed: invariants org-1 and ppc-1."""

NEEDS_TYPE: Final[Mapping[str, tuple[str, ...]]] = {
    "ResearchSubject": ("ResearchStudy", "Patient"),
    "Provenance": ("Organization",),
}
"""Types a required reference points to: a view that may not see them cannot receive the resource."""


@dataclass(frozen=True, slots=True)
class TypeRights:
    """What a view may see of one type: the tree of its elements, the very paths its file names, its codes.

    ``values``: the file names a value of an Observation; ``parts``: or one of its components'.
    """

    tree: Tree
    named: frozenset[str]
    codes: frozenset[str]
    values: bool
    parts: bool


class Rights:
    """What one view may see. ``types`` by resource type; ids as the view knows them."""

    def __init__(self, recipient: Recipient, study: Study, pseudonym_key: bytes) -> None:
        self.recipient = recipient
        self.study = study
        self.view = View(recipient.id, study.id)
        self.pseudonymous = recipient.identity == "pseudonymous"
        self.types: dict[str, TypeRights] = {kind: _rights_of(rule) for kind, rule in recipient.release.items()}
        self.terms: dict[tuple[str, str], dict[bytes, Any]] = {}
        """The forms in which codes and units leave: they hold as long as the recipient's file (``form.Forms``)."""
        self.outlines: dict[tuple[str, tuple[str, ...]], Any] = {}
        """What the names of a resource's elements decide (``outline.Outline``), by type and names."""
        self._key = pseudonym_key

    def public_id(self, internal: str) -> str:
        """Return the id under which the view knows a resource. Raises ``ValueError`` when it is no UUID."""
        return pseudonym(internal, self.study.id, self._key) if self.pseudonymous else internal

    def public_ids(self, internals: Iterable[str]) -> dict[str, str]:
        """Return the ids under which the view knows resources, by internal id; what is no UUID is left out."""
        if self.pseudonymous:
            return pseudonyms(internals, self.study.id, self._key)
        return {internal: internal for internal in internals}

    def internal_id(self, public: str) -> str:
        """Return the internal id behind one the view knows. Raises ``ValueError`` when it is no UUID."""
        return resolve(public, self.study.id, self._key) if self.pseudonymous else public

    @cached_property
    def digest(self) -> str:
        """The digest of the recipient's file these rights come from."""
        return file_digest(self.recipient)

    @property
    def every_version(self) -> bool:
        """Whether the recipient must see each version."""
        return self.recipient.delivery == "every-version"


def _rights_of(rule: ReleaseRule) -> TypeRights:
    tree = tree_of(rule.elements)
    values = any(path.startswith("value") for path in rule.elements)
    parts = values or "component" in tree
    return TypeRights(tree, frozenset(rule.elements), frozenset(rule.codes), values, parts)


class Policy:
    """Every view there is. ``pseudonym_key`` is the root of the studies' keys (``Keys.pseudonym``)."""

    def __init__(self, recipients: Iterable[Recipient], studies: Iterable[Study], pseudonym_key: bytes) -> None:
        self.recipients = {recipient.id: recipient for recipient in recipients}
        self.studies = {study.id: study for study in studies}
        self._rights = {
            View(recipient.id, study): Rights(recipient, self.studies[study], pseudonym_key)
            for recipient in self.recipients.values()
            for study in recipient.studies
            if study in self.studies
        }

    def rights(self, view: View) -> Rights | None:
        """Return what a view may see; None when no recipient's file makes it."""
        return self._rights.get(view)

    @cached_property
    def views(self) -> tuple[View, ...]:
        """Every view."""
        return tuple(self._rights)

    @cached_property
    def _by_study(self) -> dict[str, tuple[Rights, ...]]:
        return {id: tuple(r for view, r in self._rights.items() if view.study == id) for id in self.studies}

    def of_study(self, study: str) -> tuple[Rights, ...]:
        """Return the views of a study."""
        return self._by_study.get(study, ())

    def study_of(self, resource: str) -> Study | None:
        """Return the study whose ResearchStudy has this internal id."""
        return self._by_resource.get(resource)

    @cached_property
    def _by_resource(self) -> dict[str, Study]:
        return {study.resource: study for study in self.studies.values()}

    def digest(self, recipient: str) -> str:
        """Return a digest of all in a recipient's file that decides what it is entitled to."""
        return file_digest(self.recipients[recipient])


def file_digest(file: Recipient) -> str:
    """Return a digest of all in a recipient's file that decides what it is entitled to."""
    release = {kind: asdict(rule) for kind, rule in sorted(file.release.items())}
    terms = [
        release, sorted(file.studies), file.identity, file.blinded, file.purpose, sorted(file.statuses),
        str(file.look_back), file.fhir_version, file.delivery,
    ]  # fmt: skip
    return hashlib.sha256(codec.encode(terms)).hexdigest()[:32]


# --- what is wrong with a file --------------------------------------------------------------------------------------


def policy_errors(recipient: Recipient) -> list[str]:
    """Return what is wrong with a recipient's file, one line each: ``release.Type: what``."""
    errors = list(_kind_errors(recipient))
    for kind, rule in recipient.release.items():
        errors += [f"release.{kind}: {what}" for what in _type_errors(recipient, kind, rule)]
    if recipient.blinded:
        errors += blinded_violations(recipient)
    return errors


def _kind_errors(recipient: Recipient) -> Iterator[str]:
    if recipient.kind == "amqp" and recipient.identity != "pseudonymous":
        yield "identity: an amqp recipient must be pseudonymous"
    if recipient.search_by_identifier and recipient.identity == "pseudonymous":
        yield "search_by_identifier: a pseudonymous view has no business identifiers to search by"


def _type_errors(recipient: Recipient, kind: str, rule: ReleaseRule) -> Iterator[str]:
    if kind not in REQUIRED:
        yield "is no resource type that can be released"
        return
    tops = {path.split(".")[0] for path in rule.elements}
    for needed in REQUIRED[kind]:
        if needed not in tops:
            yield f"{needed} is required by FHIR and not listed"
    choice = ANY_OF.get(kind, ())
    if choice and not tops & set(choice):
        yield f"one of {' and '.join(choice)} is required by FHIR"
    for other in NEEDS_TYPE.get(kind, ()):
        if other not in recipient.release:
            yield f"refers to {other}, which is not listed"
    yield from _element_errors(recipient, kind, rule)
    if rule.codes and kind not in ("Observation", "DiagnosticReport"):
        yield "codes: only Observation and DiagnosticReport have them"
    yield from (f"codes: {code!r} is not system|code" for code in rule.codes if "|" not in code)


def _element_errors(recipient: Recipient, kind: str, rule: ReleaseRule) -> Iterator[str]:
    for path in rule.elements:
        top = path.split(".")[0]
        if top not in ELEMENTS[kind]:
            yield f"{path}: {kind} has no such element"
        elif recipient.identity == "pseudonymous" and never(kind, top):
            yield f"{path}: a pseudonymous view never sees it"


def blinded_violations(recipient: Recipient) -> list[str]:
    """Return what in a blinded recipient's file could reveal an arm, one line each. They never leave in any case."""
    found = []
    for kind, rule in recipient.release.items():
        arms = [path for path in rule.elements if path.split(".")[0] in ARM_ELEMENTS.get(kind, ())]
        found += [f"release.{kind}: {path} reveals an arm to a blinded recipient" for path in arms]
        if kind in ("Observation", "DiagnosticReport") and not rule.codes:
            found.append(f"release.{kind}: codes must be named for a blinded recipient: some reveal an arm")
        for code in rule.codes:
            system, _, value = code.rpartition("|")
            if reveals(system or OBSERVATION_CODES, value):
                found.append(f"release.{kind}: {code} reveals an arm to a blinded recipient")
    return found


_DOMAIN = frozenset({"text", "contained", "extension", "modifierExtension", "meta", "implicitRules", "language"})


def _elements(text: str) -> frozenset[str]:
    return _DOMAIN | frozenset(text.split())


ELEMENTS: Final[Mapping[str, frozenset[str]]] = {
    "Patient": _elements(
        "identifier active name telecom gender birthDate deceasedBoolean deceasedDateTime address maritalStatus "
        "multipleBirthBoolean multipleBirthInteger photo contact communication generalPractitioner "
        "managingOrganization link"
    ),
    "ResearchSubject": _elements("identifier status period study individual assignedArm actualArm consent"),
    "ResearchStudy": _elements(
        "identifier title protocol partOf status primaryPurposeType phase category focus condition contact "
        "relatedArtifact keyword location description enrollment period sponsor principalInvestigator site "
        "reasonStopped note arm objective"
    ),
    "Consent": _elements(
        "identifier status scope category patient dateTime performer organization sourceAttachment sourceReference "
        "policy policyRule verification provision"
    ),
    "Encounter": _elements(
        "identifier status statusHistory class classHistory type serviceType priority subject episodeOfCare basedOn "
        "participant appointment period length reasonCode reasonReference diagnosis account hospitalization location "
        "serviceProvider partOf"
    ),
    "Specimen": _elements(
        "identifier accessionIdentifier status type subject receivedTime parent request collection processing "
        "container condition note"
    ),
    "Observation": _elements(
        "identifier basedOn partOf status category code subject focus encounter effectiveDateTime effectivePeriod "
        "effectiveTiming effectiveInstant issued performer valueQuantity valueCodeableConcept valueString "
        "valueBoolean valueInteger valueRange valueRatio valueSampledData valueTime valueDateTime valuePeriod "
        "dataAbsentReason interpretation note bodySite method specimen device referenceRange hasMember derivedFrom "
        "component"
    ),
    "DiagnosticReport": _elements(
        "identifier basedOn status category code subject encounter effectiveDateTime effectivePeriod issued "
        "performer resultsInterpreter specimen result imagingStudy media conclusion conclusionCode presentedForm"
    ),
    "Provenance": _elements(
        "target occurredPeriod occurredDateTime recorded policy location reason activity agent entity signature"
    ),
    "Organization": _elements("identifier active type name alias telecom address partOf contact endpoint"),
    "Practitioner": _elements(
        "identifier active name telecom address gender birthDate photo qualification communication"
    ),
}
"""The top-level elements of the releasable types (FHIR R4 4.0.1)."""
