"""Whatever is written to the FHIR API, it is answered or refused in its words: never an error of ours."""

from __future__ import annotations

import copy
import random
from collections import Counter
from decimal import Decimal

import pytest

from gateway.errors import InvalidResource, RequestRefused, VersionConflict
from gateway.fhir import codec
from gateway.fhir.r5 import to_r5
from tests.releasing import MLD, recipient, uid, world
from tests.writing import Desk, a_new_consent, a_new_subject, body_of, enrolled, office_file

MUTATIONS = 10_000

ODD = [
    None, True, False, 0, -1, 10**30, Decimal("1E+400"), Decimal("1E-400"), Decimal("0.0"), "", " ", "x", "\x00",
    "é" * 50, "http://x", "Patient/1", "Patient?x=y", "urn:uuid:x", "#", "#x", "2026-13-45", "2026-02",
    "2026-02-03T25:00:00Z", [], [[]], [None], [1, "a", {}], {}, {"": ""}, {"reference": 1}, {"reference": "Patient/x"},
    {"resourceType": "Patient"},
    {"coding": "x"}, {"coding": [1]}, {"extension": [{"url": "x"}]}, {"identifier": {"system": 1, "value": []}},
    "9" * 400, "a" * 70,
]  # fmt: skip


def places(value, path=()):
    """Every place in a JSON value, the whole among them."""
    yield path
    if isinstance(value, dict):
        for name, item in value.items():
            yield from places(item, (*path, name))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from places(item, (*path, index))


def mutated(value, chance):
    """Return a value with something in it changed, taken away, doubled, renamed, moved or buried."""
    changed = copy.deepcopy(value)
    for _ in range(chance.choice([1, 1, 1, 2, 4])):
        spots = [path for path in places(changed) if path]
        if not spots:
            return changed
        path = chance.choice(spots)
        holder = changed
        for step in path[:-1]:
            holder = holder[step]
        change(holder, path[-1], chance, changed)
    return changed


def change(holder, key, chance, whole):
    kind = chance.randrange(7)
    if kind == 0:
        del holder[key]
    elif kind == 1 and isinstance(holder, dict):
        holder[chance.choice(["_" + str(key), "extension", "contained", "modifierExtension", "id", "ß", "value"])] = (
            holder.pop(key)
        )
    elif kind == 2:
        holder[key] = [holder[key], copy.deepcopy(holder[key])]
    elif kind == 3:
        for _ in range(chance.choice([3, 70, 400])):
            holder[key] = {"extension": holder[key]} if chance.random() < 0.5 else [holder[key]]
    elif kind == 4:
        try:
            holder[key] = copy.deepcopy(whole) if len(str(whole)) < 5000 else "x"
        except RecursionError:  # an earlier change nested it deeper than can be copied
            holder[key] = "x"
    else:
        holder[key] = copy.deepcopy(chance.choice(ODD))


def cut(raw, chance):
    """Return bytes with something wrong in them."""
    if not raw or chance.random() < 0.7:
        return raw
    place = chance.randrange(len(raw))
    return chance.choice([raw[:place], raw[:place] + b"\xff" + raw[place:], raw[:place] + b'"' + raw[place + 1 :]])


def encoded(value):
    """Return a value as JSON; one that is nested deeper than can be written as something that is as deep."""
    try:
        return codec.encode(value)
    except InvalidResource:
        return b'{"extension":[' * 5000


def entry(method, url, resource=None, **request):
    made = {"fullUrl": f"urn:uuid:{uid(url)}", "request": {"method": method, "url": url, **request}}
    return made | ({"resource": resource} if resource else {})


def requests(desk):
    """Return good requests of every kind: method, path, body, headers."""
    patient, subject = uid("patient"), uid(f"subject mld {uid('patient')}")
    plan = {
        "resourceType": "PlanDefinition", "status": "draft", "title": "Visits",
        "identifier": [{"system": "urn:x", "value": "p"}], "action": [{"title": "V1", "action": [{"title": "x"}]}],
    }  # fmt: skip
    group = {
        "resourceType": "Group", "type": "person", "actual": True, "name": "All",
        "member": [{"entity": {"reference": f"Patient/{patient}"}, "period": {"start": "2026-01-01"}}],
    }  # fmt: skip
    organization = {"resourceType": "Organization", "name": "Sponsor", "telecom": [{"system": "phone", "value": "1"}]}
    created = body_of(desk.send("POST", "PlanDefinition", plan))["id"]
    seen = desk.seen("ResearchSubject", subject) | {"status": "follow-up"}
    study = desk.seen("ResearchStudy", MLD.resource) | {"title": "Other"}
    operation = [{"name": "type", "valueCode": "replace"}, {"name": "path", "valueString": "ResearchSubject.status"},
                 {"name": "value", "valueCode": "off-study"}]  # fmt: skip
    by_path = {"resourceType": "Parameters", "parameter": [{"name": "operation", "part": operation}]}
    bundle = {"resourceType": "Bundle", "type": "transaction", "entry": [
        entry("POST", "PlanDefinition", plan, ifNoneExist="identifier=urn:x|q"), entry("POST", "Group", group),
        entry("PUT", f"ResearchStudy/{MLD.resource}",
              study | {"protocol": [{"reference": f"urn:uuid:{uid('PlanDefinition')}"}]}, ifMatch="*"),
        entry("PATCH", f"ResearchSubject/{subject}", by_path), entry("GET", f"Patient/{patient}"),
        entry("DELETE", f"PlanDefinition/{created}"),
    ]}  # fmt: skip
    validated = {"resourceType": "Parameters", "parameter": [
        {"name": "resource", "resource": a_new_consent(patient)}, {"name": "mode", "valueCode": "create"}]}  # fmt: skip
    return [
        ("POST", "PlanDefinition", plan, {}),
        ("POST", "PlanDefinition", plan, {"if_none_exist": "identifier=urn:x|p"}),
        ("POST", "Group", group, {}),
        ("POST", "Organization", organization, {}),
        ("POST", "Consent", a_new_consent(patient), {}),
        ("POST", "ResearchSubject", a_new_subject(patient), {}),
        ("PUT", f"ResearchSubject/{subject}", seen, {"if_match": "*"}),
        ("PUT", f"ResearchStudy/{MLD.resource}", study, {}),
        ("PUT", "PlanDefinition?identifier=urn:x|p", plan, {}),
        ("PATCH", f"ResearchSubject/{subject}", [{"op": "replace", "path": "/status", "value": "off-study"},
                                                 {"op": "copy", "from": "/period", "path": "/identifier/-"}], {}),
        ("PATCH", f"ResearchSubject/{subject}", by_path, {}),
        ("POST", "", bundle, {}),
        ("POST", "", bundle | {"type": "batch"}, {}),
        ("POST", "ResearchSubject/$validate", a_new_subject(patient), {}),
        ("POST", "$validate", validated, {}),
    ]  # fmt: skip


@pytest.mark.parametrize("release", ["R4", "R5"])
@pytest.mark.timeout(900)
def test_ten_thousand_mutations_are_answered_or_refused(tmp_path, release):
    seen = Counter()
    with world(tmp_path, office_file(), recipient("edc")) as here:
        enrolled(here)
        desk = Desk(here)
        good = requests(desk)
        if release == "R5":
            good = [(method, path, in_r5(body), headers) for method, path, body, headers in good]
            desk.release = "R5"
        for number in range(MUTATIONS // 2):
            chance = random.Random(f"{release} {number}")
            method, path, body, headers = chance.choice(good)
            raw = cut(encoded(mutated(body, chance)), chance)
            try:
                seen[desk.send(method, path, raw, **headers).status] += 1
            except RequestRefused as error:
                seen[error.status] += 1
            except (InvalidResource, VersionConflict):
                seen["refused"] += 1
            except Exception as error:
                raise AssertionError(f"{release} {number}: {method} {path} {raw[:2000]!r}") from error
    assert not seen[500]
    assert seen[400]
    assert seen[422]
    assert seen[200] + seen[201] > 100


def in_r5(body):
    try:
        return to_r5(body) if isinstance(body, dict) else body
    except InvalidResource:
        return body
