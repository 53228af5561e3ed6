"""Searching finds what a second reading of the specification finds: random resources, random queries."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random

import pytest

from gateway.fhir.codec import encode
from gateway.fhir.r5 import to_r5
from gateway.fhir.search.parameters import Release, parameters
from gateway.fhir.search.query import parse
from gateway.fhir.search.references import referred
from gateway.model.names import UCUM
from tests.chance import (
    BASE,
    CODE_WORDS,
    DATES,
    NAMES,
    NUMBERS,
    POOL,
    PROFILES,
    STATUS,
    SYSTEMS,
    UNITS,
    Chance,
    Resource,
)
from tests.naive_search import ALL, CODES, PARAMETERS, matches

ROUNDS, QUERIES = 10, 500
TYPES = [*["Observation"] * 3, "Patient", "ResearchSubject", "ResearchStudy", "Condition", "Provenance"]

ASKED_DATES = [*DATES, "2024-03-01T10:00Z", "2024-03-01T09:00", "2024-03-02", "2022", "2025"]
PREFIXES = ["", "", "eq", "ne", "gt", "lt", "ge", "le", "sa", "eb", "ap"]
REFERRED = ["Patient", "Patient", "Group", "Organization", "Practitioner", "ResearchStudy", "Observation"]
MODIFIERS = {
    "token": ["not", "missing", "text", "of-type"], "string": ["exact", "contains", "missing"], "date": ["missing"],
    "quantity": ["missing"], "reference": ["missing", "identifier", "Patient"], "uri": ["missing"],
}  # fmt: skip
LINKS = {
    "Observation": [("subject:Patient", "Patient"), ("patient", "Patient"), ("subject", "Patient")],
    "ResearchSubject": [("study", "ResearchStudy"), ("patient", "Patient"), ("individual:Patient", "Patient")],
    "Patient": [("_has:Observation:patient", "Observation"), ("_has:ResearchSubject:individual", "ResearchSubject")],
    "ResearchStudy": [("_has:ResearchSubject:study", "ResearchSubject")],
}


class Asking(Chance):
    """A source of queries as well."""

    def asked(self, type: str) -> tuple[str, str]:
        """Return one parameter of a search."""
        if self.random() < 0.12:
            return self.linked(type)
        name = self.choice([*PARAMETERS[type], *PARAMETERS[type], *ALL])
        kind = {**ALL, **PARAMETERS[type]}[name].split(" ")[0]
        modifier = self.choice(["", "", "", "", *MODIFIERS.get(kind, [])])
        if modifier == "missing":
            return f"{name}:missing", self.choice(["true", "false"])
        values = [self.wanted(type, name, kind, modifier) for _ in range(self.choice([1, 1, 1, 2, 3]))]
        return f"{name}:{modifier}" if modifier else name, ",".join(values)

    def linked(self, type: str) -> tuple[str, str]:
        """Return a chain or a ``_has``."""
        if type not in LINKS:
            return "_id", str(self.randint(1, 9))
        head, target = self.choice(LINKS[type])
        name = self.choice(list(PARAMETERS[target]))
        value = self.wanted(target, name, PARAMETERS[target][name].split(" ")[0], "")
        return f"{head}{':' if head.startswith('_has') else '.'}{name}", value

    def wanted(self, type: str, name: str, kind: str, modifier: str) -> str:
        """Return a value to ask for, escaped."""
        if kind == "composite":
            parts = PARAMETERS[type][name].split(" ", 2)[2].split(" $ ")
            return "$".join(self.wanted(type, "", part.split(" ")[0], "") for part in parts)
        if kind == "date":
            return self.choice(PREFIXES) + self.choice(ASKED_DATES)
        if kind == "quantity":
            return self.wanted_quantity()
        if kind in ("string", "uri"):
            return escaped(self.choice([*NAMES, "an", "MU", "e", "v"] if kind == "string" else PROFILES[::2]))
        return self.wanted_reference(modifier) if kind == "reference" else self.wanted_token(type, name, modifier)

    def wanted_quantity(self) -> str:
        unit = self.choice([*UNITS, "a"])
        units = ["", f"|{UCUM}|{unit}", f"|{UCUM}|{unit}", f"||{unit}", f"|{UCUM}|"]
        return self.choice(PREFIXES) + self.choice(NUMBERS) + self.choice(units)

    def wanted_reference(self, modifier: str) -> str:
        if modifier == "identifier":
            return self.wanted_token("", "", "")
        id = str(self.randint(1, 12))
        if modifier:
            return id
        here = f"{self.choice(REFERRED)}/{id}"
        elsewhere = f"https://other.example/{here}"
        return self.choice([id, here, here, f"{BASE}/{here}", elsewhere, f"{here}/_history/2"])

    def wanted_token(self, type: str, name: str, modifier: str) -> str:
        if modifier == "text":
            return escaped(self.choice([*NAMES, "an", "mu"]))
        if modifier == "of-type":
            return f"http://t.example|{self.choice(['MR', 'SN'])}|{escaped(self.choice(CODE_WORDS))}"
        if name == "_id":
            return str(self.randint(1, 12))
        if name == "active":
            return self.choice(["true", "false"])
        codes, systems = CODE_WORDS, [each for each in SYSTEMS if each]
        if name in ("status", "gender"):
            codes = STATUS[type] if name == "status" else ["male", "female", "Male"]
            systems = [CODES.get(name) or CODES[f"{type}.{name}"], systems[0]]
        elif name in ("telecom", "email"):
            systems = ["phone", "email"]
        code, system = escaped(self.choice(codes)), escaped(self.choice(systems))
        return self.choice([code, code, f"{system}|{code}", f"{system}|{code}", f"|{code}", f"{system}|"])


def escaped(text: str) -> str:
    return "".join("\\" + sign if sign in ",|$\\" else sign for sign in text)


class World:
    """The resources of a round, as chains see them."""

    def __init__(self, pool: dict[str, Resource]) -> None:
        self._pool = pool

    def resolve(self, reference: str) -> Resource | None:
        return self._pool.get(reference)

    def referring(self, type: str, parameter: str, to: str) -> Iterable[Resource]:
        definition = parameters("R4", type)[parameter]
        of_type = [each for each in self._pool.values() if each["resourceType"] == type]
        return [each for each in of_type if to in referred(definition, each, base=BASE)]


def usable(type: str, name: str) -> bool:
    """Whether the specification lets a parameter take this modifier."""
    head, _, modifier = name.partition(":")
    if "." in name or name.startswith("_has") or modifier in ("", "missing", "not", "exact", "contains"):
        return True
    definition = parameters("R4", type)[head]
    datatypes = {path.datatype for path in definition.paths}
    if modifier == "text":
        return bool(datatypes & {"CodeableConcept", "Coding"})
    if modifier == "of-type":
        return datatypes == {"Identifier"}
    return modifier == "identifier" or definition.may_name(modifier)


def release_of(random: Random, type: str, pairs: list[tuple[str, str]]) -> Release:
    """Return R5 now and then, for types and parameters that are the same in it."""
    known = parameters("R5", type).keys() - {"_profile"}
    same = type in ("Observation", "Patient") and all(name.partition(":")[0] in known for name, _ in pairs)
    return "R5" if same and random.random() < 0.3 else "R4"


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_searching_finds_what_the_specification_says(seed):
    random = Asking(seed)
    pool = {f"{type}/{id}": random.resource(type, id) for type, most in POOL.items() for id in range(1, most + 1)}
    bodies = {key: encode(each) for key, each in pool.items()}
    world, asked, hits = World(pool), 0, 0
    while asked < QUERIES:
        type = random.choice(TYPES)
        pairs = [random.asked(type) for _ in range(random.choice([1, 1, 1, 2]))]
        if not all(usable(type, name) for name, _ in pairs):
            continue
        query = parse(release_of(random, type, pairs), type, pairs, base=BASE)
        of_type = {key: each for key, each in pool.items() if each["resourceType"] == type}
        found = {key for key, each in of_type.items() if query.matches(each, world)}
        expected = {key for key, each in of_type.items() if all(matches(each, *pair, pool) for pair in pairs)}

        assert found == expected, (type, pairs)
        assert all(query.may(bodies[key]) for key in found), pairs
        subjects = query.subjects()
        assert subjects is None or all(belongs(pool[key], subjects) for key in found), pairs
        asked += 1
        hits += bool(found) and len(found) < len(of_type)
    assert hits > QUERIES / 4


CODED = ("code", "category", "combo-code", "component-code", "value-concept", "combo-code-value-concept")


@pytest.mark.parametrize("seed", range(3))
def test_what_is_found_in_r5_is_never_left_aside_as_it_is_stored(seed):
    random = Asking(seed)
    for _ in range(300):
        stored = random.resource("Observation", 1)
        name, code = random.choice(CODED), random.choice(CODE_WORDS[:4])
        value = f"{code}${code}" if "code-value" in name else code
        query = parse("R5", "Observation", [(name, value)], base=BASE)

        assert query.may(encode(stored)) or not query.matches(to_r5(stored), World({}))


def belongs(resource: Resource, subjects: frozenset[str]) -> bool:
    if resource["resourceType"] == "Patient":
        return resource["id"] in subjects
    held = resource.get("subject") or resource.get("individual") or {}
    return held.get("reference", "").removeprefix(f"{BASE}/").split("/")[1:2] in [[id] for id in subjects]
