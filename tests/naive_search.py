"""A second, slow reading of FHIR search, written from the specification's sentences alone: what an oracle compares.

It shares no code with the gateway: elements are found by name and by the ending of a choice (``value`` with
``Quantity``), dates are compared as moments, numbers by asking whether some or all of the values a resource allows
fulfil what is asked.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from tests.chance import BASE, Resource
from tests.naive_values import holds

CHOICES = {
    "Quantity", "CodeableConcept", "String", "DateTime", "Period", "Instant", "Timing", "Age", "Range", "Boolean",
    "SampledData",
}  # fmt: skip
CODES = {
    "gender": "http://hl7.org/fhir/administrative-gender",
    "Observation.status": "http://hl7.org/fhir/observation-status",
    "ResearchSubject.status": "http://hl7.org/fhir/research-subject-status",
    "ResearchStudy.status": "http://hl7.org/fhir/research-study-status",
}

ALL = {
    "_id": "token id", "_lastUpdated": "date meta.lastUpdated", "_tag": "token meta.tag",
    "_security": "token meta.security", "_profile": "uri meta.profile", "_source": "uri meta.source",
}  # fmt: skip
PARAMETERS = {
    "Observation": {
        "code": "token code", "category": "token category", "status": "token status", "date": "date effective",
        "subject": "reference subject", "patient": "reference subject where Patient",
        "performer": "reference performer", "has-member": "reference hasMember", "identifier": "token identifier",
        "data-absent-reason": "token dataAbsentReason", "value-concept": "token value as CodeableConcept",
        "value-string": "string value as String | value.text", "value-date": "date value as DateTime | value as Period",
        "value-quantity": "quantity value as Quantity", "component-code": "token component.code",
        "component-value-quantity": "quantity component.value as Quantity",
        "combo-code": "token code | component.code",
        "combo-value-quantity": "quantity value as Quantity | component.value as Quantity",
        "code-value-quantity": "composite . token code $ quantity value as Quantity",
        "code-value-concept": "composite . token code $ token value as CodeableConcept",
        "component-code-value-quantity": "composite component token code $ quantity value as Quantity",
        "combo-code-value-quantity": "composite .,component token code $ quantity value as Quantity",
    },
    "Patient": {
        "identifier": "token identifier", "gender": "token gender", "active": "token active",
        "birthdate": "date birthDate", "death-date": "date deceased as DateTime", "name": "string name",
        "family": "string name.family", "given": "string name.given", "address-city": "string address.city",
        "address": "string address", "telecom": "token telecom", "email": "token telecom where system=email",
        "language": "token communication.language", "organization": "reference managingOrganization",
    },
    "ResearchSubject": {
        "identifier": "token identifier", "status": "token status", "date": "date period",
        "study": "reference study", "individual": "reference individual", "patient": "reference individual",
    },
    "ResearchStudy": {
        "identifier": "token identifier", "status": "token status", "title": "string title", "date": "date period",
        "sponsor": "reference sponsor", "focus": "token focus", "partof": "reference partOf",
    },
    "Condition": {
        "code": "token code", "onset-date": "date onset as DateTime | onset as Period",
        "onset-age": "quantity onset as Age | onset as Range", "onset-info": "string onset as String",
        "patient": "reference subject where Patient",
    },
    "Provenance": {"target": "reference target", "recorded": "date recorded", "agent": "reference agent.who"},
}  # fmt: skip


def matches(resource: Resource, name: str, value: str, pool: dict[str, Resource]) -> bool:
    """Whether a resource fulfils one parameter; ``pool``: all resources by ``Type/id``."""
    type = resource["resourceType"]
    if name.startswith("_has:"):
        _, source, through, rest = name.split(":", 3)
        me = f"{type}/{resource['id']}"
        others = [each for each in pool.values() if each["resourceType"] == source]
        return any(matches(each, through, me, pool) and matches(each, rest, value, pool) for each in others)
    if "." in name:
        return chained(resource, *name.split(".", 1), value, pool)
    head, _, modifier = name.partition(":")
    kind, where = {**ALL, **PARAMETERS[type]}[head].split(" ", 1)
    if kind == "composite":
        return any(composite(resource, where, each) for each in alternatives(value))
    found = list(select(resource, where))
    if modifier == "missing":
        return (not found) is (value == "true")
    system = CODES.get(where) or CODES.get(f"{type}.{where}")
    right = any(holds(kind, each, wanted, modifier, (head, system)) for each in found for wanted in alternatives(value))
    return right is not (modifier == "not")


def chained(resource: Resource, head: str, rest: str, value: str, pool: dict[str, Resource]) -> bool:
    name, _, type = head.partition(":")
    where = PARAMETERS[resource["resourceType"]][name].split(" ", 1)[1]
    for reference in select(resource, where):
        here = reference.get("reference", "").replace(f"{BASE}/", "")
        target = pool.get(here.split("/_history/")[0])
        known = target and rest.partition(":")[0] in {**ALL, **PARAMETERS.get(target["resourceType"], {})}
        if target and known and type in ("", target["resourceType"]) and matches(target, rest, value, pool):
            return True
    return False


def composite(resource: Resource, where: str, value: str) -> bool:
    first, parts = where.split(" ", 1)
    nodes = [node for each in first.split(",") for node in ([resource] if each == "." else select(resource, each))]
    asked = list(zip(parts.split(" $ "), re.split(r"(?<!\\)\$", value), strict=True))
    return any(
        all(
            any(
                holds(part.split(" ", 1)[0], each, wanted, "", ("", None))
                for each in select(node, part.split(" ", 1)[1])
            )
            for part, wanted in asked
        )
        for node in nodes
    )


def alternatives(value: str) -> list[str]:
    return re.split(r"(?<!\\),", value)


# --- elements ---------------------------------------------------------------------------------------------------------


def select(node: Resource, where: str) -> Iterator[Any]:
    """Yield what stands at ``a.b as Type | c where Patient``."""
    for path in where.split(" | "):
        names, _, choice = path.partition(" as ")
        names, _, condition = names.partition(" where ")
        nodes = [node]
        for name in names.split("."):
            nodes = [found for each in nodes if isinstance(each, dict) for found in children(each, name, choice)]
        yield from (each for each in nodes if not condition or fulfils(each, condition))


def children(node: Resource, name: str, choice: str) -> Iterator[Any]:
    for key, value in node.items():
        ending = key[len(name) :] if key.startswith(name) else None
        if ending == "" or (ending in CHOICES and ending == (choice or ending)):
            yield from value if isinstance(value, list) else [value]


def fulfils(value: Resource, condition: str) -> bool:
    if "=" in condition:
        name, _, wanted = condition.partition("=")
        return value.get(name) == wanted
    return f"{condition}/" in value.get("reference", "") or value.get("type") == condition
