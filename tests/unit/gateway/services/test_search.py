"""Pages under concurrent writes: what existed all along appears exactly once, with a sort and without."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from random import Random

import pytest

from gateway.model.access import Caller, Scope
from gateway.model.delivery import View
from tests.asking import Api
from tests.releasing import (
    MLD,
    NOON,
    WAS,
    World,
    a_consent,
    a_patient,
    a_study,
    a_subject,
    an_observation,
    recipient,
    uid,
    world,
)


@pytest.fixture
def made(tmp_path: Path) -> Iterator[World]:
    files = [recipient(kind="pull", studies=("mld", "was")), recipient("named", kind="pull", identity="identified")]
    with world(tmp_path, *files) as found:
        found.write(a_study(MLD), a_study(WAS))
        for number in range(6):
            enrol(found, number)
        yield found


@pytest.fixture
def api(made: World) -> Iterator[Api]:
    caller = Caller("client", made.policy.views, (Scope("*", "rs"),))
    found = Api(made.store, made.policy, caller)
    yield found
    found.close()


def enrol(made: World, number: int, observations: int = 4) -> None:
    patient = uid(f"patient {number}")
    places = [body for study in (MLD, WAS) for body in (a_subject(patient, study), a_consent(patient, study))]
    made.write(a_patient(patient), *places, patient=patient)
    for each in range(observations):
        made.write(measured(number, each), patient=patient)


def measured(number: int, each: int, value: int = 98) -> dict[str, object]:
    patient, day = uid(f"patient {number}"), f"2026-03-{10 + each:02}T08:{number % 60:02}:00+01:00"
    quantity = {"value": value, "unit": "g/L", "system": "http://unitsofmeasure.org", "code": "g/L"}
    return an_observation(f"hb {each}", patient, effectiveDateTime=day, valueQuantity=quantity)


def disturb(made: World, random: Random, step: int) -> None:
    """Something happens while pages are read: somebody is enrolled, measured, corrected."""
    kind = random.randrange(3)
    if kind == 0:
        enrol(made, 100 + step, 2)
    elif kind == 1:
        number = random.randrange(6)
        made.write(measured(number, 5 + step % 15), patient=uid(f"patient {number}"))
    else:
        number, each = random.randrange(6), random.randrange(4)
        made.write(measured(number, each, 50 + step), patient=uid(f"patient {number}"))


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("sort", ["", "date", "-date", "code,_id", "-value-quantity"])
@pytest.mark.parametrize("type", ["Observation", "ResearchSubject"])
def test_what_exists_all_along_is_on_exactly_one_page(made: World, api: Api, seed: int, sort: str, type: str) -> None:
    random = Random(seed)
    sort = sort.replace("code,_id", "status,_id").replace("-value-quantity", "_id") if type != "Observation" else sort
    # What is sorted by is not corrected meanwhile: a resource that moves over the place where a page ends has moved.
    steady = {
        (one["id"]) for page in api.pages("client", f"r4/{type}", [("_count", "1000")]) for one in page.resources()
    }
    pairs = [("_count", str(random.randint(1, 7)))] + ([("_sort", sort)] if sort else [])
    page, found, step = api.get("client", f"r4/{type}", pairs), [], 0
    while True:
        assert page.status == 200, page.content
        found += [one["id"] for one in page.resources("match")]
        if not page.following:
            break
        step += 1
        if sort != "-value-quantity" or step % 2:
            disturb(made, random, step) if sort != "-value-quantity" else enrol(made, 100 + step, 1)
        page = api.get("client", page.following)
    assert len(found) == len(set(found))
    assert steady <= set(found)


def test_a_resource_that_two_views_know_by_one_id_is_found_once(made: World, api: Api) -> None:
    views = (View("edc", "mld"), View("named", "mld"), View("named", "mld"))
    api.callers.known["both"] = Caller("both", views, (Scope("*", "rs"),))
    found = [one["id"] for page in api.pages("both", "r4/Patient", [("_count", "5")]) for one in page.resources()]
    assert len(found) == len(set(found)) == 12


def test_a_search_that_is_gone_on_with_long_after_is_begun_again(made: World, api: Api) -> None:
    """A sorted page is found again by what was on it: when all of that has changed, nobody knows where it ended."""
    page = api.get("client", "r4/Observation", [("_sort", "-value-quantity"), ("_count", "1")])
    (shown,) = page.resources("match")
    number = next(n for n in range(6) for v in made.policy.views if public(made, v, n) == shown["subject"]["reference"])
    for each in range(4):
        made.write(measured(number, each, 40 + each), patient=uid(f"patient {number}"))
    api.now = NOON + timedelta(minutes=1)
    assert api.get("client", page.following).issue == (410, "expired")


def public(made: World, view: View, number: int) -> str:
    rights = made.policy.rights(view)
    assert rights is not None
    return f"Patient/{rights.public_id(uid(f'patient {number}'))}"
