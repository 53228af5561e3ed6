"""What each recipient's file comes to, compiled once; and what is wrong with a file."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from gateway.fhir import codec
from gateway.model.delivery import View
from gateway.model.names import OBSERVATION_CODES
from gateway.model.recipient import Recipient, ReleaseRule
from gateway.model.resource import ResourceVersion
from gateway.model.study import Study
from gateway.release.blinding import ARM_ELEMENTS, ARM_TYPES, reveals
from gateway.release.documents import hidden, shows_url
from gateway.release.elements import Tree, tree_of
from gateway.release.identity import never, pseudonym, pseudonyms, resolve, written
from gateway.release.kinds import ANY_OF, CODED, ELEMENTS, NEEDS_TYPE, REQUIRED, SAYS_OF_OTHERS, SHARED, UNDATED

__all__ = [
    "ANY_OF", "ELEMENTS", "NEEDS_TYPE", "REQUIRED", "SAYS_OF_OTHERS", "SHARED", "UNDATED", "Policy", "Rights",
    "TypeRights",
]  # fmt: skip


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
        """Return the internal id behind one the view knows. Raises ``ValueError`` when it is not written as a UUID."""
        return resolve(public, self.study.id, self._key) if self.pseudonymous else written(public)

    def same_ids(self, other: Rights) -> bool:
        """Whether another view knows a resource by the same id."""
        return self.pseudonymous == other.pseudonymous and (not self.pseudonymous or self.study.id == other.study.id)

    def is_of_study(self, version: ResourceVersion) -> bool:
        """Whether what belongs to no patient is the view's study itself, or a client wrote it into that study."""
        return version.id == self.study.resource or version.study == self.study.id

    @cached_property
    def documents(self) -> bool:
        """Whether the view may fetch the documents it is told of."""
        listed = {"Binary", "DocumentReference"} <= self.types.keys() and not self.pseudonymous
        return listed and shows_url(self.types["DocumentReference"].tree)

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
    def delivered(self) -> tuple[View, ...]:
        """The views to which something is delivered; the others ask for themselves."""
        return tuple(view for view, rights in self._rights.items() if rights.recipient.receives)

    @cached_property
    def _by_study(self) -> dict[str, tuple[Rights, ...]]:
        return {id: tuple(self._rights[view] for view in self.delivered if view.study == id) for id in self.studies}

    def of_study(self, study: str) -> tuple[Rights, ...]:
        """Return the views of a study to which something is delivered."""
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
    yield from (f"{needed} is required by FHIR and not listed" for needed in REQUIRED[kind] if needed not in tops)
    lacking = (choice for choice in ANY_OF.get(kind, ()) if not tops & set(choice))
    yield from (f"one of {' and '.join(choice)} is required by FHIR" for choice in lacking)
    for other in NEEDS_TYPE.get(kind, ()):
        if other not in recipient.release:
            yield f"refers to {other}, which is not listed"
    if kind == "Binary":
        yield from _binary_errors(recipient)
    yield from _element_errors(recipient, kind, rule)
    if rule.codes and kind not in CODED:
        yield "codes: only Observation and DiagnosticReport have them"
    yield from (f"codes: {code!r} is not system|code" for code in rule.codes if "|" not in code)


def _binary_errors(recipient: Recipient) -> Iterator[str]:
    if recipient.identity == "pseudonymous":
        yield "a pseudonymous view never sees it: a document may name people"
    told = recipient.release.get("DocumentReference")
    if told is not None and not shows_url(tree_of(told.elements)):
        yield "release.DocumentReference does not list content.attachment.url, which says where it is"


def _element_errors(recipient: Recipient, kind: str, rule: ReleaseRule) -> Iterator[str]:
    for path in rule.elements:
        top = path.split(".")[0]
        if top not in ELEMENTS[kind]:
            yield f"{path}: {kind} has no such element"
        elif recipient.identity == "pseudonymous" and never(kind, top):
            yield f"{path}: a pseudonymous view never sees it"
    if recipient.identity == "pseudonymous":
        yield from (f"{path}: a pseudonymous view never sees it" for path in hidden(rule.elements))


def blinded_violations(recipient: Recipient) -> list[str]:
    """Return what in a blinded recipient's file could reveal an arm, one line each. They never leave in any case."""
    found = []
    for kind, rule in recipient.release.items():
        if kind in ARM_TYPES:
            found.append(f"release.{kind}: nobody can tell whether one reveals an arm to a blinded recipient")
        arms = [path for path in rule.elements if path.split(".")[0] in ARM_ELEMENTS.get(kind, ())]
        found += [f"release.{kind}: {path} reveals an arm to a blinded recipient" for path in arms]
        if kind in CODED and not rule.codes:
            found.append(f"release.{kind}: codes must be named for a blinded recipient: some reveal an arm")
        for code in rule.codes:
            system, _, value = code.rpartition("|")
            if reveals(system or OBSERVATION_CODES, value):
                found.append(f"release.{kind}: {code} reveals an arm to a blinded recipient")
    return found
