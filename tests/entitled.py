"""What each view may see of a record (``tests.records``), worked out plainly.

Written from ARCHITECTURE decisions 7 and 8 and docs/trial-systems.md, over the raw data: it asks no code of the product
that decides.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from gateway.fhir import codec
from gateway.model.delivery import View
from gateway.model.names import CLIENT_ID
from gateway.model.recipient import Recipient
from gateway.model.resource import ResourceVersion
from gateway.model.study import Study
from tests.records import HIDES_ARMS, LINKS, LIVE, NEEDED, PEOPLE, SHARED, UNDATED, VCN, Record, Resource


def revived(record: Record, id: str) -> Record:
    """A record in which a resource was not deleted."""
    versions = [one.but(gone=False) if one.id == id else one for one in record.versions]
    return Record(versions, record.merged)


class Oracle:
    """What one view may see of a record at a moment."""

    def __init__(self, record: Record, file: Recipient, study: Study, now: datetime) -> None:
        self.file, self.study, self.now = file, study, now
        self._order = {(version.id, version.version): place for place, version in enumerate(record.versions)}
        self.view = View(file.id, study.id)
        self.record = record
        self._heads = record.heads()
        self._bodies = {id: codec.decode(head.body) for id, head in self._heads.items()}
        self.seen = self._seen()

    def refers(self, id: str) -> set[tuple[str, str]]:
        """The references of something seen that the view is shown: (type, internal id)."""
        return set(self._shown_links(self._heads[id].type, self._bodies[id], self._patient_of(id)))

    def versions(self, id: str) -> list[ResourceVersion]:
        """The versions of something seen that the view is shown, newest first."""
        head = self._heads[id]
        past = [one for one in self.record.versions if one.id == id and one is not head and one.patient == head.patient]
        shown = [one for one in past if self._may_leave(one) and self._holds_together(one, self.seen)]
        return [head, *reversed(shown)]

    def _seen(self) -> frozenset[str]:
        allowed = {id for id, head in self._heads.items() if self._may_leave(head)}
        said = {id for id in allowed if _says_of_others(self._heads[id])}
        may, before = allowed - said, set[str]()
        while before != may:
            before = may
            may = {id for id in before if self._holds_together(self._heads[id], before)}
        own = {id for id in may if self._heads[id].patient}
        self._reachable = frozenset(may)
        concerned = {self.study.resource} & may
        concerned |= {id for id in may if not self._heads[id].patient and self._heads[id].study == self.study.id}
        for id in own:
            concerned |= self._shared_links(id)
        before = set()
        while before != concerned:
            before = set(concerned)
            concerned |= {found for id in before for found in self._shared_links(id)}
        self._told = frozenset(own | concerned)
        return self._told | {id for id in said if self._holds_together(self._heads[id], self._told)}

    def _shared_links(self, id: str) -> set[str]:
        links = self._shown_links(self._heads[id].type, self._bodies[id], self._patient_of(id))
        return {found for kind, found in links if kind in SHARED and found in self._reachable}

    def _patient_of(self, id: str) -> str:
        return self._heads[id].patient

    # --- one resource -------------------------------------------------------------------------------------------------

    def _may_leave(self, version: ResourceVersion) -> bool:
        if version.type not in self.file.release or version.gone:
            return False
        if version.type == "ResearchStudy":
            return version.id == self.study.resource
        if version.type in SHARED or _says_of_others(version):
            return True
        return self._of_a_subject(version) and not version.held and self._fits(version)

    def entitled(self, patient: str) -> str:
        """The ResearchSubject by which the view may see something of a patient, ``""`` when it may not."""
        place = self._place(patient)
        return str(place["id"]) if place is not None and self._covering(patient, place) else ""

    def names(self, id: str) -> bool:
        """Whether who writes for the view may name it: what is seen, and a person's place in the study and consents."""
        head = self._heads[id]
        place = None if head.gone or head.type not in self.file.release else self._place(head.patient)
        consents = [] if place is None else self._consents(head.patient, place)
        return id in self.seen or (
            place is not None and id in {head.patient, *(one["id"] for one in [place, *consents])}
        )

    def _covering(self, patient: str, place: Resource) -> list[Resource]:
        """The consents that let the view see something of a patient in this place."""
        if place["status"] not in ("on-study", "follow-up"):
            return []
        return [one for one in self._consents(patient, place) if self._covers(one)]

    def _of_a_subject(self, version: ResourceVersion) -> bool:
        place = self._place(version.patient)
        covering = [] if place is None else self._covering(version.patient, place)
        if place is None or not covering:
            return False
        consents = self._consents(version.patient, place)
        if version.type in UNDATED:
            own = {"Patient": {version.patient}, "ResearchSubject": {place["id"]}}
            own["Consent"] = {one["id"] for one in consents}
            return version.id in own.get(version.type, {version.id})
        return version.date is not None and self._in_time(version.date, place, covering)

    def _in_time(self, at: datetime, place: Resource, covering: Sequence[Resource]) -> bool:
        given = [_moment(one["dateTime"]) for one in covering if "dateTime" in one]
        if not given or at < min(given) - self.file.look_back:
            return False
        ends = [_end(one) for one in covering]
        bounds = [] if None in ends else [max(end for end in ends if end is not None)]
        if "end" in place["period"]:
            bounds.append(_moment(place["period"]["end"]))
        return all(at <= bound for bound in bounds)

    def _place(self, patient: str) -> Resource | None:
        found = [
            (self._order[head.id, head.version], self._bodies[head.id])
            for head in self._heads.values()
            if head.type == "ResearchSubject" and head.patient == patient and not head.gone
        ]
        here = [body for _, body in sorted(found, key=lambda one: one[0]) if self._is_here(body["study"])]
        live = [body for body in here if body["status"] in LIVE]
        return (live or here or [None])[-1]

    def _is_here(self, link: Resource) -> bool:
        return bool(link["reference"] == f"ResearchStudy/{self.study.resource}")

    def _consents(self, patient: str, place: Resource) -> list[Resource]:
        own = place.get("consent", {}).get("reference", "")
        found = [
            self._bodies[head.id]
            for head in self._heads.values()
            if head.type == "Consent" and head.patient == patient and not head.gone
        ]
        return [
            one
            for one in found
            if f"Consent/{one['id']}" == own
            or any(self._is_here(extension["valueReference"]) for extension in one.get("extension", ()))
        ]

    def _covers(self, consent: Resource) -> bool:
        provision = consent["provision"]
        permitted = provision["type"] == "permit" and any(one["code"] == "CLINTRCH" for one in provision["purpose"])
        if consent["status"] != "active" or not permitted or "provision" in provision:
            return False
        end = _end(consent)
        begun = "dateTime" not in consent or _moment(consent["dateTime"]) <= self.now
        return begun and (end is None or self.now <= end)

    def _fits(self, version: ResourceVersion) -> bool:
        """Whether its code, its value and what it says of arms let it leave."""
        rule, body = self.file.release[version.type], codec.decode(version.body)
        pairs = {(one["system"], one["code"]) for one in body.get("code", {}).get("coding", ())}
        if version.type == "Observation":
            if rule.codes and not {"|".join(pair) for pair in pairs} & set(rule.codes):
                return False
            value = next(name for name in body if name.startswith("value"))
            if any(name.startswith("value") for name in rule.elements) and value not in rule.elements:
                return False
        if not self.file.blinded:
            return True
        words = version.type == "Observation" and "category" in body and "ARM-TREATED" in self.study.arms
        tells = words and "category" in rule.elements and self.file.identity == "identified"
        return version.type not in HIDES_ARMS and VCN not in pairs and not tells

    # --- references ---------------------------------------------------------------------------------------------------

    def _holds_together(self, version: ResourceVersion, may: Iterable[str]) -> bool:
        """Whether the references it needs lead to something that leaves."""
        body = codec.decode(version.body)
        for path in NEEDED.get(version.type, ()):
            leads = self._leads_to_what_is_told if _says_of_others(version) else self._leads
            led = [leads(reference, version.patient, may) for reference in _links(body, path)]
            if not any(led) and not (path == "agent.who" and _by_a_client(body)):
                return False
        return True

    def _shown_links(self, kind: str, body: Resource, patient: str) -> Iterator[tuple[str, str]]:
        listed = self.file.release[kind].elements
        leads = self._leads_to_what_is_told if kind == "Provenance" and not patient else self._leads
        for path in LINKS[kind]:
            if path not in listed and (path.split(".")[0] not in listed):
                continue
            if self.file.identity == "pseudonymous" and path in PEOPLE and path not in listed:
                continue
            if self.file.blinded and path == "member.entity":
                continue
            for reference in _links(body, path):
                if leads(reference, patient, self._reachable):
                    target, _, id = reference.partition("/")
                    yield target, id

    def _leads(self, reference: str, patient: str, may: Iterable[str]) -> bool:
        kind, _, id = reference.partition("/")
        head = self._heads.get(id)
        if kind not in self.file.release or head is None or head.type != kind:
            return False
        if kind in SHARED:
            return self._may_leave(head)
        return id in may and (not patient or head.patient == patient)

    def _leads_to_what_is_told(self, reference: str, _patient: str, _may: Iterable[str]) -> bool:
        """Where what is said of something that belongs to nobody leads: to what is seen for another reason."""
        kind, _, id = reference.partition("/")
        return id in self._told and self._heads[id].type == kind and not self._patient_of(id)


def _says_of_others(version: ResourceVersion) -> bool:
    """Whether it is a Provenance of what belongs to nobody."""
    return version.type == "Provenance" and not version.patient


def _links(body: Resource, path: str) -> list[str]:
    values: list[Any] = [body]
    for name in path.split("."):
        found = [value[name] for value in values if isinstance(value, dict) and name in value]
        values = [item for one in found for item in (one if isinstance(one, list) else [one])]
    return [one["reference"] for one in values if "reference" in one]


def _by_a_client(provenance: Resource) -> bool:
    """Whether it says that a client of the API wrote something: every view may know that."""
    return any(agent["who"].get("identifier", {}).get("system") == CLIENT_ID for agent in provenance["agent"])


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def _end(consent: Resource) -> datetime | None:
    """The last moment of a consent."""
    text = consent["provision"].get("period", {}).get("end")
    known = {
        "2026-03-09": datetime(2026, 3, 9, 23, 59, 59, 999999, tzinfo=UTC),
        "2027-01": datetime(2027, 1, 31, 23, 59, 59, 999999, tzinfo=UTC),
        "2026-03-12T10:00:00Z": datetime(2026, 3, 12, 10, tzinfo=UTC),
    }
    return None if text is None else known[text]
