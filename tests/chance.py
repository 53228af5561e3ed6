"""Random resources whose values meet: few codes, names, dates, units and ids, in every form FHIR gives them."""

from __future__ import annotations

from decimal import Decimal
from random import Random
from typing import Any

from gateway.model.names import UCUM

BASE = "https://gateway.example/fhir/r4"

Resource = dict[str, Any]

POOL = {"Observation": 30, "Patient": 12, "ResearchSubject": 12, "ResearchStudy": 6, "Condition": 12, "Provenance": 8}
"""How many resources of each type there are."""

SYSTEMS = ["http://loinc.org", "http://snomed.info/sct", "urn:oid:2.999.1", None]
CODE_WORDS = ["718-7", "Abc", "ABC", "abc", "x,y", "p|q", "cost$", "back\\slash"]
NAMES = ["Müller", "Muller", "MULLER", "Ann", "anna", "d'Ann", "Éva", "eva maria", "O,Neil", "Genève", "geneva"]
DATES = [
    "2023", "2024", "2024-01", "2024-02", "2024-02-29", "2024-03-01", "2024-01-31", "2024-03-01T10:00:00Z",
    "2024-03-01T10:00:00+01:00", "2024-03-01T09:00:00.500Z", "2024-03-01T23:30:00-05:00", "2023-12-31T23:59:59Z",
]  # fmt: skip
UNITS = ["g/L", "mg/dL", "mg/L", "mmol/L", "umol/L", "mm[Hg]", "{score}"]
NUMBERS = ["5.4", "5.45", "5.35", "540", "5400", "54", "0.54", "5", "5.0", "5.40", "100", "99.5", "-3", "0"]
STATUS = {
    "Observation": ["final", "amended", "cancelled"],
    "ResearchSubject": ["on-study", "withdrawn", "candidate"],
    "ResearchStudy": ["active", "completed"],
}
PROFILES = ["http://a.example/P", "http://a.example/P|1", "http://a.example/Q"]


class Chance(Random):
    """A source of resources, which have much in common with each other."""

    def maybe(self, **elements: Any) -> Resource:
        """Return some of these elements."""
        return {name: value for name, value in elements.items() if self.random() < 0.6}

    def some(self, make: Any, most: int = 2) -> list[Any]:
        return [make() for _ in range(self.randint(1, most))]

    # --- parts

    def coding(self) -> Resource:
        system = self.choice(SYSTEMS)
        named = {"display": self.choice(NAMES)} if self.random() < 0.3 else {}
        return {**({"system": system} if system else {}), "code": self.choice(CODE_WORDS), **named}

    def concept(self) -> Resource:
        text = {"text": self.choice(NAMES)} if self.random() < 0.4 else {}
        return {"coding": self.some(self.coding), **text} if self.random() < 0.9 else {"text": self.choice(NAMES)}

    def identifier(self) -> Resource:
        system = self.choice(SYSTEMS)
        of = {"type": {"coding": [{"system": "http://t.example", "code": self.choice(["MR", "SN"])}]}}
        kind = of if self.random() < 0.4 else {}
        return {**kind, **({"system": system} if system else {}), "value": self.choice(CODE_WORDS)}

    def quantity(self) -> Resource:
        unit = self.choice(UNITS)
        found: Resource = {"value": self.number(), "unit": unit}
        if self.random() < 0.8:
            found |= {"system": UCUM, "code": unit}
        return found | ({"comparator": self.choice(["<", "<=", ">", ">="])} if self.random() < 0.2 else {})

    def number(self) -> Any:
        written = self.choice(NUMBERS)
        return Decimal(written) if "." in written else int(written)

    def period(self) -> Resource:
        return self.maybe(start=self.choice(DATES), end=self.choice(DATES)) or {"start": self.choice(DATES)}

    def reference(self, *types: str) -> Resource:
        if self.random() < 0.15:
            return {"type": types[0], "identifier": self.identifier()}
        literal = f"{self.choice(types)}/{self.randint(1, 8)}"
        start = self.choice(["", "", "", f"{BASE}/", "https://other.example/"])
        return {"reference": start + literal + self.choice(["", "", "", "/_history/2"])}

    def plain_reference(self, type: str) -> Resource:
        return {"reference": f"{type}/{self.randint(1, POOL[type])}"}

    def contact(self) -> Resource:
        return {"system": self.choice(["phone", "email"]), "value": self.choice(CODE_WORDS)}

    def address(self) -> Resource:
        return self.maybe(city=self.choice(NAMES), line=[self.choice(NAMES)])

    def name(self) -> Resource:
        given = self.some(lambda: self.choice(NAMES))
        return self.maybe(family=self.choice(NAMES), given=given, text=self.choice(NAMES), use="usual")

    def value(self) -> Resource:
        made = {
            "valueQuantity": self.quantity, "valueCodeableConcept": self.concept,
            "valueString": lambda: self.choice(NAMES), "valueDateTime": lambda: self.choice(DATES),
            "valuePeriod": self.period,
        }  # fmt: skip
        name = self.choice(["valueQuantity", "valueQuantity", *made])
        return {name: made[name]()}

    def of(self, *choices: Resource) -> Resource:
        return self.choice(choices)

    # --- resources

    def resource(self, type: str, id: int) -> Resource:
        meta = self.maybe(
            lastUpdated=self.choice(DATES[7:]), tag=self.some(self.coding), security=self.some(self.coding),
            profile=self.some(lambda: self.choice(PROFILES)), source=self.choice(PROFILES[::2]),
        )  # fmt: skip
        own = getattr(self, f"a_{type.lower()}")()
        return {"resourceType": type, "id": str(id), **({"meta": meta} if meta else {}), **own}

    def a_observation(self) -> Resource:
        return {
            "status": self.choice(STATUS["Observation"]), "code": self.concept(),
            "subject": self.of(self.plain_reference("Patient"), self.reference("Patient", "Group")),
            **self.maybe(
                category=self.some(self.concept), identifier=self.some(self.identifier),
                performer=self.some(lambda: self.reference("Organization", "Practitioner", "Patient")),
                hasMember=self.some(lambda: self.reference("Observation")), dataAbsentReason=self.concept(),
                component=self.some(lambda: {"code": self.concept(), **self.value()}, 3),
            ),
            **self.of({}, self.value()),
            **self.of(
                {}, {"effectiveDateTime": self.choice(DATES)}, {"effectivePeriod": self.period()},
                {"effectiveInstant": self.choice(DATES[7:])},
                {"effectiveTiming": {"event": self.some(lambda: self.choice(DATES), 3)}},
            ),
        }  # fmt: skip

    def a_patient(self) -> Resource:
        return self.maybe(
            identifier=self.some(self.identifier), active=self.choice([True, False]), name=self.some(self.name),
            gender=self.choice(["male", "female"]), birthDate=self.choice(DATES[:7]), telecom=self.some(self.contact),
            deceasedDateTime=self.choice(DATES), address=self.some(self.address),
            communication=[{"language": self.concept()}], managingOrganization=self.reference("Organization"),
        )  # fmt: skip

    def a_researchsubject(self) -> Resource:
        return {
            "status": self.choice(STATUS["ResearchSubject"]),
            "study": self.of(self.plain_reference("ResearchStudy"), self.reference("ResearchStudy")),
            "individual": self.of(self.plain_reference("Patient"), self.reference("Patient")),
            **self.maybe(identifier=self.some(self.identifier), period=self.period()),
        }

    def a_researchstudy(self) -> Resource:
        return {
            "status": self.choice(STATUS["ResearchStudy"]),
            **self.maybe(
                identifier=self.some(self.identifier), title=self.choice(NAMES), period=self.period(),
                sponsor=self.reference("Organization"), focus=self.some(self.concept),
                partOf=[self.reference("ResearchStudy")],
            ),
        }  # fmt: skip

    def a_condition(self) -> Resource:
        ages = self.maybe(low={"value": self.number(), "unit": "a"}, high={"value": self.number(), "unit": "a"})
        return {
            "subject": self.reference("Patient", "Group"), **self.maybe(code=self.concept()),
            **self.of(
                {}, {"onsetDateTime": self.choice(DATES)}, {"onsetPeriod": self.period()},
                {"onsetString": self.choice(NAMES)},
                {"onsetAge": {"value": self.number(), "system": UCUM, "code": "a"}},
                {"onsetRange": ordered(ages)} if ages else {},
            ),
        }  # fmt: skip

    def a_provenance(self) -> Resource:
        return {
            "target": self.some(lambda: self.reference("Observation", "ResearchSubject", "Patient")),
            "recorded": self.choice(DATES[7:]),
            "agent": [{"who": self.reference("Organization", "Practitioner")}],
        }


def ordered(ages: Resource) -> Resource:
    if len(ages) == 2 and ages["low"]["value"] > ages["high"]["value"]:
        return {"low": ages["high"], "high": ages["low"]}
    return ages
