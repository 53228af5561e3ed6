"""A document is found by its DocumentReference and fetched as it is, or as a Binary resource."""

from __future__ import annotations

import base64
import gzip
import tempfile
from pathlib import Path

import pytest

from gateway.fhir import codec
from gateway.fhir.checks import validate
from gateway.model.access import Caller, Scope
from tests.asking import BASE, Api
from tests.documents import DRAWN, REFERENCE, WORDS, a_binary, a_reference, reader
from tests.releasing import SIGNED, WAS, ReleaseRule, a_consent, a_patient, a_study, a_subject, recipient, uid, world

HERE, OTHER, STRANGER = uid("patient"), uid("other patient"), uid("patient of no study")
PSEUDONYMOUS = recipient("pseudonymous", kind="pull", release=dict(reader().release))
HALF = recipient("half", kind="pull", identity="identified",
                 release={"Patient": ReleaseRule(("gender",)), "DocumentReference": REFERENCE})  # fmt: skip
FULL = (Scope("*", "cruds"),)


@pytest.fixture(scope="module")
def made():
    files = [reader(id="full", kind="pull"), PSEUDONYMOUS, HALF, reader(id="blinded", kind="pull", blinded=True),
             reader(id="foreign", kind="pull", studies=("was",))]  # fmt: skip
    with tempfile.TemporaryDirectory() as folder, world(Path(folder), *files) as found:
        found.write(a_study(), a_study(WAS))
        for patient in (HERE, OTHER):
            found.write(a_patient(patient), a_subject(patient), patient=patient)
            found.write(a_consent(patient), patient=patient, date=SIGNED)
        found.write(a_patient(STRANGER), patient=STRANGER)
        old = SIGNED.replace(year=2020)
        for patient, at in ((HERE, DRAWN), (OTHER, old), (STRANGER, DRAWN)):
            found.write(a_reference(patient), a_binary(patient), patient=patient, date=at)
        yield found


@pytest.fixture(scope="module")
def api(made):
    views = {file: tuple(view for view in made.policy.views if view.recipient == file)
             for file in ("full", "pseudonymous", "half", "blinded", "foreign")}  # fmt: skip
    callers = [Caller(file, views[file], FULL) for file in views]
    callers.append(Caller("narrow", views["full"], (Scope("DocumentReference", "rs"),)))
    asked = Api(made.store, made.policy, *callers)
    yield asked
    asked.close()


def path(patient=HERE, release="r4"):
    return f"{release}/Binary/{a_binary(patient)['id']}"


def public(made, file, id):
    view = next(view for view in made.policy.views if view.recipient == file)
    return made.policy.rights(view).public_id(id)


@pytest.mark.parametrize("release", ["r4", "r5"])
def test_the_way_to_a_document(api, release):
    (reference,) = api.get("full", f"{release}/DocumentReference", [("type", "11502-2")]).resources()
    attachment = reference["content"][0]["attachment"]
    heard = api.get("full", f"{release}/{attachment['url']}", accept=attachment["contentType"])

    assert (heard.status, heard.content) == (200, WORDS)
    assert heard.headers["content-type"] == "application/pdf"
    assert int(attachment["size"]) == len(heard.content)


@pytest.mark.parametrize("accept", ["*/*", "application/pdf", "application/*", "image/png, application/pdf;q=0.5"])
def test_whoever_names_no_fhir_type_gets_the_document_as_it_is(api, accept):
    assert api.get("full", path(), accept=accept).content == WORDS


def test_a_browser_never_runs_a_document(api):
    headers = api.get("full", path()).headers

    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-disposition"] == "attachment"
    assert "sandbox" in headers["content-security-policy"]
    assert headers["etag"] == 'W/"1"'
    assert "Accept" in headers["vary"]


@pytest.mark.parametrize(
    "accept", ["application/fhir+json", "application/json", "application/fhir+json; fhirVersion=4.0"]
)
def test_whoever_names_a_fhir_type_gets_the_resource(api, accept):
    heard = api.get("full", path(), accept=accept)

    assert heard.headers["content-type"].startswith(("application/fhir+json", "application/json"))
    assert base64.b64decode(heard.body["data"]) == WORDS
    validate(codec.decode(heard.content))
    assert api.get("full", path(), [("_format", "json")], accept="*/*").body["resourceType"] == "Binary"


@pytest.mark.parametrize("accept", ["image/png", "application/fhir+xml"])
def test_a_document_in_another_type_there_is_not(api, accept):
    assert api.get("full", path(), accept=accept).issue == (406, "not-supported")


def test_a_version_is_fetched_as_a_document_or_as_a_resource(api):
    assert api.get("full", f"{path()}/_history/1").content == WORDS
    assert api.get("full", f"{path()}/_history/1", accept="application/fhir+json").body["resourceType"] == "Binary"
    assert len(api.get("full", f"{path()}/_history").resources()) == 1
    assert api.get("full", f"{path()}/_history/2").issue == (404, "not-found")


def test_who_has_the_document_is_not_sent_it_again(api):
    heard = api.get("full", path(), if_none_match='W/"1"')

    assert (heard.status, heard.content) == (304, b"")


def test_a_document_that_is_compressed_says_so(made, api):
    long = b"a long text " * 1000
    data = base64.b64encode(long).decode()
    ids = {"id": uid("long"), "securityContext": {"reference": f"DocumentReference/{uid('long document')}"}}
    told = {"content": [{"attachment": {"contentType": "text/plain", "url": f"Binary/{uid('long')}"}}]}
    made.write(
        a_reference(id=uid("long document"), type={"text": "long"}, **told),
        a_binary(data=data, contentType="text/plain; charset=UTF-8", **ids), date=DRAWN,
    )  # fmt: skip
    heard = api.get("full", f"r4/Binary/{uid('long')}", accept_encoding="gzip")

    assert heard.headers["content-encoding"] == "gzip"
    assert set(heard.headers["vary"].split(", ")) == {"Accept", "Accept-Encoding"}
    assert gzip.decompress(heard.content) == long
    assert heard.headers["content-type"] == "text/plain; charset=UTF-8"


def test_each_fetch_is_noted(api):
    api.noted.clear()
    api.get("full", path())

    (noted,) = api.noted
    (shown,) = noted.shown
    assert (noted.interaction, shown.type, shown.resource) == ("read", "Binary", a_binary()["id"])


# --- who may --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("accept", ["*/*", "application/fhir+json"])
@pytest.mark.parametrize("file", ["half", "pseudonymous", "blinded", "foreign", "narrow"])
def test_who_may_not_fetch_a_document_is_not_told_that_it_is_there(made, api, file, accept):
    recipient = "full" if file == "narrow" else file
    heard = api.get(file, f"r4/Binary/{public(made, recipient, a_binary()['id'])}", accept=accept)
    missing = api.get(file, f"r4/Binary/{uid('none')}", accept=accept)

    assert heard.status in (403, 404)
    assert (heard.status, heard.content) == (missing.status, missing.content)
    assert b"Rossetti" not in heard.content


def test_a_document_older_than_consent_or_of_no_subject_is_not_fetched(api):
    for patient in (OTHER, STRANGER):
        assert api.get("full", path(patient)).issue == (404, "not-found")


@pytest.mark.parametrize("file", ["half", "pseudonymous"])
def test_who_may_not_fetch_a_document_is_told_of_it_without_its_address(api, file):
    (reference,) = api.get(file, "r4/DocumentReference", [("type", "11502-2")]).resources()
    told = codec.encode(reference)

    assert "url" not in reference["content"][0]["attachment"]
    assert reference["content"][0]["attachment"]["contentType"] == "application/pdf"
    assert b"Binary" not in told
    assert (b"Rossetti" in told) == (file == "half")


# --- the other ways -------------------------------------------------------------------------------------------------


def test_documents_are_not_searched(api):
    for one in ("r4/Binary", "r5/Binary"):
        assert api.get("full", one).status in (404, 405)
    assert api.ask("full", "POST", "r4/Binary/_search").status in (404, 405)


def test_a_casebook_holds_its_documents(api):
    found = api.get("full", f"r4/Patient/{HERE}/$everything").resources()

    assert {"Binary", "DocumentReference"} <= {one["resourceType"] for one in found}
    only = api.get("full", f"r4/Patient/{HERE}/$everything", [("_type", "Binary")]).resources()
    assert {one["resourceType"] for one in only} == {"Binary"}


@pytest.mark.parametrize(("day", "found"), [("2026-03-10", True), ("2026-03-11", False)])
def test_a_casebook_of_some_days_holds_their_documents(api, day, found):
    types = [("_type", "Binary,DocumentReference"), ("start", day), ("end", "2026-03-19")]
    for release in ("r4", "r5"):
        entries = api.get("full", f"{release}/Patient/{HERE}/$everything", types).resources()
        ids = {one["id"] for one in entries}
        assert ({a_reference()["id"], a_binary()["id"]} <= ids) == found
        assert ({a_reference()["id"], a_binary()["id"]} & ids != set()) == found


def test_a_batch_answers_with_the_resource(api):
    entry = {"request": {"method": "GET", "url": f"Binary/{a_binary()['id']}"}}
    bundle = {"resourceType": "Bundle", "type": "batch", "entry": [entry]}
    heard = api.ask("full", "POST", "r4", body=codec.encode(bundle),
                    headers={"Content-Type": "application/fhir+json"})  # fmt: skip

    (told,) = heard.resources()
    assert base64.b64decode(told["data"]) == WORDS


def test_an_export_holds_documents(api):
    begun = api.get("full", "r4/$export", [("_type", "Binary,DocumentReference")], accept="application/fhir+json",
                    prefer="respond-async")  # fmt: skip
    assert begun.status == 202, begun.content
    while api.exporter.step():
        pass
    manifest = api.get("full", begun.headers["content-location"].removeprefix(BASE + "/")).body
    files = {one["type"]: api.get("full", one["url"]).content for one in manifest["output"]}

    assert files.keys() == {"Binary", "DocumentReference"}
    lines = [codec.decode(line) for line in files["Binary"].splitlines()]
    assert WORDS in [base64.b64decode(line["data"]) for line in lines]


@pytest.mark.parametrize("release", ["r4", "r5"])
def test_the_statement_tells_what_is_true(api, release):
    rest = api.get("full", f"{release}/metadata").body["rest"][0]
    (told,) = (one for one in rest["resource"] if one["type"] == "Binary")

    assert {one["code"] for one in told["interaction"]} == {"read", "vread", "history-instance"}
    assert "searchParam" not in told
    assert "DocumentReference" in told["documentation"]
