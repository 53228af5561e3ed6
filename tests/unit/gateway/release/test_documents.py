"""Documents: who is told of one, and who may have its bytes."""

from dataclasses import replace
from datetime import timedelta

import pytest

from gateway.fhir import codec
from gateway.fhir.checks import validate
from gateway.model.recipient import ReleaseRule
from gateway.release.decision import Let, Withheld
from gateway.release.policy import Policy, policy_errors
from gateway.release.release import release
from tests.documents import BINARY, DRAWN, REFERENCE, WORDS, a_binary, a_reference, reader
from tests.releasing import KEYS, MLD, NOON, SIGNED, a_consent, a_patient, a_subject, kinds, subject, version, world

PSEUDONYMOUS = reader(identity="pseudonymous")
ATTACHMENT = {
    "contentType": "application/pdf", "url": "Binary/1", "data": "UGF0aWVudA==", "title": "Rossetti Gaia",
    "hash": "H0qSbTaJJK4QGpk/9xEo1ug7Ytg=", "size": 7, "creation": "2026-03-10",
}  # fmt: skip


def decide(body, file=None, reachable=None, **columns):
    policy = Policy([file or reader()], [MLD], KEYS.pseudonym)
    (rights,) = policy.of_study("mld")
    return release(version(body, **({"date": DRAWN} | columns)), rights, subject(), NOON, reachable=reachable)


def test_a_document_leaves_with_the_address_of_its_bytes_and_they_leave_too():
    told, fetched = decide(a_reference()), decide(a_binary())

    assert told.body["content"] == a_reference()["content"]
    assert (fetched.body["contentType"], fetched.body["data"]) == ("application/pdf", a_binary()["data"])
    assert "securityContext" not in fetched.body
    validate(told.body)
    validate(fetched.body)


def test_the_bytes_stay_where_the_view_does_not_see_the_document():
    assert decide(a_binary(), reachable=lambda _: False) == Withheld("document")
    assert decide(a_binary(securityContext={"reference": "Patient/1"})) == Withheld("document")
    assert decide({name: value for name, value in a_binary().items() if name != "securityContext"}) == Withheld(
        "document"
    )


def test_the_address_stays_where_the_view_does_not_get_the_bytes():
    told = decide(a_reference(), reachable=lambda reference: not reference.startswith("Binary/"))

    assert told.body["content"] == [
        {"attachment": {"contentType": "application/pdf", "size": len(WORDS), "title": "Rossetti Gaia"}}
    ]
    assert "Binary" not in decide(a_reference(), replace(reader(), release={
        kind: rule for kind, rule in reader().release.items() if kind != "Binary"
    })).text.decode()  # fmt: skip


def test_the_bytes_stay_where_the_file_keeps_their_address_in():
    file = reader(ReleaseRule(("status", "content.attachment.contentType")))

    assert decide(a_binary(), file) == Withheld("document")
    assert isinstance(decide(a_binary(), reader(ReleaseRule(("status", "content.attachment")))), Let)


def test_a_pseudonymous_view_learns_that_there_is_a_document_and_no_word_of_it():
    told = decide(a_reference(content=[{"attachment": ATTACHMENT}]), PSEUDONYMOUS)

    expected = {"contentType": "application/pdf", "size": 7, "creation": "2026-03-10"}
    assert told.body["content"] == [{"attachment": expected}]
    assert decide(a_binary(), PSEUDONYMOUS) == Withheld("document")


@pytest.mark.parametrize("named", ["url", "data", "title", "hash"])
def test_a_file_that_names_them_lets_no_words_out_to_a_pseudonymous_view(named):
    file = reader(ReleaseRule(("status", "content.attachment.contentType", f"content.attachment.{named}")),
                  identity="pseudonymous")  # fmt: skip
    told = decide(a_reference(content=[{"attachment": ATTACHMENT}]), file)

    assert told.body["content"] == [{"attachment": {"contentType": "application/pdf"}}]


def test_a_report_attached_to_another_resource_stays_inside_too():
    code = {"coding": [{"system": "http://loinc.org", "code": "11502-2"}]}
    report = {"resourceType": "DiagnosticReport", "id": a_binary()["id"], "status": "final", "code": code,
              "presentedForm": [ATTACHMENT]}  # fmt: skip
    file = replace(PSEUDONYMOUS, release={"DiagnosticReport": ReleaseRule(("status", "code", "presentedForm"))})

    assert decide(report, file).body["presentedForm"] == [
        {"contentType": "application/pdf", "size": 7, "creation": "2026-03-10"}
    ]


def test_an_observation_whose_value_is_a_document_does_not_leave_to_a_pseudonymous_view_as_if_it_had_none():
    url = "http://hl7.org/fhir/5.0/StructureDefinition/extension-Observation.value"
    code = {"coding": [{"system": "http://loinc.org", "code": "11502-2"}]}
    body = {"resourceType": "Observation", "id": a_binary()["id"], "status": "final", "code": code,
            "extension": [{"url": url, "valueAttachment": ATTACHMENT | {"url": "https://pacs.example/1"}}]}  # fmt: skip
    rule = ReleaseRule(("status", "code", "valueQuantity", "extension", "extension.valueAttachment"))

    assert decide(body, replace(PSEUDONYMOUS, release={"Observation": rule})) == Withheld("value", "valueAttachment")
    assert isinstance(decide(body, replace(reader(), release={"Observation": rule})), Let)


def test_a_blinded_view_is_told_of_no_document():
    file = reader(blinded=True)

    assert decide(a_reference(), file) == Withheld("blinded", "")
    assert decide(a_binary(), file) == Withheld("blinded", "")


@pytest.mark.parametrize(
    ("at", "rule"), [(SIGNED - timedelta(days=1), "before-consent"), (None, "no-date"), (DRAWN, "")]
)
def test_consent_counts_for_the_bytes_as_for_the_document(at, rule):
    decisions = [decide(body, date=at) for body in (a_reference(), a_binary())]

    assert [getattr(one, "rule", "") for one in decisions] == [rule, rule]


@pytest.mark.parametrize("status", ["entered-in-error", "cancelled"])
def test_the_bytes_of_a_document_that_was_taken_back_stay(status):
    assert decide(a_binary(), status=status) == Withheld("taken-back")


@pytest.mark.parametrize(
    ("file", "error"),
    [
        (
            replace(reader(), release={"Binary": BINARY}),
            "release.Binary: refers to DocumentReference, which is not listed",
        ),
        (reader(binary=ReleaseRule(("data",))), "release.Binary: contentType is required by FHIR and not listed"),
        (reader(binary=ReleaseRule(("contentType", "text"))), "release.Binary: text: Binary has no such element"),
        (PSEUDONYMOUS, "release.Binary: a pseudonymous view never sees it: a document may name people"),
        (
            reader(ReleaseRule(("status", "content.attachment.contentType"))),
            "release.Binary: release.DocumentReference does not list content.attachment.url, which says where it is",
        ),
        (
            reader(ReleaseRule(("status", "content.attachment.url")), identity="pseudonymous"),
            "release.DocumentReference: content.attachment.url: a pseudonymous view never sees it",
        ),
        (
            reader(blinded=True),
            "release.Binary: nobody can tell whether one reveals an arm to a blinded recipient",
        ),
    ],
)  # fmt: skip
def test_a_file_that_lists_documents_wrongly_is_told_of(file, error):
    assert error in policy_errors(file)


def test_a_file_that_lists_documents_rightly_is_sound():
    assert policy_errors(reader()) == []
    assert policy_errors(replace(PSEUDONYMOUS, release={"DocumentReference": REFERENCE})) == []


# --- sent -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def trial(tmp_path):
    with world(tmp_path, reader()) as made:
        made.write(a_patient(), a_subject())
        made.write(a_consent(), date=SIGNED)
        made.deliver()
        yield made


def test_bytes_travel_before_the_document_that_tells_of_them(trial):
    trial.write(a_reference(), a_binary(), date=DRAWN)

    assert kinds(trial.deliver()) == [("Binary", "created"), ("DocumentReference", "created")]


def test_a_document_that_is_taken_back_is_deleted_and_no_longer_told_of(trial):
    trial.write(a_reference(), a_binary(), date=DRAWN)
    trial.deliver()

    gone = a_reference(status="entered-in-error")
    trial.write(gone, a_binary(), date=DRAWN, status="entered-in-error")
    (package,) = trial.deliver()

    entries = {entry.type: entry for entry in package.entries}
    assert entries["Binary"].kind.value == "retracted"
    assert "url" not in codec.decode(entries["DocumentReference"].text)["content"][0]["attachment"]


def test_neither_travels_while_a_person_must_look(trial):
    trial.write(a_reference(), a_binary(), date=DRAWN, held="document cannot be read")

    assert trial.deliver() == []


def test_a_new_version_of_the_document_alone_is_sent_alone(trial):
    trial.write(a_reference(), a_binary(), date=DRAWN)
    trial.deliver()
    trial.write(a_reference(docStatus="amended"), date=DRAWN)

    assert kinds(trial.deliver()) == [("DocumentReference", "updated")]
