"""Who is a subject of which study: read from the current ResearchSubject and Consent versions of a patient."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from gateway.fhir import codec
from gateway.fhir.references import references
from gateway.model.names import SUBJECT_NUMBER
from gateway.model.resource import ResourceVersion
from gateway.model.study import Consent, Subject
from gateway.ports import Transaction
from gateway.release.policy import Policy

ENTITLING: Final = ("ResearchSubject", "Consent", "Patient")
"""Types whose change can change what a view may see."""

_LIVE: Final = ("candidate", "eligible", "follow-up", "on-study", "on-study-intervention", "on-study-observation")


@dataclass(frozen=True, slots=True)
class Standing:
    """A patient's places: the subject per study, the Patients merged into this one, and what this was read from."""

    subjects: dict[str, Subject]
    merged: tuple[str, ...] = ()
    versions: tuple[ResourceVersion, ...] = ()


def subjects_of(tx: Transaction, patient: str, policy: Policy) -> Standing:
    """Return a patient's place in each study of the policy."""
    return standing(tx.resources.of_patient(patient, types=ENTITLING), patient, policy)


def standing(versions: Sequence[ResourceVersion], patient: str, policy: Policy) -> Standing:
    """Return what ResearchSubject, Consent and Patient versions come to, newest of each.

    Two ResearchSubjects in one study (a merge of two subjects): the one still taking part counts, else the newest.
    """
    of_type: dict[str, list[ResourceVersion]] = {kind: [] for kind in ENTITLING}
    for version in versions:
        if version.type in of_type and not version.gone:
            of_type[version.type].append(version)
    consents = [(version, codec.decode(version.body)) for version in of_type["Consent"]]
    subjects: dict[str, Subject] = {}
    for version in sorted(of_type["ResearchSubject"], key=lambda each: each.change):
        subject = subject_of(version, codec.decode(version.body), consents, policy)
        if subject is not None and not _outranked(subject, subjects.get(subject.study)):
            subjects[subject.study] = subject
    merged = tuple(version.id for version in of_type["Patient"] if version.id != patient)
    return Standing(subjects, merged, tuple(versions))


class Standings:
    """What the same versions came to before, of one policy. Safe from any thread."""

    def __init__(self, most: int = 4096) -> None:
        """Keep so many patients at most."""
        self._most = most
        self._known: dict[tuple[str, tuple[int, ...]], Standing] = {}

    def of(self, versions: Sequence[ResourceVersion], patient: str, policy: Policy) -> Standing:
        """Return what stored versions come to, as ``standing`` does."""
        key = (patient, tuple([version.change for version in versions]))
        known = self._known.get(key)
        if known is None:
            if len(self._known) >= self._most:
                self._known.clear()
            known = self._known[key] = standing(versions, patient, policy)
        return known


def studies_of(subjects: Sequence[ResourceVersion], policy: Policy) -> dict[str, set[str]]:
    """Return by patient the studies of the policy in which these ResearchSubjects are places."""
    found: dict[str, set[str]] = {}
    for version in subjects:
        study = policy.study_of(_id(codec.decode(version.body).get("study")))
        if study is not None:
            found.setdefault(version.patient, set()).add(study.id)
    return found


def _outranked(subject: Subject, other: Subject | None) -> bool:
    return other is not None and other.status in _LIVE and subject.status not in _LIVE


def subject_of(
    version: ResourceVersion,
    body: dict[str, Any],
    consents: Sequence[tuple[ResourceVersion, dict[str, Any]]],
    policy: Policy,
) -> Subject | None:
    """Return the subject a ResearchSubject stands for; None when its study is no study of the policy."""
    study = policy.study_of(_id(body.get("study")))
    if study is None:
        return None
    period = body.get("period", {})
    own = _id(body.get("consent"))
    return Subject(
        study=study.id,
        patient=version.patient,
        resource=version.id,
        status=body.get("status", ""),
        number=number_of(body, study.id),
        started_at=start_of(period.get("start")),
        ended_at=_end(period.get("end")),
        consents=tuple(
            consent_of(each, content) for each, content in consents if each.id == own or _about(content, study.resource)
        ),
    )


def consent_of(version: ResourceVersion, body: dict[str, Any]) -> Consent:
    """Return a Consent as releasing sees it.

    ``given_at`` is ``Consent.dateTime``, ``ends_at`` the end of its provision. Purposes are those its provision
    permits, less those a nested provision denies.
    """
    provision = body.get("provision", {})
    permitted = set() if provision.get("type") == "deny" else set(_purposes(provision))
    for nested in provision.get("provision", ()):
        if nested.get("type") == "deny":
            permitted -= set(_purposes(nested))
        else:
            permitted |= set(_purposes(nested))
    return Consent(
        active=body.get("status") == "active",
        given_at=version.date or start_of(body.get("dateTime")),
        purposes=frozenset(permitted),
        ends_at=_end(provision.get("period", {}).get("end")),
        resource=version.id,
        status=body.get("status", ""),
    )


def _purposes(provision: dict[str, Any]) -> Iterator[str]:
    for purpose in provision.get("purpose", ()):
        if "code" in purpose:
            yield purpose["code"]


def _about(consent: dict[str, Any], study_resource: str) -> bool:
    return any(reference == f"ResearchStudy/{study_resource}" for _, reference in references(consent))


def _id(reference: Any) -> str:
    literal = reference.get("reference", "") if isinstance(reference, dict) else ""
    return str(literal).rpartition("/")[2]


def number_of(body: dict[str, Any], study: str) -> str:
    """Return the subject number a ResearchSubject bears in a study, ``""`` when it bears none."""
    system = f"{SUBJECT_NUMBER}/{study}"
    return next((str(one.get("value", "")) for one in body.get("identifier", ()) if one.get("system") == system), "")


def start_of(text: Any) -> datetime | None:
    """Return the first moment of a FHIR dateTime (UTC); None for what is none."""
    return _moments(text)[0] if isinstance(text, str) else None


def _end(text: Any) -> datetime | None:
    return _moments(text)[1] if isinstance(text, str) else None


def _moments(text: str) -> tuple[datetime, datetime] | tuple[None, None]:
    """Return the first and the last moment of a FHIR dateTime, UTC; a date without a zone is read as UTC.

    >>> [moment.isoformat() for moment in _moments("2026-02")]
    ['2026-02-01T00:00:00+00:00', '2026-02-28T23:59:59.999999+00:00']
    """
    try:
        if "T" in text:
            moment = datetime.fromisoformat(text)
            exact = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
            return exact, exact
        year, month, day = (*(int(part) for part in text.split("-")), 0, 0)[:3]
        first = datetime(year, month or 1, day or 1, tzinfo=UTC)
        if day:
            after = first + timedelta(days=1)
        elif month:
            after = datetime(year + month // 12, month % 12 + 1, 1, tzinfo=UTC)
        else:
            after = datetime(year + 1, 1, 1, tzinfo=UTC)
    except ValueError:
        return None, None
    return first, after - timedelta(microseconds=1)
