"""What the CapabilityStatement tells is done, parameter by parameter; what it does not tell is not."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from fhir.resources.capabilitystatement import CapabilityStatement as CapabilityStatementR5

from gateway.fhir import codec
from gateway.fhir.checks import check, validate
from gateway.fhir.search.parameters import parameters, types
from gateway.model.access import Caller, Scope
from tests.asking import Api
from tests.releasing import EVERYTHING, a_consent, a_patient, a_study, a_subject, an_observation, recipient, uid, world

RELEASES = ("r4", "r5")
VALUES = {
    "token": "final", "reference": "Patient/1", "date": "ge2026-01-01", "string": "a", "number": "1",
    "uri": "urn:oid:1.2",
    "quantity": "5.4|http://unitsofmeasure.org|g/L", "composite": "a$b",
}  # fmt: skip
COMPOSITES = {"quantity": "5", "date": "2026-01-01", "string": "a", "token": "a", "reference": "Patient/1"}


@pytest.fixture(scope="module")
def api():
    file = recipient(kind="pull", release=EVERYTHING)
    with tempfile.TemporaryDirectory() as folder, world(Path(folder), file) as made:
        made.write(a_study(), a_patient(), a_subject(), a_consent(), an_observation())
        caller = Caller("client", made.policy.views, (Scope("*", "cruds"),), writes=True, audits=True)
        asked = Api(made.store, made.policy, caller)
        yield asked
        asked.close()


@pytest.fixture(scope="module", params=RELEASES)
def told(request, api):
    """The release, and what is told of it."""
    statement = api.get("client", f"{request.param}/metadata")
    assert statement.status == 200
    return request.param, codec.decode(statement.content)


def resources(told):
    return told[1]["rest"][0]["resource"]


def test_the_statement_is_valid(told):
    release, statement = told
    if release == "r4":
        check(statement)
        validate(statement)
    else:
        CapabilityStatementR5.model_validate(statement)
    assert statement["fhirVersion"] == {"r4": "4.0.1", "r5": "5.0.0"}[release]


def test_no_token_is_needed_to_read_it(api):
    assert api.get("nobody", "r4/metadata").status == 200


def test_every_search_parameter_that_is_told_is_taken(api, told):
    release, asked = told[0], 0
    for resource in resources(told):
        for parameter in resource.get("searchParam", ()):
            known = parameters(release.upper(), resource["type"])[parameter["name"]]
            assert (parameter["type"], parameter["definition"]) == (known.type, known.url)
            simple = {path.datatype for path in known.paths} | {known.name}
            value = "true" if simple & {"boolean", "deceased"} else VALUES[known.type]
            if known.type == "composite":
                value = "$".join(of_part(part) for part in known.parts)
            heard = api.get("client", f"{release}/{resource['type']}", [(parameter["name"], value)])
            assert heard.status == 200, (resource["type"], parameter["name"], heard.content)
            asked += 1
    assert asked > 400


def of_part(part):
    return "true" if "boolean" in {path.datatype for path in part.paths} else COMPOSITES[part.type]


@pytest.mark.parametrize(("element", "parameter"), [("searchInclude", "_include"), ("searchRevInclude", "_revinclude")])
def test_everything_that_is_told_to_go_with_matches_is_taken(api, told, element, parameter):
    for resource in resources(told):
        for value in resource.get(element, ()):
            heard = api.get("client", f"{told[0]}/{resource['type']}", [(parameter, value)])
            assert heard.status == 200, (resource["type"], value, heard.content)


def test_what_is_not_told_is_refused(api, told):
    release = told[0]
    for resource in resources(told):
        if "searchParam" not in resource:
            continue
        known = {parameter["name"] for parameter in resource["searchParam"]}
        for name in ("fish", "_fish", "colour", *({"name", "code", "encounter", "birthdate", "study"} - known)):
            heard = api.get("client", f"{release}/{resource['type']}", [(name, "1")])
            assert heard.issue == (400, "not-supported"), (resource["type"], name)
        heard = api.get("client", f"{release}/{resource['type']}", [("_include", f"{resource['type']}:fish")])
        assert heard.status == 400


@pytest.mark.parametrize(("element", "parameter"), [("searchInclude", "_include"), ("searchRevInclude", "_revinclude")])
@pytest.mark.parametrize("type", ["ConceptMap", "Subscription", "Observation", "Patient", "ResearchStudy"])
def test_what_is_not_told_to_go_with_matches_is_refused(api, told, element, parameter, type):
    release, refused = told[0], 0
    known = next(one for one in resources(told) if one["type"] == type).get(element, ())
    for source in types(release.upper()):
        named = {
            f"{source}:{one.name}" for one in parameters(release.upper(), source).values() if one.type == "reference"
        }
        for value in sorted(named.difference(known)):
            assert api.get("client", f"{release}/{type}", [(parameter, value)]).status == 400, value
            refused += 1
    assert refused > 100
    assert api.get("client", f"{release}/{type}", [(parameter, "*")]).status == (200 if known else 400)


def test_what_can_be_subscribed_to_is_told_and_read(api, told):
    release, topics = told[0], {"r4": "Basic", "r5": "SubscriptionTopic"}[told[0]]
    subscription = next(one for one in resources(told) if one["type"] == "Subscription")
    urls = [
        one["valueCanonical"] for one in subscription["extension"] if one["url"].endswith("subscriptiontopic-canonical")
    ]
    assert len(urls) == len(set(urls)) == 3
    assert topics in {one["type"] for one in resources(told)}
    found = [page.resources() for page in api.pages("client", f"{release}/{topics}", [("_count", "2")])]
    assert [len(one) for one in found] == [2, 1]
    assert all(any(url in codec.encode(one).decode() for page in found for one in page) for url in urls)
    if release == "r4":
        assert api.get("client", "r4/Basic", [("code", "SubscriptionTopic"), ("_summary", "count")]).body["total"] == 3
        assert api.get("client", "r4/Basic", [("code", "consent"), ("_summary", "count")]).body["total"] == 0


def test_who_knows_patients_by_pseudonyms_is_told_by_what_to_search(told):
    assert "pseudonyms" in told[1]["rest"][0]["documentation"]


ROUTES = {
    "read": ("GET", "{type}/{id}"),
    "vread": ("GET", "{type}/{id}/_history/1"),
    "history-instance": ("GET", "{type}/{id}/_history"),
    "history-type": ("GET", "{type}/_history"),
    "search-type": ("GET", "{type}"),
    "create": ("POST", "{type}"),
    "update": ("PUT", "{type}/{id}"),
    "patch": ("PATCH", "{type}/{id}"),
    "delete": ("DELETE", "{type}/{id}"),
}


def test_each_interaction_that_is_told_is_done_and_no_other(api, told):
    release = told[0]
    for resource in resources(told):
        type, done = resource["type"], {one["code"] for one in resource["interaction"]}
        for interaction, (method, path) in ROUTES.items():
            heard = api.ask("client", method, f"{release}/{path.format(type=type, id=uid('none'))}")
            if interaction in done:
                assert heard.status != 405, (type, interaction)
                assert heard.status < 500
                assert heard.status in (200, 204) or heard.issue[1] != "not-supported", (type, interaction)
            else:
                assert heard.issue in ((405, "not-supported"), (404, "not-found"), (404, "not-supported")), (
                    type,
                    interaction,
                )


def test_types_that_are_not_told_are_not_served(api, told):
    served = {resource["type"] for resource in resources(told)}
    for type in {*types(told[0].upper()), "Account", "Flag", "Slot"} - served:
        assert api.get("client", f"{told[0]}/{type}").issue == (404, "not-supported"), type


def test_every_operation_that_is_told_answers(api, told):
    rest = told[1]["rest"][0]
    for operation in rest.get("operation", ()):
        answers(api, told[0], f"${operation['name']}")
    for resource in resources(told):
        for operation in resource.get("operation", ()):
            type, name = resource["type"], f"${operation['name']}"
            answers(api, told[0], f"{type}/{name}", f"{type}/{uid('none')}/{name}")


def answers(api, release, *paths):
    """At one of these addresses the operation is done, by GET or by POST: the answer is another than of none."""
    heard = [api.ask("client", method, f"{release}/{path}") for path in paths for method in ("GET", "POST")]
    heard += [api.ask("client", "GET", f"{release}/{path}/{uid('none')}") for path in paths]
    assert all(one.status < 500 for one in heard)
    done = [one for one in heard if one.status == 200 or not is_absent(one)]
    assert done, paths


def is_absent(heard):
    refusal = heard.body["issue"][0] if heard.content else {}
    absent = (405, "not-supported"), (404, "not-supported")
    return heard.issue in absent or "nothing is served" in refusal.get("diagnostics", "")


def test_the_formats_that_are_told_are_answered_and_another_is_not(api, told):
    for format in told[1]["format"]:
        assert api.get("client", f"{told[0]}/Patient", [("_format", format)]).status == 200
    assert api.get("client", f"{told[0]}/Patient", [("_format", "xml")]).issue == (406, "not-supported")


def test_who_has_a_version_is_not_sent_it_again(api, told):
    """conditionalRead: not-match."""
    (patient,) = api.get("client", f"{told[0]}/Patient").resources()
    path = f"{told[0]}/Patient/{patient['id']}"
    etag = api.get("client", path).headers["etag"]
    assert api.ask("client", "GET", path, headers={"If-None-Match": etag}).status == 304
    assert api.ask("client", "GET", path, headers={"If-None-Match": 'W/"9"'}).status == 200


@pytest.mark.parametrize("format", ["application/fhir+json;fhirVersion=5.0", "application/fhir+json; fhirVersion=4.0"])
def test_the_release_that_a_format_names_is_the_one_that_is_spoken(api, told, format):
    spoken = {"r4": "4.0", "r5": "5.0"}[told[0]] in format
    for heard in (
        api.get("client", f"{told[0]}/Patient", [("_format", format)]),
        api.get("client", f"{told[0]}/Patient", accept=format),
    ):
        assert heard.status == 200 if spoken else heard.issue == (406, "not-supported")


def test_who_names_no_format_takes_any(api):
    assert api.get("client", "r4/Patient", accept="").status == 200


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "r4/metadata", "GET, HEAD"),
        ("PATCH", "r4/Observation/1/_history/1", "GET, HEAD"),
        ("TRACE", "r4/ResearchStudy", "DELETE, GET, HEAD, PATCH, POST, PUT"),
        ("OPTIONS", "r5/Subscription/1", "DELETE, GET, HEAD, PUT"),
        ("PURGE", "r5", "POST"),
    ],
)
def test_who_asks_by_another_method_is_told_which_there_are(api, method, path, allowed):
    heard = api.ask("client", method, path)
    assert heard.issue == (405, "not-supported")
    assert heard.headers["allow"] == allowed


def test_who_is_refused_is_told_whether_it_was_for_the_token(api):
    without = api.ask("client", "GET", "r4/Patient", raw=[(b"authorization", b"")])
    assert (without.status, without.headers["www-authenticate"]) == (401, "Bearer")
    unknown = api.get("nobody", "r4/Patient")
    assert (unknown.status, unknown.headers["www-authenticate"]) == (401, 'Bearer error="invalid_token"')
