"""What a client writes: it meets nothing that it does not see, and changes what others see by consent and file alone.

That each writing route answers what is withheld as what never was is looked at in ``test_entitlement_routes``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from gateway.model.access import Caller
from gateway.model.names import STUDY_ID
from gateway.release.policy import REQUIRED
from gateway.services.wanted import WRITABLE
from tests.asking import Heard
from tests.records import CONSENTS, STATUSES, STUDIES
from tests.releasing import a_consent, uid
from tests.routes import Request, Target, bundle, fresh, request, routes
from tests.seeing import EVERYTHING, MARK, Scene, names, scene

seeds = st.integers(0, 2**32 - 1)
some = settings(max_examples=6, phases=[Phase.generate])


# --- what is not seen is not met --------------------------------------------------------------------------------------


@given(seeds)
@some
def test_who_writes_refers_to_what_is_withheld_as_to_what_never_was(seed):
    with scene(seed) as made:
        made.look_again()
        before = made.record
        for view in made.views:
            for id, head in sorted(made.heads.items()):
                public = made.public(view, id)
                if not any(made.oracles[one].names(id) for one in made.views if made.public(one, id) == public):
                    for written in _referring(made, f"{head.type}/{public}"):
                        _nothing_tells(made, written, public, uid(f"never {public}"))
        made.look_again()
        assert made.record == before


def _referring(made: Scene, reference: str) -> Iterator[Request]:
    """A write that refers to something, alone, rehearsed, in a transaction and in a batch."""
    link, type = {"reference": reference}, reference.partition("/")[0]
    tag = {"meta": {"tag": [{"system": STUDY_ID, "code": made.views[0].study}]}}
    study = {"reference": f"ResearchStudy/{made.public(made.views[0], _study_of(made))}"}
    group = fresh("R4", "Group") | tag
    bodies: list[dict[str, Any]] = [
        {"resourceType": "Organization", "name": "A new one", "partOf": link, **tag},
        group | {"managingEntity": link},
        group | {"member": [{"entity": link}]},
    ]
    if type == "Patient":
        kept = {name: value for name, value in a_consent(uid("patient")).items() if name != "id"}
        bodies.append(kept | {"patient": link, **tag})
        subject = {"resourceType": "ResearchSubject", "status": "candidate", "individual": link}
        bodies.append(subject | {"study": study})
    body = made.random.choice(bodies)
    alone = Request("POST", body["resourceType"], body)
    yield alone
    yield Request("POST", f"{body['resourceType']}/$validate?mode=create", body)
    yield Request("POST", "", bundle(made.random.choice(["transaction", "batch"]), [alone.entry]))


def _study_of(made: Scene) -> str:
    return next(study.resource for study in STUDIES if study.id == made.views[0].study)


def _nothing_tells(made: Scene, asked: Request, word: str, never: str) -> None:
    """Nothing in the answers tells a word of what is withheld from one that stands nowhere."""
    other = _instead(asked, word, never)
    withheld, missing = (made.send("office", "R4", one) for one in (asked, other))
    assert withheld.status == missing.status, asked
    assert withheld.content.decode().replace(word, never) == missing.content.decode(), asked
    assert dict(withheld.headers) == dict(missing.headers), asked


def _instead(asked: Request, word: str, never: str) -> Request:
    def put(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: put(item) for name, item in value.items()}
        if isinstance(value, list):
            return [put(item) for item in value]
        return value.replace(word, never) if isinstance(value, str) else value

    return Request(asked.method, put(asked.path), put(asked.body), put(dict(asked.headers)))


@given(seeds)
@some
def test_no_condition_finds_what_is_withheld(seed):
    with scene(seed) as made:
        allowed = made.allowed()
        for head in made.heads.values():
            marks = sorted(set(MARK.findall(head.body.decode())) - allowed)
            parameter = {"ResearchStudy": "title", "PlanDefinition": "title", "Organization": "name"}.get(head.type)
            if not marks or head.type not in WRITABLE:
                continue
            mark = made.random.choice(marks)
            spoilt = {"resourceType": head.type, "status": 5}
            for query in (f"identifier={mark}", f"{parameter or 'identifier'}={mark}"):
                for asked in (
                    Request("POST", head.type, spoilt, {"If-None-Exist": query}),
                    Request("PUT", f"{head.type}?{query}", spoilt, {"If-Match": 'W/"99"'}),
                    Request("PATCH", f"{head.type}?{query}", [{"op": "test", "path": "/status", "value": "x"}]),
                    Request("DELETE", f"{head.type}?{query}"),
                ):
                    _nothing_tells(made, asked, mark, "Zqnever0000q")


@given(seeds)
@some
def test_who_may_not_write_changes_nothing(seed):
    with scene(seed) as made:
        made.look_again()
        before, known = made.record, made.known()
        for route in routes(made.api.rules):
            types = [type for type in route.types if type in WRITABLE]
            for type in types if route.method != "GET" and "_search" not in route.path else ():
                id = next((public for kind, public in known if kind == type), uid("none"))
                asked = request(route, Target(route.release, type, id, fresh(route.release, type)))
                heard = made.send("wide", route.release, asked)
                if route.interaction != "$validate":
                    assert heard.issue == (403, "forbidden")
                entry = made.send("wide", route.release, Request("POST", "", bundle("batch", [asked.entry])))
                assert entry.status == 200
        made.look_again()
        assert made.record == before


# --- what comes of it -------------------------------------------------------------------------------------------------


def test_after_a_write_every_view_sees_what_it_is_entitled_to():
    written = 0
    for seed in range(8):
        with scene(seed) as made:
            for _ in range(5):
                written += _writes(made) in (200, 201, 204)
            for view in made.api.policy.views:
                _sees_what_it_may(made, made.api.policy.views.index(view))
    assert written > 12


def _writes(made: Scene) -> int:
    """Write something that the client sees, or something new; look the answer through as of what is seen then."""
    seen = [(type, public) for type, public in sorted(made.known()) if type in WRITABLE]
    type, public = made.random.choice(seen or [("Group", "")])
    asked = _a_new_one(made) if not public or made.random.random() < 0.3 else _another_word(made, type, public)
    heard = made.api.ask("office", asked.method, f"r4/{asked.path}", body=asked.content, headers=asked.headers)
    made.look_again()
    made.heard(heard, f"{asked.path} {asked.content.decode()} {_own_location(made, heard)}")
    if heard.status in (200, 201) and heard.body["resourceType"] in WRITABLE:
        assert (heard.body["resourceType"], heard.body["id"]) in made.known()
        assert made.get("office", f"r4/{heard.body['resourceType']}/{heard.body['id']}").body == heard.body
    return heard.status


def _own_location(made: Scene, heard: Heard) -> str:
    """The address of what was written: the writer may know it though its view does not show it."""
    return heard.headers.get("location", "")


def _a_new_one(made: Scene) -> Request:
    type = made.random.choice(["Group", "PlanDefinition", "Organization", "Consent"])
    tag = {"meta": {"tag": [{"system": STUDY_ID, "code": made.random.choice(made.views).study}]}}
    body = fresh("R4", type) | tag
    patients = sorted(public for _, public in made.known("Patient"))
    if type == "Consent" and patients:
        kept = {name: value for name, value in a_consent(uid("patient")).items() if name != "id"}
        body = kept | {"patient": {"reference": f"Patient/{made.random.choice(patients)}"}} | tag
    return Request("POST", type, body)


def _another_word(made: Scene, type: str, public: str) -> Request:
    body = made.get("office", f"r4/{type}/{public}").body
    if type in ("ResearchSubject", "Consent"):
        said = {"status": made.random.choice(STATUSES if type == "ResearchSubject" else CONSENTS)}
    elif type == "Group":
        said = {"actual": False}
    else:
        said = {"name" if type == "Organization" else "status": "retired" if type == "PlanDefinition" else "completed"}
    if made.random.random() < 0.2 and type != "ResearchStudy":
        return Request("DELETE", f"{type}/{public}")
    alone = Request("PUT", f"{type}/{public}", body | said, {"If-Match": f'W/"{body["meta"]["versionId"]}"'})
    return alone if made.random.random() < 0.7 else Request("POST", "", bundle("transaction", [alone.entry]))


def _sees_what_it_may(made: Scene, number: int) -> None:
    view = made.api.policy.views[number]
    made.api.callers.known["one"] = Caller("one", (view,), EVERYTHING)
    for type in REQUIRED:
        found = names(made.api.get("one", f"r4/{type}", [("_count", "1000")]).resources("match"))
        expected = {(type, made.public(view, id)) for id in made.oracles[view].seen if made.heads[id].type == type}
        expected |= {("Group", id) for id in made.groups(view) if type == "Group"}
        assert set(found) == expected, (view, type)


@given(seeds)
@some
def test_an_entry_of_a_batch_is_answered_as_the_request_alone(seed):
    with scene(seed) as made:
        ids = [(head.type, made.public(view, id)) for view in made.views for id, head in made.heads.items()]
        asked = [Request("GET", f"{type}/{id}") for type, id in made.random.sample(ids, min(12, len(ids)))]
        asked += [Request("GET", f"{type}?_id={id}") for type, id in made.random.sample(ids, 3)]
        asked += [Request("DELETE", f"Observation/{id}") for _, id in made.random.sample(ids, 3)]
        alone = [made.send("office", "R4", one) for one in asked]
        together = made.send("office", "R4", Request("POST", "", bundle("batch", [one.entry for one in asked])))
        for one, entry in zip(alone, together.body["entry"], strict=True):
            assert entry["response"]["status"][:3] == str(one.status)
            assert entry.get("resource", entry["response"].get("outcome"))["resourceType"] == one.body["resourceType"]
            assert entry.get("resource", one.body if one.status >= 400 else None) == one.body
