"""What a client may do with its subscriptions, and that it knows its own alone."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from gateway.errors import RequestRefused
from gateway.fhir.checks import validate
from gateway.fhir.subscription_forms import write_subscription
from gateway.fhir.subscription_read import KEPT, SECRET_HEADER, read_subscription
from gateway.model.access import Caller, scopes_of
from gateway.model.delivery import Deferred, Refused, View
from gateway.model.endpoints import NOT_LISTED, Endpoints
from gateway.model.recipient import ReleaseRule
from gateway.services.subscribe import MOST, Wish, with_status
from gateway.services.topics import REFERRAL_STATUS, TOPICS
from tests.configuration import ROOT
from tests.releasing import EVERYTHING, a_consent, a_patient, a_subject, an_observation, recipient, uid
from tests.subscribing import BASE, ENDPOINT, IG, OBSERVATION, SUBJECT_STATUS, kind, numbers, r4, r5, trial


@pytest.fixture
def unit(tmp_path):
    with trial(tmp_path) as made:
        yield made


def stranger(unit):
    return Wish(Caller("stranger", (View("edc", "mld"),), scopes_of("system/*.cruds")), unit.world.now, "R4")


def refused(unit, written, release="R4"):
    with pytest.raises(RequestRefused) as caught:
        unit.create(written, release)
    assert caught.value.status == 422
    return caught.value.what


# --- the two forms are one thing --------------------------------------------------------------------------------------


def test_what_r4_and_r5_say_is_the_same_subscription(unit):
    headers = {"header": ["Authorization: Bearer of the endpoint"], "extension": [
        {"url": f"{IG}/backport-heartbeat-period", "valueUnsignedInt": 60},
        {"url": f"{IG}/backport-timeout", "valueUnsignedInt": 20},
        {"url": f"{IG}/backport-max-count", "valuePositiveInt": 5},
    ]}  # fmt: skip
    contact = [{"system": "email", "value": "ctms@example.org"}]
    criteria = ["Observation?code=http://loinc.org|718-7&status=final"]
    end = "2026-12-31T00:00:00Z"
    one = r4(OBSERVATION, criteria=criteria, channel=headers, contact=contact, end=end)
    other = r5(
        OBSERVATION,
        filters=[
            {"resourceType": "Observation", "filterParameter": "code", "value": "http://loinc.org|718-7"},
            {"resourceType": "Observation", "filterParameter": "status", "value": "final"},
        ],
        reason="tests",
        contact=contact,
        end=end,
        parameter=[{"name": "Authorization", "value": "Bearer of the endpoint"}],
        heartbeatPeriod=60,
        timeout=20,
        maxCount=5,
    )
    read = [read_subscription(written, release, BASE)[1] for written, release in ((one, "R4"), (other, "R5"))]
    fields = [{name: getattr(terms, name) for name in terms.__struct_fields__} for terms in read]
    assert fields[0] | {"release": "R5"} == fields[1]


@pytest.mark.parametrize("release", ["R4", "R5"])
def test_what_is_read_can_be_sent_back_and_changes_nothing(unit, release):
    written = r4(criteria=["ResearchSubject?status=on-study,withdrawn"], channel={"header": ["X-Key: abc"]})
    made = unit.subscribed(written)
    shown = write_subscription(unit.stands(made), release, [])
    if release == "R4":
        validate(shown)
    assert "abc" not in str(shown)

    unit.update(made, shown, release)

    terms = unit.stands(made).terms
    assert (terms.headers, terms.secret) == ((("X-Key", "abc"),), made.terms.secret)
    assert terms.criteria == made.terms.criteria


def test_the_secret_is_made_and_told_once(unit):
    status, terms = read_subscription(r4(), "R4", BASE)
    made, secret = unit.subscribe.create(unit.wish(), status, terms)
    assert len(secret) >= 32
    assert unit.stands(made).terms.secret == secret
    assert f"{SECRET_HEADER}: {secret}" in write_subscription(made, "R4", [], secret=secret)["channel"]["header"]
    assert write_subscription(made, "R4", [])["channel"]["header"] == [f"{SECRET_HEADER}: {KEPT}"]


def test_the_client_may_say_the_secret_itself(unit):
    status, terms = read_subscription(r4(channel={"header": [f"{SECRET_HEADER}: {'x' * 32}"]}), "R4", BASE)
    made, secret = unit.subscribe.create(unit.wish(), status, terms)
    assert (secret, made.terms.secret, made.terms.headers) == ("", "x" * 32, ())


# --- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "why"),
    [
        (r4() | {"criteria": "https://example.org/topic"}, "there is no such topic"),
        (r4() | {"status": "error"}, "a client writes requested, active or off"),
        (r4() | {"status": "fish"}, "is not one of the codes required"),
        (r4(channel={"type": "websocket"}), "only rest-hook is served"),
        (r4(channel={"endpoint": "https://evil.example/"}), NOT_LISTED),
        (r4(channel={"endpoint": "https://ctms.example@evil.example/"}), "the address is no plain https URL"),
        (r4(channel={"payload": "application/fhir+xml"}), "only application/fhir+json is sent"),
        (r4(channel={"header": ["Host: evil.example"]}), "is a header that the gateway writes itself"),
        (r4(channel={"header": ["X-Gateway-Signature: v1=00"]}), "is a header that the gateway writes itself"),
        (r4(channel={"header": ["idempotency-key: 1"]}), "is a header that the gateway writes itself"),
        (r4(channel={"header": ["X-Key: a", "x-key: b"]}), "has a header twice"),
        (r4(channel={"header": ["no header"]}), "is no header that can be sent (Name: value)"),
        (r4(channel={"header": [f"{SECRET_HEADER}: short"]}), f"{SECRET_HEADER} has 32 characters at least"),
        (r4(criteria=["Patient?name=x"]), "filter: Patient is no type of this topic, but: ResearchSubject"),
        (r4(criteria=["ResearchSubject?date=2026"]), "filter: events of ResearchSubject are limited by"),
        (r4(criteria=["ResearchSubject?patient.name=x"]), "filter: events of ResearchSubject are limited by"),
        (r4(criteria=["ResearchSubject"]), "a filter is a search"),
        (r4(end="2026-01-01T00:00:00Z"), "its end has come already"),
        (r4(content="everything"), "is one of empty, id-only, full-resource"),
        (r4(REFERRAL_STATUS), "none of the client's views may see ServiceRequest or Task"),
        ({"resourceType": "Patient"}, "the body is no Subscription"),
        ({"resourceType": "Subscription"}, "is required"),
    ],
)
def test_what_could_never_tell_anything_is_refused_with_the_reason(unit, written, why):
    assert why in refused(unit, written)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"channelType": {"code": "email"}}, "only rest-hook is served"),
        ({"heartbeatPeriod": 1}, "is from 10 to 86400"),
        ({"timeout": 600}, "is from 1 to 60"),
        ({"maxCount": 1000}, "is from 1 to 100"),
        ({"filterBy": [{"filterParameter": "status", "value": "x"}]}, "nothing is no type of this topic"),
        ({"filterBy": [{"resourceType": "ResearchSubject", "filterParameter": "status", "comparator": "gt",
                        "value": "x"}]}, "only eq is served"),
        ({"topic": 7}, "not as R5 has it"),
    ],
)  # fmt: skip
def test_r5_is_looked_at_as_well(unit, changes, why):
    assert why in refused(unit, r5() | changes, "R5")


def test_a_type_that_no_scope_lets_it_read_is_refused(tmp_path):
    with trial(tmp_path, scopes="system/Subscription.cruds system/Patient.rs") as unit:
        assert refused(unit, r4()) == "the client has no scope to read ResearchSubject"


def test_a_type_that_no_view_may_see_is_refused(tmp_path):
    few = {name: rule for name, rule in EVERYTHING.items() if name != "Observation"}
    with trial(tmp_path, recipient(release=few)) as unit:
        assert refused(unit, r4(OBSERVATION)) == "none of the client's views may see Observation"


def test_a_client_has_so_many_and_no_more(unit):
    for _ in range(MOST):
        unit.create()
    assert "at most" in refused(unit, r4())


# --- its own alone --------------------------------------------------------------------------------------------------


def test_a_subscription_that_says_too_much_is_refused(unit):
    made = unit.subscribed()
    large = r4(contact=[{"system": "email", "value": "ctms@example.org" + "x" * 100_000}])

    assert "bytes at most" in refused(unit, large)
    for status in ("requested", "off"):
        with pytest.raises(RequestRefused, match="bytes at most"):
            unit.update(made, large | {"status": status})


def test_a_client_knows_its_own_alone(unit):
    made = unit.create()
    other = stranger(unit)
    status, terms = read_subscription(r4(), "R4", BASE)
    for ask in (
        lambda: unit.subscribe.read(other, made.id),
        lambda: unit.subscribe.update(other, made.id, status, terms, None),
        lambda: unit.subscribe.events(other, made.id, 1, None).__enter__(),
        lambda: unit.subscribe.read(unit.wish(), uid("nothing")),
        lambda: unit.subscribe.read(unit.wish(), "x" * 36),
    ):
        with pytest.raises(RequestRefused) as caught:
            ask()
        assert caught.value.status == 404
    unit.subscribe.delete(other, made.id)
    assert unit.subscribe.every(other) == []
    assert unit.subscribe.read(unit.wish(), made.id) == made


def test_what_is_deleted_is_told_nothing_more(unit):
    made = unit.subscribed()
    unit.world.write(a_patient(), a_consent(), a_subject())
    unit.subscribe.delete(unit.wish(), made.id)
    unit.subscribe.delete(unit.wish(), made.id)
    assert unit.tell() == []
    assert ("subscription-deleted", "") in unit.audit(made)


# --- changing -------------------------------------------------------------------------------------------------------


def test_one_that_is_off_hears_nothing_until_it_is_asked_for_again(unit):
    made = unit.subscribed()
    unit.update(made, r4(status="off"))
    unit.world.write(a_patient(), a_consent(), a_subject())
    assert unit.tell() == []
    unit.update(made, r4())
    assert [kind(one) for one in unit.tell()] == ["handshake"]
    unit.world.write(a_subject(status="follow-up"))
    assert numbers(unit.tell()) == [1]


def test_another_endpoint_shakes_hands_first_and_other_words_do_not(unit):
    made = unit.subscribed()
    unit.update(made, r4(status="active", reason="another reason"))
    assert (unit.stands(made).state, unit.tell()) == ("active", [])
    unit.update(made, r4(channel={"endpoint": "https://ctms.example/other"}))
    assert [kind(one) for one in unit.tell()] == ["handshake"]


def test_who_changes_another_version_than_it_knows_is_told(unit):
    made = unit.create()
    unit.update(made, r4(), version=1)
    with pytest.raises(RequestRefused) as caught:
        unit.update(made, r4(), version=1)
    assert (caught.value.status, caught.value.expression) == (412, ("If-Match",))


# --- why it tells nothing, and what was missed ------------------------------------------------------------------------


def troubles(unit, made):
    return [(one.code, one.text) for one in unit.subscribe.troubles(unit.wish().caller, unit.stands(made))]


def test_why_it_tells_nothing_is_said(unit):
    made = unit.subscribed()
    assert troubles(unit, made) == []
    unit.world.write(a_patient(), a_consent(), a_subject())
    unit.endpoint.answers.append(Deferred("HTTP 503"))
    unit.tell()
    assert troubles(unit, made) == [("endpoint", "HTTP 503")]
    unit.endpoint.endpoints = Endpoints(["https://another.example/"])
    assert ("not-allowed", NOT_LISTED) in troubles(unit, made)


def test_a_client_that_may_see_nothing_any_more_is_told_so(unit):
    made = unit.subscribed()
    unit.world.configure(recipient(release={"Patient": ReleaseRule(("identifier",))}))
    unit.begin_again()
    assert troubles(unit, made) == [("not-entitled", "none of the client's views may see ResearchSubject")]


def test_nothing_says_that_there_is_what_may_not_be_seen(unit):
    made = unit.subscribed(r4(OBSERVATION))
    before = (troubles(unit, made), unit.stands(made).but(due_at=None, told_at=None))
    unit.world.write(a_patient(), a_subject(), an_observation())
    unit.tell()
    after = (troubles(unit, made), unit.stands(made).but(due_at=None, told_at=None))
    assert after == before


def test_statuses_are_chosen_by_id_and_state(unit):
    one, other = unit.create(), unit.create()
    found = [unit.stands(one), unit.stands(other).but(state=unit.stands(one).state.OFF)]
    assert with_status(found, [one.id], []) == found[:1]
    assert with_status(found, [], ["off"]) == found[1:]
    assert with_status(found, [], []) == found


def missed(unit, made, first=1, last=None, wish=None):
    with unit.subscribe.events(wish or unit.wish(), made.id, first, last) as (_, packed):
        return [(one.number, one.focus is not None) for one in packed.events]


def test_what_was_missed_can_be_asked_for(unit):
    made = unit.subscribed(r4(OBSERVATION))
    unit.endpoint.answers.append(Refused("HTTP 422"))
    unit.world.write(a_patient(), a_consent(), a_subject())
    unit.world.write(*[an_observation(f"lab {number}") for number in range(4)])
    unit.tell()
    assert missed(unit, made) == [(1, True), (2, True), (3, True), (4, True)]
    assert missed(unit, made, 2, 3) == [(2, True), (3, True)]
    assert missed(unit, made, 9) == []


def test_of_what_was_missed_only_what_may_be_seen_now_is_shown(unit):
    made = unit.subscribed(r4(OBSERVATION))
    unit.world.write(a_patient(), a_consent(), a_subject())
    unit.world.write(an_observation())
    unit.tell()
    unit.world.write(a_consent(status="inactive"))
    assert missed(unit, made) == [(1, False)]


def test_the_token_limits_what_is_shown_of_what_was_missed(unit):
    made = unit.subscribed(r4(OBSERVATION))
    unit.world.write(a_patient(), a_consent(), a_subject())
    unit.world.write(an_observation())
    unit.tell()
    narrow = replace(unit.wish().caller, scopes=scopes_of("system/Subscription.cruds"))
    assert missed(unit, made, wish=replace(unit.wish(), caller=narrow)) == [(1, False)]


def test_scopes_that_were_taken_from_the_client_end_what_it_is_told(unit):
    unit.subscribed(r4(SUBJECT_STATUS))
    with unit.store.begin() as tx:
        tx.clients.save(replace(unit.client, scopes=scopes_of("system/Subscription.cruds")))
    unit.world.write(a_patient(), a_consent(), a_subject())
    assert unit.tell() == []


def test_the_endpoint_of_the_tests_is_the_one_that_is_asked(unit):
    unit.create()
    unit.tell()
    assert [one.endpoint for one in unit.endpoint.told] == [ENDPOINT]


def test_the_subscription_of_the_documentation_is_one(unit):
    page = (ROOT / "docs" / "subscriptions.md").read_text()
    written = json.loads(page.partition("```json\n")[2].partition("```")[0])
    unit.endpoint.endpoints = Endpoints(["https://edc.example/notifications/"])
    unit.create(written)
    assert [kind(one) for one in unit.tell()] == ["handshake"]


def test_the_documentation_names_every_topic_and_filter():
    page = (ROOT / "docs" / "subscriptions.md").read_text()
    for topic in TOPICS.values():
        line = next(line for line in page.splitlines() if line.startswith(f"| `{topic.id}`"))
        assert not [name for names in topic.filters.values() for name in names if name not in line]
