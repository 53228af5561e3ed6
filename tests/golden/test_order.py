"""The year comes to the same however often its messages come and in whatever order the lanes are worked off.

But for one thing: a patient's place in a study bears the id of the number it was first registered under, and keeps it
when that number is merged into another, because recipients may hold it by then. Which of two numbers came first
depends on the order, so places are compared by patient, study and purpose.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fixtures.story import Played, story
from gateway.fhir import codec
from gateway.fhir.references import references, rewrite
from gateway.hl7v2.peek import peek
from gateway.model.identity import lane_of
from gateway.model.message import MessageState
from gateway.ports import MessageFilter, Store
from gateway.services.places import TYPES
from tests.story import EXPECTED_STATE, Resources, settings, state_of, take_in, translate_again


def shuffled(messages: list[Played], seed: int) -> Iterator[Played]:
    """Yield the messages in an order in which each lane's stay in theirs."""
    lanes: dict[int, list[Played]] = {}
    for message in messages:
        lanes.setdefault(lane_of(peek(message.raw).patient_key), []).append(message)
    chance = random.Random(seed)
    while lanes:
        lane = chance.choice([lane for lane, waiting in lanes.items() for _ in waiting])
        yield lanes[lane].pop(0)
        if not lanes[lane]:
            del lanes[lane]


def comparable(state: Resources) -> Resources:
    """Return resources with their places in studies named by patient, study and purpose."""
    names = {f"{body['resourceType']}/{body['id']}": _name(body) for body in state.values() if _is_place(body)}
    renamed = {}
    for reference, body in state.items():
        kind, _, id = names.get(reference, reference).partition("/")
        renamed[f"{kind}/{id}"] = {**rewrite(body, lambda one: names.get(one, one)), "id": id}
    return renamed


def _is_place(body: dict[str, Any]) -> bool:
    return body["resourceType"] in TYPES


def _name(body: dict[str, Any]) -> str:
    kind = body["resourceType"]
    about = sorted(one for _, one in references(body) if one.startswith(("Patient/", "ResearchStudy/")))
    purposes = [one["code"] for one in body.get("provision", {}).get("purpose", ())]
    return f"{kind}/{' '.join([*about, *purposes])}"


@pytest.fixture(scope="module")
def expected() -> Resources:
    return comparable(codec.decode(EXPECTED_STATE.read_bytes()))


def worklist(store: Store) -> tuple[list[tuple[str, str]], set[tuple[str, str, str]]]:
    with store.begin(write=False) as tx:
        holds = sorted((hold.kind, hold.reason) for hold in tx.worklist.holds())
        return holds, {(line.feed, line.gap.kind, line.gap.code) for line in tx.worklist.gaps()}


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    store = take_in(settings(tmp_path_factory.mktemp("once")), story())
    yield store
    store.close()


def test_all_at_once_is_the_same_as_one_after_the_other(once: Store, expected: Resources) -> None:
    assert comparable(state_of(once)) == expected


def test_the_year_twice_is_the_year(once: Store, expected: Resources, tmp_path: Path) -> None:
    store = take_in(settings(tmp_path), [*story(), *story()])

    assert comparable(state_of(store)) == expected
    assert worklist(store) == worklist(once)
    store.close()


@pytest.mark.parametrize("seed", range(4))
def test_the_lanes_in_any_order_come_to_the_same(once: Store, expected: Resources, tmp_path: Path, seed: int) -> None:
    store = take_in(settings(tmp_path), shuffled(story(), seed))

    assert comparable(state_of(store)) == expected
    assert worklist(store) == worklist(once)
    store.close()


def test_translating_everything_again_changes_nothing(once: Store, tmp_path: Path) -> None:
    unit = settings(tmp_path)
    store = take_in(unit, story())
    with store.begin(write=False) as tx:
        newest = tx.resources.newest_changes(patients(store))
        messages = [message.id for message in tx.messages.find(MessageFilter(state=MessageState.TRANSLATED, limit=999))]
    with store.begin() as tx:
        assert tx.messages.restore(messages) == len(messages)
    translate_again(unit, store)

    with store.begin(write=False) as tx:
        assert tx.resources.newest_changes(patients(store)) == newest
    assert worklist(store) == worklist(once)
    store.close()


def patients(store: Store) -> set[str]:
    with store.begin(write=False) as tx:
        return {"", *(version.patient for version in tx.resources.of_type("Patient"))}
