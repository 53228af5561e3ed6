"""Random records of random patients in random states, and random recipients' files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any

from gateway.fhir import codec
from gateway.model.names import CONSENT_STUDY, LOINC, OBSERVATION_CODES, SUBJECT_NUMBER, UCUM
from gateway.model.recipient import Recipient, ReleaseRule
from gateway.model.resource import ResourceVersion
from gateway.model.study import Study
from gateway.ports import Store
from tests.releasing import NOON, SIGNED, uid

Resource = dict[str, Any]

STUDIES = (Study("mld", uid("study mld"), arms=("ARM-TREATED",)), Study("was", uid("study was")))
PERSONAL = "Zqperson"
"""Stands in whatever names or describes a person."""

STATUSES = ["on-study"] * 5 + ["follow-up", "candidate", "withdrawn", "off-study", "not-registered"]
LIVE = ("candidate", "eligible", "follow-up", "on-study", "on-study-intervention", "on-study-observation")
HB, VCN, PLATELETS = (LOINC, "718-7"), (OBSERVATION_CODES, "GT-VCN-PBMC"), (LOINC, "777-3")
SHARED = ("ResearchStudy", "Organization", "Practitioner", "PlanDefinition", "Group")
UNDATED = ("Patient", "ResearchSubject", "Consent", "Provenance")
HIDES_ARMS = ("Procedure",)
ACT = "http://terminology.hl7.org/CodeSystem/v3-ActReason"
RESEARCH = {"system": ACT, "code": "CLINTRCH"}
CONSENTS = ["active"] * 6 + ["inactive", "entered-in-error", "proposed", "rejected"]

LINKS: Mapping[str, tuple[str, ...]] = {
    "Patient": ("managingOrganization",),
    "ResearchStudy": ("protocol", "sponsor", "principalInvestigator", "site"),
    "PlanDefinition": (),
    "ResearchSubject": ("study", "individual", "consent"),
    "Consent": ("patient", "organization", "performer"),
    "Encounter": ("subject", "serviceProvider"),
    "Specimen": ("subject", "collection.collector"),
    "Observation": ("subject", "encounter", "specimen", "performer", "hasMember"),
    "DiagnosticReport": ("subject", "result", "performer"),
    "Condition": ("subject", "asserter"),
    "Procedure": ("subject",),
    "Provenance": ("target", "agent.who"),
    "Organization": ("partOf",),
    "Practitioner": (),
    "Group": ("member.entity", "managingEntity"),
}
"""Where references stand, by type."""

NEEDED: Mapping[str, tuple[str, ...]] = {
    "ResearchSubject": ("study", "individual"),
    "Condition": ("subject",),
    "Procedure": ("subject",),
    "Provenance": ("target", "agent.who"),
}
"""References without which a resource cannot leave."""

PEOPLE = ("performer", "asserter", "collection.collector")
"""Where people are referred to: in a pseudonymous view only where the file names that very path."""

BASIS: Mapping[str, tuple[str, ...]] = {
    "Patient": ("gender",),
    "ResearchStudy": ("status",),
    "ResearchSubject": ("status", "study", "individual"),
    "Consent": ("status", "scope", "category", "policyRule"),
    "Encounter": ("status", "class"),
    "Specimen": ("type",),
    "Observation": ("status", "code"),
    "DiagnosticReport": ("status", "code"),
    "Condition": ("subject", "clinicalStatus", "verificationStatus"),
    "Procedure": ("status", "subject"),
    "Provenance": ("target", "recorded", "agent"),
    "Organization": ("name",),
    "Practitioner": ("active",),
    "PlanDefinition": ("status",),
    "Group": ("type", "actual"),
}
FURTHER: Mapping[str, tuple[str, ...]] = {
    "Patient": ("identifier", "birthDate", "managingOrganization"),
    "ResearchStudy": ("title", "identifier", "protocol", "sponsor", "principalInvestigator", "site"),
    "ResearchSubject": ("identifier", "period", "consent"),
    "Consent": ("patient", "dateTime", "provision", "organization", "performer"),
    "Encounter": ("subject", "period", "serviceProvider", "identifier"),
    "Specimen": ("subject", "collection", "collection.collector", "identifier"),
    "Observation": (
        "subject", "encounter", "specimen", "performer", "hasMember", "effectiveDateTime", "valueQuantity",
        "valueCodeableConcept", "category", "identifier",
    ),
    "DiagnosticReport": ("subject", "result", "performer", "effectiveDateTime"),
    "Condition": ("code", "asserter", "onsetDateTime"),
    "Procedure": ("code",),
    "Provenance": (),
    "Organization": ("partOf", "identifier"),
    "Practitioner": ("identifier", "name"),
    "PlanDefinition": ("title",),
    "Group": ("member", "managingEntity"),
}  # fmt: skip


@dataclass(frozen=True)
class Record:
    """What is stored, oldest first, and who was merged into whom."""

    versions: Sequence[ResourceVersion]
    merged: Mapping[str, str]

    def heads(self) -> dict[str, ResourceVersion]:
        """The newest version of each resource."""
        return {version.id: version for version in self.versions}

    def read_again(self, store: Store) -> Record:
        """What is stored of the same patients now."""
        patients = {"", *(version.patient for version in self.versions)}
        with store.begin(write=False) as tx:
            found = [one for patient in patients for one in tx.resources.of_patient(patient, every_version=True)]
        return Record(sorted(found, key=lambda one: one.change), self.merged)


class Making:
    """Makes a random record: what is drawn is the same for the same seed."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.versions: list[ResourceVersion] = []
        self.merged: dict[str, str] = {}
        self._known: dict[str, ResourceVersion] = {}
        self._number = 0
        self._odd = random.choice([0.1, 0.3, 1.0])
        """How often a place in a study, or a consent, is one of those that may let nothing out."""

    def record(self) -> Record:
        """Make it."""
        self._shared()
        patients = [uid(f"patient {number}") for number in range(self.random.randint(1, 5))]
        for patient in patients:
            self._patient(patient)
        for patient in patients:
            for _ in range(self.random.randint(0, 5)):
                self._clinical(patient, patients)
        self._group(patients)
        for _ in range(self.random.randint(0, 6)):
            self._change(patients)
        if len(patients) > 1 and self._chance(0.3):
            self._merge(*self.random.sample(patients, 2))
        return Record(self.versions, self.merged)

    # --- drawing ------------------------------------------------------------------------------------------------------

    def _chance(self, odds: float) -> bool:
        return self.random.random() < odds

    def _mark(self) -> str:
        """A word that stands in one version of one resource alone."""
        self._number += 1
        return f"Zqmark{self._number:04}q"

    def _moment(self) -> datetime:
        return SIGNED + timedelta(days=self.random.choice([-400, -30, -5, 0, 1, 3, 9, 15, 18, 30, 60]), minutes=7)

    def _link(self, kind: str, *names: str) -> Resource:
        return {"reference": f"{kind}/{uid(f'{kind} {self.random.choice(names)}')}", "display": PERSONAL}

    def _store(self, body: Resource, patient: str = "", **columns: Any) -> None:
        before = self._known.get(body["id"])
        columns = {"date": None, "status": body.get("status", "")} | columns
        version = ResourceVersion(
            type=body["resourceType"],
            id=body["id"],
            version=before.version + 1 if before else 1,
            body=codec.encode(body),
            message=1,
            stored_at=NOON - timedelta(days=2) + timedelta(minutes=len(self.versions)),
            patient=patient,
            clocks={"": (1, "2026-03-18T00:00:00+00:00", 1)},
            **columns,
        )
        self.versions.append(version)
        self._known[version.id] = version

    # --- what belongs to nobody ---------------------------------------------------------------------------------------

    def _shared(self) -> None:
        for study in STUDIES:
            body: Resource = {"resourceType": "ResearchStudy", "id": study.resource, "status": "active"}
            body |= {"title": self._mark(), "identifier": [{"system": "urn:oid:1.9", "value": self._mark()}]}
            if self._chance(0.5):
                body["principalInvestigator"] = {"reference": f"Practitioner/{uid('Practitioner head')}"}
                body["sponsor"] = {"reference": f"Organization/{uid('Organization sponsor')}"}
            if self._chance(0.5):
                body["site"] = [{"reference": f"Location/{uid('ward')}"}]
            if self._chance(0.7):
                body["protocol"] = [self._plan(study)]
            self._store(body)
        for name in ("sponsor", "lab", "clinic", "parent", "nobody", "other"):
            body = {"resourceType": "Organization", "id": uid(f"Organization {name}"), "name": self._mark()}
            body["identifier"] = [{"system": "urn:oid:1.8", "value": self._mark()}]
            if name in ("lab", "clinic") and self._chance(0.6):
                body["partOf"] = {"reference": f"Organization/{uid('Organization parent')}"}
            study = self.random.choice(["", "mld", "was"]) if name == "other" else ""
            self._store(body, study=study)
        for name in ("head", "doctor", "nurse"):
            body = {"resourceType": "Practitioner", "id": uid(f"Practitioner {name}"), "active": True}
            self._store(body | {"name": [{"family": self._mark()}]})

    def _plan(self, study: Study) -> Resource:
        """Store the plan of a study; return the reference to it."""
        plan = {"resourceType": "PlanDefinition", "id": uid(f"plan {study.id}"), "status": "active"}
        self._store(plan | {"title": self._mark()}, study=self.random.choice(["", study.id]))
        return {"reference": f"PlanDefinition/{plan['id']}"}

    def _group(self, patients: Sequence[str]) -> None:
        if self._chance(0.5):
            member = [{"entity": {"reference": f"Patient/{one}"}} for one in patients if self._chance(0.7)]
            body = {"resourceType": "Group", "id": uid("Group"), "type": "person", "actual": True}
            self._store(body | ({"member": member} if member else {}), study=self.random.choice(["mld", "was"]))

    # --- patients -----------------------------------------------------------------------------------------------------

    def _patient(self, patient: str) -> None:
        if self._chance(0.95):
            self._store(
                {
                    "resourceType": "Patient", "id": patient, "gender": "female", "birthDate": "2019-03-14",
                    "identifier": [{"system": "urn:oid:1.2.3", "value": f"{PERSONAL}{self._mark()}"}],
                    "name": [{"family": PERSONAL}], "managingOrganization": self._link("Organization", "clinic", "lab"),
                },
                patient,
            )  # fmt: skip
        for study in STUDIES:
            if self._chance(0.7):
                self._place(patient, study)

    def _place(self, patient: str, study: Study) -> None:
        odd = self._chance(self._odd)
        count = self.random.choice([0, 1, 1, 2]) if odd else 1
        consents = [f"consent {study.id} {patient} {number}" for number in range(count)]
        period = {"start": "2026-02-20T10:00:00+01:00"}
        if self._chance(0.3):
            period["end"] = (SIGNED + timedelta(days=self.random.choice([-3, 1, 9, 18, 60]))).isoformat()
        body: Resource = {
            "resourceType": "ResearchSubject", "id": uid(f"subject {study.id} {patient}"),
            "identifier": [{"system": f"{SUBJECT_NUMBER}/{study.id}", "value": self._mark()}],
            "status": self.random.choice(STATUSES) if odd else "on-study", "period": period,
            "study": {"reference": f"ResearchStudy/{study.resource}"},
            "individual": {"reference": f"Patient/{patient}"}, "assignedArm": "ARM-TREATED",
        }  # fmt: skip
        named = consents[0] if consents and self._chance(0.5) else ""
        if named:
            body["consent"] = {"reference": f"Consent/{uid(named)}"}
        self._store(body, patient)
        for one in consents:
            self._consent(one, patient, study, linked=one != named)

    def _consent(self, name: str, patient: str, study: Study, *, linked: bool) -> None:
        odd = self._chance(self._odd)
        given, provision = self._provision() if odd else (SIGNED, {"type": "permit", "purpose": [RESEARCH]})
        body: Resource = {
            "resourceType": "Consent", "id": uid(name), "patient": {"reference": f"Patient/{patient}"},
            "status": self.random.choice(CONSENTS) if odd else "active",
            "scope": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/consentscope", "code": "research"}]},
            "category": [{"coding": [{"system": LOINC, "code": "59284-0"}]}], "provision": provision,
            "policyRule": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "OPTIN"}]},
            "organization": [self._link("Organization", "clinic")],
        }  # fmt: skip
        if linked:
            study_link = {"reference": f"ResearchStudy/{study.resource}"}
            body["extension"] = [{"url": CONSENT_STUDY, "valueReference": study_link}]
        if given is not None:
            body["dateTime"] = given.isoformat()
        self._store(body, patient, date=given)

    def _provision(self) -> tuple[datetime | None, Resource]:
        """When a consent was given, and what it permits."""
        given = self.random.choice(
            [SIGNED, SIGNED, SIGNED, SIGNED - timedelta(days=20), NOON + timedelta(days=1), None]
        )
        purposes = self.random.choice([["CLINTRCH"], ["CLINTRCH"], ["CLINTRCH", "TREAT"], ["TREAT"]])
        provision: Resource = {"type": "permit", "purpose": [{"system": ACT, "code": code} for code in purposes]}
        if self._chance(0.1):
            provision["type"] = "deny"
        elif self._chance(0.1):
            provision["provision"] = [{"type": "deny", "purpose": [RESEARCH]}]
        if self._chance(0.15):
            provision["period"] = {"end": self.random.choice(["2026-03-09", "2027-01", "2026-03-12T10:00:00Z"])}
        return given, provision

    # --- their data ---------------------------------------------------------------------------------------------------

    def _clinical(self, patient: str, patients: Sequence[str]) -> None:
        kind = self.random.choice(["Observation"] * 4 + ["Encounter", "Specimen", "DiagnosticReport", "Condition"]
                                  + ["Procedure", "Provenance"])  # fmt: skip
        number = self.random.randint(0, 2)
        self._say(kind, number, patient, self.random.choice(patients))

    def _say(self, kind: str, number: int, patient: str, other: str) -> None:
        id = uid(f"{kind} {number} {patient}")
        body: Resource = {"resourceType": kind, "id": id, "subject": {"reference": f"Patient/{patient}"}}
        if kind not in ("Provenance", "Condition", "Procedure", "DiagnosticReport"):
            body["identifier"] = [{"system": "urn:oid:1.7", "value": self._mark()}]
        at = self._moment()
        body |= getattr(self, f"_{kind.lower()}")(patient, other, at)
        if kind == "Provenance":
            del body["subject"]
        columns: Resource = {"date": None if kind == "Provenance" or self._chance(0.05) else at}
        if self._chance(0.08):
            columns["held"] = "a person must look"
        if self._chance(0.05) and id in self._known:
            columns["gone"] = True
        self._store(body, patient, **columns)

    def _of(self, kind: str, patient: str) -> Resource:
        return {"reference": f"{kind}/{uid(f'{kind} {self.random.randint(0, 2)} {patient}')}"}

    def _observation(self, patient: str, other: str, at: datetime) -> Resource:
        system, code = self.random.choice([HB, HB, HB, PLATELETS, VCN])
        body: Resource = {
            "status": self.random.choice(["final", "final", "corrected", "entered-in-error"]),
            "code": {"coding": [{"system": system, "code": code, "display": PERSONAL}]},
            "effectiveDateTime": at.isoformat(), "encounter": self._of("Encounter", patient),
            "specimen": self._of("Specimen", patient),
            "performer": [self._link("Practitioner", "doctor", "nurse"), self._link("Organization", "lab")],
        }  # fmt: skip
        if self._chance(0.3):
            body["hasMember"] = [self._of("Observation", self.random.choice([patient, other]))]
        if self._chance(0.2):
            body["category"] = [{"text": "ARM-TREATED"}]
        if self._chance(0.8):
            number = Decimal(f"{self.random.randint(1, 9)}.5")
            return body | {"valueQuantity": {"value": number, "unit": "g/L", "system": UCUM, "code": "g/L"}}
        return body | {"valueCodeableConcept": {"coding": [{"system": LOINC, "code": "LA6576-8"}]}}

    def _encounter(self, patient: str, other: str, at: datetime) -> Resource:
        act = "http://terminology.hl7.org/CodeSystem/v3-ActCode"
        body: Resource = {
            "status": "finished",
            "class": {"system": act, "code": "IMP"},
            "period": {"start": at.isoformat()},
        }
        return body | {"serviceProvider": self._link("Organization", "clinic", "lab")}

    def _specimen(self, patient: str, other: str, at: datetime) -> Resource:
        blood = {"coding": [{"system": "http://snomed.info/sct", "code": "119297000"}]}
        collector = self._link("Practitioner", "nurse")
        return {"type": blood, "collection": {"collectedDateTime": at.isoformat(), "collector": collector}}

    def _diagnosticreport(self, patient: str, other: str, at: datetime) -> Resource:
        system, code = self.random.choice([HB, HB, VCN])
        results = [self._of("Observation", self.random.choice([patient, patient, other])) for _ in range(2)]
        return {
            "status": "final", "code": {"coding": [{"system": system, "code": code}]}, "result": results,
            "effectiveDateTime": at.isoformat(), "performer": [self._link("Organization", "lab", "sponsor")],
        }  # fmt: skip

    def _condition(self, patient: str, other: str, at: datetime) -> Resource:
        system = "http://terminology.hl7.org/CodeSystem/condition"
        return {
            "clinicalStatus": {"coding": [{"system": f"{system}-clinical", "code": "active"}]},
            "verificationStatus": {"coding": [{"system": f"{system}-ver-status", "code": "confirmed"}]},
            "code": {"coding": [{"system": "http://snomed.info/sct", "code": "396338004"}]},
            "onsetDateTime": at.isoformat(), "asserter": self._link("Practitioner", "doctor"),
        }  # fmt: skip

    def _procedure(self, patient: str, other: str, at: datetime) -> Resource:
        code = {"coding": [{"system": "http://snomed.info/sct", "code": "77465005"}]}
        return {"status": "completed", "code": code, "performedDateTime": at.isoformat()}

    def _provenance(self, patient: str, other: str, at: datetime) -> Resource:
        return {
            "target": [self._of("Observation", patient), self._of("Encounter", patient)],
            "recorded": at.isoformat(), "agent": [{"who": self._link("Organization", "lab", "missing")}],
        }  # fmt: skip

    # --- what happens later -------------------------------------------------------------------------------------------

    def _change(self, patients: Sequence[str]) -> None:
        version = self.random.choice([one for one in self._known.values() if one.patient])
        body = codec.decode(version.body)
        if version.type == "ResearchSubject":
            self._store(body | {"status": self.random.choice(STATUSES)}, version.patient)
        elif version.type == "Consent":
            self._store(
                body | {"status": self.random.choice(["active", "inactive"])}, version.patient, date=version.date
            )
        elif version.type == "Observation" and self._chance(0.4):  # it was another patient's
            other = self.random.choice(patients)
            moved = body | {"subject": {"reference": f"Patient/{other}"}}
            self._store(moved, other, date=version.date)
        elif version.type != "Patient":
            _, number, patient = _named(version.id, version.type, patients)
            self._say(version.type, number, patient, self.random.choice(patients))

    def _merge(self, old: str, survivor: str) -> None:
        self.merged[old] = survivor
        for version in [one for one in self._known.values() if one.patient == old]:
            body = codec.decode(version.body.replace(f"Patient/{old}".encode(), f"Patient/{survivor}".encode()))
            columns = {"date": version.date, "held": version.held, "gone": version.gone}
            self._store(body, survivor, **columns)


def _named(id: str, kind: str, patients: Sequence[str]) -> tuple[str, int, str]:
    return next(
        (kind, number, patient)
        for patient in patients
        for number in range(3)
        if uid(f"{kind} {number} {patient}") == id
    )


def a_file(random: Random, id: str, studies: Sequence[str]) -> Recipient:
    """A random recipient's file of one that pulls."""
    identity = random.choice(["identified", "pseudonymous", "pseudonymous"])
    release = {}
    for kind in BASIS:
        if kind not in ("Patient", "ResearchStudy", "ResearchSubject", "Observation") and random.random() < 0.25:
            continue
        more = [one for one in FURTHER[kind] if random.random() < 0.75]
        if kind == "Patient" and identity == "pseudonymous":
            more = [one for one in more if one != "managingOrganization"]
        codes = ("|".join(HB), "|".join(VCN)) if kind == "Observation" and random.random() < 0.3 else ()
        release[kind] = ReleaseRule((*BASIS[kind], *more), codes)
    return Recipient(
        id=id, kind="pull", studies=tuple(studies), release=release, identity=identity,
        blinded=random.random() < 0.3, look_back=timedelta(days=random.choice([0, 0, 10])),
    )  # fmt: skip
