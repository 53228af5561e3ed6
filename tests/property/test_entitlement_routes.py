"""Every route there is, asked of what is withheld: answered as of what never was.

The requests are made of the table of rules (``tests.routes``): a route nobody thought of here fails the first test.
"""

from __future__ import annotations

from dataclasses import replace

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from gateway.bootstrap.pulling import fhir_api
from gateway.model.access import Caller
from gateway.model.names import STUDY_ID
from gateway.services.authorize import Authorizer
from gateway.services.wanted import WRITABLE
from gateway.settings import load
from tests.configuration import ROOT, write_keys
from tests.records import NEEDED, SHARED
from tests.releasing import KEYS, uid
from tests.routes import Route, Target, fresh, probe, request, routes
from tests.seeing import EVERYTHING, Scene, scene

seeds = st.integers(0, 2**32 - 1)
ELSEWHERE = {"ConceptMap": "observation-to-loinc", "CodeSystem": "observation", "ValueSet": "observation",
             "Basic": "observation", "SubscriptionTopic": "observation"}  # fmt: skip
"""What is served to everybody, by type and id."""


def types_of(route: Route) -> list[str]:
    """The types that a route is of; ``[""]``: it is of none."""
    first = route.path.partition("/")[0]
    if route.interaction in ("transaction", "batch"):
        return list(WRITABLE)
    return list(route.types) or [first if first[:1].isupper() else ""]


# --- every route is asked ---------------------------------------------------------------------------------------------


def test_every_route_is_asked_and_answers():
    known, answered = set(), set()
    for seed in range(4):
        with scene(seed) as made:
            made.api.callers.known["all"] = Caller("all", made.views, EVERYTHING, writes=True, audits=True)
            known |= routes(made.api.rules).keys()
            _ask_for_what_is_seen(made)
            answered |= made.api.answered
    assert sorted(known - answered) == []


def _ask_for_what_is_seen(made: Scene) -> None:
    for route in sorted(routes(made.api.rules), key=lambda one: one.method == "DELETE"):
        types = types_of(route)
        seen = [type for type in types if type in ELSEWHERE or made.known(type)]
        for type in made.random.sample(seen or types, min(3, len(seen or types))):
            asked = request(route, _seen(made, route, type))
            path = f"{route.release.lower()}/{asked.path}"
            heard = made.api.ask("all", asked.method, path, body=asked.content, headers=asked.headers)
            assert heard.status < 500, (route, heard.content)


def _seen(made: Scene, route: Route, type: str) -> Target:
    """Something that the client sees, as it reads it; or new, where it is to be changed for good."""
    if type == "Subscription" or "_export" in route.path or (route.method == "DELETE" and type in WRITABLE):
        return _made_for_it(made, route, type)
    if type == "AuditEvent":
        with made.api.store.begin() as tx:
            tx.answers.add(made.api.noted[-1:])
    ids = made.groups() if "Group/" in route.path else sorted(public for _, public in made.known(type))
    id = made.random.choice(ids) if ids else ELSEWHERE.get(type, "1")
    read = made.api.get("all", f"{route.release.lower()}/{type}/{id}")
    whole = read.status == 200 and route.interaction != "create"
    return Target(route.release, type, id, read.body if whole else _new(made, route.release, type))


def _new(made: Scene, release: str, type: str) -> dict[str, object]:
    tag = {"system": STUDY_ID, "code": made.views[0].study}
    return fresh(release, type) | ({"meta": {"tag": [tag]}} if type in WRITABLE else {})


def _made_for_it(made: Scene, route: Route, type: str, client: str = "all") -> Target:
    """Something new: an export that is done, a subscription, or a resource."""
    release = route.release.lower()
    if "_export" in route.path:
        heard = made.api.get(client, f"{release}/$export", Prefer="respond-async")
        while made.api.exporter.step():
            pass
        return Target(route.release, "", heard.headers["content-location"][-36:], {})
    about = Target(route.release, type, "", _new(made, route.release, type))
    create = request(Route(route.release, "POST", "{type}", (type,), "create"), about)
    heard = made.api.ask(client, "POST", f"{release}/{type}", body=create.content)
    id = heard.body["id"] if heard.status == 201 and "id" in heard.body else uid("none")
    return replace(about, id=id)


def test_the_routes_asked_here_are_those_of_the_gateway(tmp_path, monkeypatch):
    put_together = []
    monkeypatch.setattr("gateway.api.fhir.edge.fhir_router", lambda edge, rules: put_together.extend(rules))
    environment = {"GATEWAY_DATA": str(tmp_path), "GATEWAY_KEY_FILE": str(write_keys(tmp_path / "keys.json"))}
    with scene(0) as made:
        wanted = load(ROOT / "fixtures" / "config", environment)
        fhir_api(wanted, made.api.store, made.api.policy, KEYS, Authorizer)
        assert routes(put_together).keys() == routes(made.api.rules).keys()
        assert len(put_together) == len(made.api.rules)


# --- what is withheld is as if it never was ---------------------------------------------------------------------------


@given(seeds)
@settings(max_examples=6, phases=[Phase.generate])
def test_by_every_route_what_is_withheld_is_answered_as_what_never_was(seed):
    with scene(seed) as made:
        for type in SHARED:  # what is remembered of each patient is learnt once
            made.get("office", f"r4/{type}/{uid('never')}")
        hidden = _hidden(made)
        made.look_again()
        before = made.record
        for route in routes(made.api.rules):
            types = ["_export"] if "_export" in route.path else [type for type in types_of(route) if type in hidden]
            for type in made.random.sample(types, min(2, len(types))):
                _is_answered_as_what_never_was(made, route, type, made.random.choice(hidden[type]))
        made.look_again()
        assert made.record == before


def _hidden(made: Scene) -> dict[str, list[str]]:
    """Ids by type: of what the client does not see, not even as deleted, and of what is another client's."""
    known = made.known()
    found: dict[str, list[str]] = {}
    for view in made.views:
        for id, head in made.heads.items():
            public = made.public(view, id)
            if (head.type, public) not in known and not made.is_gone(head.type, public):
                found.setdefault(head.type, []).append(public)
    for path in ("Subscription", "_export"):
        found[path] = [_made_for_it(made, Route("R4", "GET", path, (), ""), path, "other").id]
    return found


def _is_answered_as_what_never_was(made: Scene, route: Route, type: str, id: str) -> None:
    never, sent = uid(f"never {id}"), _new(made, route.release, type)
    asked, other = (probe(route, Target(route.release, type, one, sent)) for one in (id, never))
    if asked == other:
        return  # it names nothing
    # What is remembered of the patients is learnt by the first.
    _, withheld, missing = (made.send("office", route.release, one) for one in (other, asked, other))
    assert withheld.status == missing.status, (route, type)
    assert withheld.content.decode().replace(id, never) == missing.content.decode(), (route, type)
    assert dict(withheld.headers) == dict(missing.headers), (route, type)
    heads = [head for head in made.heads.values() for view in made.views if made.public(view, head.id) == id]
    # Whether a grave is the client's is read from the chart; a search opens the chart of a patient of the study.
    if "{id}" in route.path and not any(head.gone or head.type in NEEDED for head in heads):
        assert withheld.statements == missing.statements, (route, type)


def test_what_says_nothing_of_what_is_stored_does_not_look_at_it():
    with scene(0) as made:
        for route in routes(made.api.rules):
            if route.interaction in ("$translate", "$lookup", "$expand", "$validate", "capabilities"):
                type = types_of(route)[0]
                about = Target(route.release, type, ELSEWHERE.get(type, uid("1")), _new(made, route.release, type))
                asked = request(route, about)
                path = f"{route.release.lower()}/{asked.path}"
                heard = made.api.ask("wide", asked.method, path, body=asked.content, headers=asked.headers)
                assert (heard.status, heard.statements) == (200, ()), route
