"""Nothing outside a view is ever seen, and all that is in it is found: random data, recipients, clients, requests.

What a view may see is worked out by an oracle of its own (``tests.entitled``). A request for what is withheld is
answered as one for what never was: in the same words, by as many statements to the database.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.fhir.search.query import parse
from gateway.model.access import Caller, Scope
from gateway.release.policy import REQUIRED
from tests.asking import BASE
from tests.records import NEEDED, SHARED
from tests.releasing import uid
from tests.seeing import EVERYTHING, Scene, names, scene

seeds = st.integers(0, 2**32 - 1)
fast = settings(max_examples=15)

QUERIES: dict[str, list[str]] = {
    "Observation": [
        "code=718-7", "code:not=718-7", "status=final", "date=ge2026-03-05", "value-quantity=gt5",
        "value-quantity:missing=true",
        "subject:missing=true", "performer:missing=false", "encounter.status=finished", "patient.gender=female",
        "specimen.type:missing=false", "_sort=date", "_sort=-_lastUpdated,code", "_lastUpdated=ge2026-03-18",
        "performer:Organization.name=Zq", "category:missing=false", "identifier:missing=false",
        "_has:DiagnosticReport:result:status=final", "_has:Provenance:target:_id:missing=false",
        "has-member:missing=false",
    ],
    "Patient": [
        "gender=female", "name=Zqperson", "birthdate=2019-03-14", "birthdate=2019", "identifier:missing=false",
        "_has:Observation:patient:code=718-7", "_has:ResearchSubject:individual:status=on-study",
        "organization:missing=false", "organization.name=Zq",
    ],
    "ResearchSubject": ["status=on-study", "individual.gender=female", "study.title=Zq", "date=ge2026-01-01",
    "_sort=-date"],
    "ResearchStudy": ["title=Zq", "_has:ResearchSubject:study:status=on-study", "principalinvestigator:missing=true",
                      "partof:missing=true", "partof.title=Zq", "_has:ResearchStudy:partof:status=active"],
    "Organization": ["name=Zq", "partof:missing=false", "_has:Observation:performer:code=718-7", "_sort=name"],
    "DiagnosticReport": ["result.code=718-7", "result:missing=true", "code=718-7"],
    "Encounter": ["status=finished", "service-provider:missing=false", "_has:Observation:encounter:status=final"],
    "Consent": ["status=active", "organization:missing=true"],
    "Group": ["member:missing=false", "type=person"],
    "Provenance": ["target:missing=false", "agent:missing=false"],
}  # fmt: skip
INCLUDES = {
    "Observation": ["_include=Observation:subject", "_include=Observation:performer", "_include=*",
                    "_revinclude=DiagnosticReport:result", "_revinclude=Provenance:target",
                    "_include=Observation:encounter",
                    "_include:iterate=Observation:has-member"],
    "ResearchSubject": ["_include=ResearchSubject:study", "_include=ResearchSubject:individual",
                        "_revinclude=Provenance:target", "_include=ResearchSubject:consent"],
    "Patient": ["_revinclude=Observation:subject", "_revinclude=ResearchSubject:individual", "_revinclude=Group:member",
                "_include=Patient:organization"],
    "Organization": ["_revinclude=Observation:performer", "_include=Organization:partof",
    "_revinclude=Organization:partof"],
}  # fmt: skip


# --- what is in the view is found, and nothing else ------------------------------------------------------------------


@given(seeds)
@fast
def test_a_search_of_a_type_finds_what_the_view_may_see_and_nothing_else(seed):
    with scene(seed) as made:
        _sets_are_those_of_the_oracle(made)


def _sets_are_those_of_the_oracle(made: Scene) -> None:
    for type in sorted(REQUIRED.keys() & set(made.api.shelf.searched)):
        expected = made.listed(type)
        for release in ("r4", "r5"):
            count = made.random.choice(["", "&_count=1", "&_count=2"])
            sort = made.random.choice(["", "", "&_sort=_lastUpdated", "&_sort=-_id"])
            found = names(made.found("wide", f"{release}/{type}", count + sort))
            assert sorted(found) == expected, (type, release)
        assert made.get("wide", f"r4/{type}", "_count=0").body["total"] == len(expected)
        _a_history_is_every_version(made, type)


def _a_history_is_every_version(made: Scene, type: str) -> None:
    """Of what is seen, and of what would be, had it not been deleted."""
    pages = [made.get("wide", f"r4/{type}/_history", made.random.choice(["", "_count=1", "_count=3"]))]
    while pages[-1].following:
        pages.append(made.heard(made.api.get("wide", pages[-1].following), f"{type}/_history"))
    entries = [entry for page in pages for entry in page.body.get("entry", ())]
    assert {page.body["total"] for page in pages} == {len(entries)}
    told: dict[str, list[str]] = {}
    for entry in entries:
        told.setdefault(entry["fullUrl"].rpartition("/")[2], []).append(entry["response"]["etag"])
    for (_, public), by in made.known(type).items():
        view, id = by[0]
        assert told.pop(public) == [f'W/"{one.version}"' for one in made.oracles[view].versions(id)], (type, id)
    assert all(id in made.groups() or made.is_gone(type, id) for id in told), (type, told)
    moments = [entry["resource"]["meta"]["lastUpdated"] for entry in entries if "resource" in entry]
    assert moments == sorted(moments, reverse=True)


@given(seeds)
@fast
def test_what_is_seen_is_read_with_all_its_versions_and_refers_to_what_is_seen_alone(seed):
    with scene(seed) as made:
        for (type, public), by in made.known().items():
            view, id = by[0]
            read = made.get("wide", f"r4/{type}/{public}")
            assert read.status == 200
            text = read.content.decode()
            links = {tuple(one.split("/")) for one in re.findall(r'"reference":"([^"]+)"', text)}
            oracle = made.oracles[view]
            assert links == {(kind, made.public(view, one)) for kind, one in oracle.refers(id)}, (type, id)
            history = made.get("wide", f"r4/{type}/{public}/_history").resources()
            numbers = [one["meta"]["versionId"] for one in history]
            assert numbers == [str(one.version) for one in oracle.versions(id)]
            for one in history:
                version = made.get("wide", f"r4/{type}/{public}/_history/{one['meta']['versionId']}")
                assert version.body == one


class Seen:
    """What a client sees, as chains see it: the bodies are those it read."""

    def __init__(self, bodies: dict[tuple[str, str], dict[str, Any]]) -> None:
        self.bodies = bodies

    def resolve(self, reference: str) -> dict[str, Any] | None:
        type, _, id = reference.partition("/")
        return self.bodies.get((type, id))

    def referring(self, type: str, parameter: str, to: str) -> Iterator[dict[str, Any]]:
        query = parse("R4", type, [(parameter, to)], base=f"{BASE}/r4")
        yield from (body for name, body in self.bodies.items() if name[0] == type and query.matches(body, self))


def bodies_by_view(made: Scene) -> list[dict[tuple[str, str], dict[str, Any]]]:
    """What each view of the client's sees, as it reads it through that view alone."""
    found = []
    for number, view in enumerate(made.views):
        made.api.callers.known[f"one{number}"] = Caller(f"one{number}", (view,), EVERYTHING)
        own = {(made.heads[id].type, made.public(view, id)) for id in made.oracles[view].seen}
        own |= {("Group", id) for id in made.groups(view)}
        found.append({name: made.get(f"one{number}", f"r4/{'/'.join(name)}").body for name in own})
    return found


@given(seeds)
@fast
def test_a_search_is_answered_from_what_is_seen_alone(seed):
    with scene(seed) as made:
        by_view = bodies_by_view(made)
        for type, queries in QUERIES.items():
            for asked in made.random.sample(queries, min(4, len(queries))):
                pair = tuple(asked.split("=", 1))
                query = parse("R4", type, [pair], base=f"{BASE}/r4")
                expected = {
                    name
                    for bodies in by_view
                    for name, body in bodies.items()
                    if name[0] == type and query.matches(body, Seen(bodies))
                }
                size = made.random.choice(["", "&_count=2"])
                found = names(made.found("wide", f"r4/{type}", asked + size))
                assert sorted(found) == sorted(expected), (type, asked)
                if not asked.startswith("_sort"):
                    exact = made.get("wide", f"r4/{type}", asked + "&_total=accurate&_count=1")
                    assert exact.body["total"] == len(expected)


@given(seeds)
@fast
def test_what_goes_with_matches_is_what_they_refer_to_and_what_refers_to_them(seed):
    with scene(seed) as made:
        for type, includes in INCLUDES.items():
            asked = made.random.choice(includes)
            heard = made.get("wide", f"r4/{type}", asked + "&_count=100")
            if heard.status == 400:
                continue
            matches, beside = heard.resources("match"), heard.resources("include")
            assert set(names(beside)) <= made.known().keys() - set(names(matches))
            links = re.findall(r'"reference":"([^"]+)"', json.dumps(matches).replace('": "', '":"'))
            named = {tuple(one.split("/")) for one in links}
            if asked == "_include=*":
                assert {name for name in named if name not in set(names(matches))} == set(names(beside))


# --- a casebook, a count, an export ----------------------------------------------------------------------------------


@given(seeds)
@fast
def test_a_casebook_holds_what_is_seen_of_one_patient_and_what_that_refers_to(seed):
    with scene(seed) as made:
        for (_, public), by in made.known("Patient").items():
            view, patient = by[0]
            oracle = made.oracles[view]
            own = {id for id in oracle.seen if made.heads[id].patient == patient}
            shared, before = {made.heads[id].id for id in oracle.seen if id == oracle.study.resource}, set()
            shared |= {id for one in own for _, id in oracle.refers(one) if made.heads[id].type in SHARED}
            while before != shared:
                before = set(shared)
                shared |= {id for one in before for kind, id in oracle.refers(one) if kind in SHARED}
            expected = {(made.heads[id].type, made.public(view, id)) for id in own | shared}
            found = names(made.found("wide", f"r4/Patient/{public}/$everything", "_count=3"))
            assert len(found) == len(set(found))
            assert set(found) == expected


@given(seeds)
@fast
def test_an_enrolment_summary_counts_the_subjects_that_are_seen(seed):
    with scene(seed) as made:
        for (_, public), by in made.known("ResearchStudy").items():
            view, id = by[0]
            if id != made.oracles[view].study.resource:
                assert made.get("wide", f"r4/ResearchStudy/{public}/$enrollment-summary").issue == (
                    422,
                    "business-rule",
                )
                continue
            told = made.get("wide", f"r4/ResearchStudy/{public}/$enrollment-summary")
            parameters = {one["name"]: one for one in told.body["parameter"]}
            count = sum(made.heads[id].type == "ResearchSubject" for id in made.oracles[view].seen)
            assert parameters["total"]["valueInteger"] == count if count >= 3 else "suppressed" in parameters


@given(seeds)
@fast
def test_an_export_holds_what_is_seen(seed):
    with scene(seed) as made:
        heard = made.api.get("wide", "r4/$export", Prefer="respond-async")
        assert heard.status == 202, heard.content
        while made.api.exporter.step():
            pass
        place = heard.headers["content-location"]
        manifest = made.heard(made.api.get("wide", place), place).body
        found: list[tuple[str, str]] = []
        for file in manifest["output"]:
            text = made.heard(made.api.get("wide", file["url"]), file["url"] + place).content
            found += names([json.loads(line) for line in text.splitlines()])
        assert set(found) == set(made.known())
        assert made.api.get("other", place).issue == (404, "not-found")


# --- what is withheld is as if it never was --------------------------------------------------------------------------


@given(seeds)
@fast
def test_what_is_withheld_is_answered_as_what_never_was(seed):
    with scene(seed) as made:
        _nothing_tells_withheld_from_missing(made, "r4")


def _nothing_tells_withheld_from_missing(made: Scene, release: str) -> None:
    known = made.known()
    for type in SHARED:  # what is remembered of each patient is learnt once
        made.get("wide", f"{release}/{type}/{uid('never')}")
    for view in made.views:
        missing = [
            (head.type, made.public(view, id))
            for id, head in made.heads.items()
            if (head.type, made.public(view, id)) not in known
        ]
        for type, public in missing:
            if made.is_gone(type, public):
                assert made.get("wide", f"{release}/{type}/{public}").issue == (410, "deleted")
                continue
            for path in paths_of(type):
                withheld = made.get("wide", f"{release}/{path.format(public)}")
                never = made.get("wide", f"{release}/{path.format(uid(f'never {public}'))}")
                assert (withheld.status, withheld.content) == (never.status, never.content), path
                assert dict(withheld.headers) == dict(never.headers)
                if not (
                    made.heads[made.internal(view, public)].gone or type in NEEDED
                ):  # whether a grave is the client's is read from the chart
                    assert withheld.statements == never.statements, path
            for query in (f"Observation?subject=Patient/{public}", f"{type}?_id={public}",
            f"Observation?performer={public}",
                          f"ResearchSubject?study={public}", f"Provenance?target={public}",
                          f"Observation?encounter={public}"):  # fmt: skip
                found = made.get("wide", f"{release}/{query}")
                assert found.status == 200
                assert found.resources() == []


def paths_of(type: str) -> list[str]:
    paths = ["{}", "{}/_history", "{}/_history/1"]
    if type in ("Patient", "ResearchSubject"):
        paths.append("{}/$everything")
    if type == "ResearchStudy":
        paths.append("{}/$enrollment-summary")
    return [f"{type}/{path}" for path in paths]


@given(seeds)
@fast
def test_a_token_shows_what_its_scopes_name_alone(seed):
    with scene(seed) as made:
        (bodies,) = [{name: body for each in bodies_by_view(made) for name, body in each.items()}]
        caller = made.api.callers.known["narrow"]
        for type in ("Observation", "Patient", "Organization", "DiagnosticReport", "ResearchStudy"):
            scopes = caller.scopes_for(type, "s")
            heard = made.get("narrow", f"r4/{type}", "_count=1000")
            if not scopes:
                assert heard.issue == (403, "forbidden")
                continue
            found = {
                name: body
                for name, body in bodies.items()
                if name[0] == type and any(fits(body, one) for one in scopes)
            }
            assert set(names(heard.resources("match"))) == found.keys()
            for name in bodies.keys() - found.keys():
                if name[0] == type and caller.scopes_for(type, "r"):
                    assert made.get("narrow", f"r4/{'/'.join(name)}").issue == (404, "not-found")
        everything = made.get(
            "narrow", "r4/Observation", "_include=*&_revinclude=DiagnosticReport:result&_revinclude=Provenance:target"
        )
        for type, _ in names(everything.resources()) if everything.status == 200 else ():
            assert type == "OperationOutcome" or caller.scopes_for(type, "s")


def fits(body: dict[str, Any], scope: Scope) -> bool:
    if not scope.query:
        return True
    name, _, wanted = scope.query.partition("=")
    if name == "status":
        return bool(body["status"] == wanted)
    return wanted in [f"{one['system']}|{one['code']}" for one in body["code"]["coding"]]


@given(seeds)
@fast
def test_a_page_is_its_clients_own_and_cannot_be_made_up(seed):
    with scene(seed) as made:
        for type in ("Observation", "Organization", "Patient"):
            first = made.get("wide", f"r4/{type}", "_count=1")
            if not first.following:
                continue
            assert made.api.get("other", first.following).issue == (400, "value")
            token = first.following.partition("_page=")[2]
            place = made.random.randrange(len(token))
            spoilt = token[:place] + ("A" if token[place] != "A" else "B") + token[place + 1 :]
            for bad in (spoilt, token[:-3], token + "AAAA", "", "AAAA", "é"):
                heard = made.get("wide", f"r4/{type}", f"_page={bad}")
                assert heard.issue == (400, "value"), bad
            elsewhere = "Encounter" if type != "Encounter" else "Patient"
            assert made.get("wide", f"r4/{elsewhere}", f"_page={token}").issue == (400, "value")
            assert made.get("wide", f"r5/{type}", f"_page={token}").issue == (400, "value")


@given(seeds)
@fast
def test_the_order_of_patients_in_one_study_says_nothing_of_their_order_in_another(seed):
    """What is told in an order of the view's own ids could be put in that order by whoever has them."""
    with scene(seed) as made:
        made.views = made.views[:1]
        made.api.callers.known["wide"] = Caller("wide", made.views, EVERYTHING)
        for type in ("Patient", "ResearchSubject", "Organization"):
            found = [id for _, id in names(made.found("wide", f"r4/{type}"))]
            if type != "ResearchSubject":
                assert found == sorted(found), type


@pytest.mark.parametrize("seed", range(2))
def test_a_server_finds_the_same(seed, new_postgres_database):
    with scene(seed, new_postgres_database()) as made:
        _sets_are_those_of_the_oracle(made)
        _nothing_tells_withheld_from_missing(made, "r5")
