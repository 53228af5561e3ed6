"""History of a resource and of a type: every version that is seen, deletions among them, newest first, in pages."""

from __future__ import annotations

import tempfile
from datetime import timedelta
from pathlib import Path

import pytest

from gateway.model.access import Caller, Scope
from gateway.model.delivery import View
from tests.asking import Api
from tests.releasing import (
    EVERYTHING,
    NOON,
    WAS,
    a_consent,
    a_patient,
    a_study,
    a_subject,
    an_observation,
    recipient,
    uid,
    version,
    world,
)

ALL = (Scope("*", "cruds"),)
FILES = [
    recipient("edc", kind="pull", studies=("mld", "was"), release=EVERYTHING, identity="identified"),
    recipient("codes", kind="pull", release=EVERYTHING, identity="identified"),
]
OTHER = uid("other patient")
HB, WBC, LATE = an_observation(), an_observation("wbc"), an_observation("late")
HIDDEN = an_observation(patient=OTHER)


@pytest.fixture(scope="module")
def api():
    """A result in three versions, one that was deleted, one that stayed; another patient's is not the client's."""
    with tempfile.TemporaryDirectory() as folder, world(Path(folder), *FILES) as made:
        made.write(a_study(), a_study(WAS), a_patient(), a_subject(), a_consent())
        made.write(a_subject(OTHER, WAS), a_consent(OTHER, WAS), a_patient(OTHER), HIDDEN, patient=OTHER)
        minutes = iter(range(1, 100))
        for body, changes in (
            (HB, {}), (WBC, {}), (HB | {"status": "amended"}, {}), (LATE, {}), (WBC, {"gone": True}),
            (HB | {"status": "corrected"}, {}),
        ):  # fmt: skip
            made.write(body, stored_at=NOON + timedelta(minutes=next(minutes)), **changes)
        callers = [
            Caller("client", (View("edc", "mld"),), ALL),
            Caller("both", (View("edc", "mld"), View("codes", "mld"), View("edc", "was")), ALL),
            Caller("final", (View("edc", "mld"),), (Scope("Observation", "rs", "status=final"),)),
        ]
        asked = Api(made.store, made.policy, *callers, now=NOON + timedelta(hours=1))
        yield asked
        asked.close()


EXPECTED = [("PUT", HB, 3), ("DELETE", WBC, 2), ("POST", LATE, 1), ("PUT", HB, 2), ("POST", WBC, 1), ("POST", HB, 1)]


def told(page):
    return [
        (entry["request"]["method"], entry["fullUrl"].rpartition("/")[2], entry["response"]["etag"])
        for entry in page.body.get("entry", ())
    ]


def as_told(expected):
    return [(method, body["id"], f'W/"{number}"') for method, body, number in expected]


@pytest.mark.parametrize("release", ["r4", "r5"])
def test_the_history_of_a_type_is_every_version_newest_first(api, release):
    page = api.get("client", f"{release}/Observation/_history")
    assert told(page) == as_told(EXPECTED)
    assert page.body["total"] == 6
    deletion = page.body["entry"][1]
    assert "resource" not in deletion
    assert deletion["response"]["status"] == "204"
    assert [one["status"] for one in page.resources() if one["id"] == HB["id"]] == ["corrected", "amended", "final"]


@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_history_goes_on_from_page_to_page(api, count):
    for path, expected in (
        ("Observation/_history", EXPECTED),
        (f"Observation/{HB['id']}/_history", [one for one in EXPECTED if one[1] is HB]),
        (f"Observation/{WBC['id']}/_history", [one for one in EXPECTED if one[1] is WBC]),
    ):
        pages = api.pages("client", f"r4/{path}", [("_count", str(count))])
        assert [one for page in pages for one in told(page)] == as_told(expected)
        assert {page.body["total"] for page in pages} == {len(expected)}
        assert all(len(told(page)) <= count for page in pages)


def test_what_changes_meanwhile_moves_no_page(api):
    first = api.get("client", "r4/Observation/_history?_count=2")
    with api.store.begin() as tx:
        tx.resources.append([version(an_observation("new"), stored_at=NOON + timedelta(minutes=30))])
    try:
        second = api.get("client", first.following)
        assert told(second)[:2] == as_told(EXPECTED[2:4])
    finally:
        with api.store.begin() as tx:
            gone = version(an_observation("new"), version=2, gone=True, held="forget", stored_at=NOON)
            tx.resources.append([gone])


def test_a_history_begins_where_it_is_asked_to(api):
    since = (NOON + timedelta(minutes=4)).isoformat().replace("+00:00", "Z")
    page = api.get("client", "r4/Observation/_history", [("_since", since)])
    assert told(page)[-3:] == as_told(EXPECTED[:3])
    one = api.get("client", f"r4/Observation/{HB['id']}/_history", [("_since", since)])
    assert told(one) == as_told(EXPECTED[:1])
    assert one.body["total"] == 1


def test_a_history_says_how_many_there_are(api):
    for path, total in ((f"Observation/{HB['id']}/_history", 3), ("ResearchSubject/_history", 1)):
        page = api.get("client", f"r4/{path}?_count=0")
        assert (page.body["total"], told(page)) == (total, [])


@pytest.mark.parametrize("query", ["_at=2026", "_sort=_lastUpdated", "fish=1", "code=718-7"])
def test_what_a_history_does_not_take_is_refused(api, query):
    for path in ("Observation/_history", f"Observation/{HB['id']}/_history"):
        assert api.get("client", f"r4/{path}?{query}").issue == (400, "not-supported")
        lenient = api.get("client", f"r4/{path}?{query}", Prefer="handling=lenient")
        assert (lenient.status, query in lenient.body["link"][0]["url"]) == (200, False)


@pytest.mark.parametrize("query", ["_count=-1", "_count=x", "_since=yesterday", "_since=2026-01-01", "_page=abc"])
def test_what_cannot_be_read_is_refused(api, query):
    for path in ("Observation/_history", f"Observation/{HB['id']}/_history"):
        assert api.get("client", f"r4/{path}?{query}").issue == (400, "value")


def test_a_page_is_of_its_own_history(api):
    token = api.get("client", "r4/Observation/_history?_count=1").following.partition("?")[2]
    assert api.get("client", f"r4/Patient/_history?{token}").issue == (400, "value")
    assert api.get("client", f"r4/Observation?{token}").issue == (400, "value")
    assert api.get("both", f"r4/Observation/_history?{token}").issue == (400, "value")


def test_what_two_views_know_by_one_id_is_told_once(api):
    page = api.get("both", "r4/Patient/_history")
    assert sorted(one["id"] for one in page.resources()) == sorted([uid("patient"), OTHER])
    assert page.body["total"] == 2


def test_the_scopes_limit_a_history(api):
    statuses = {one["status"] for one in api.get("final", "r4/Observation/_history").resources()}
    assert statuses == {"final"}
    assert HB["id"] not in {one["id"] for one in api.get("final", "r4/Observation/_history").resources()}


def test_too_many_are_not_counted(api, monkeypatch):
    monkeypatch.setattr("gateway.services.histories.COUNTED", 2)
    pages = api.pages("client", "r4/Observation/_history", [("_count", "2")])
    assert all("total" not in page.body for page in pages)
    assert api.get("client", "r4/Observation/_history?_count=0").body["total"] == 6
