"""What a subscription's endpoint is told: what its client may see, in order, each event once or under its number."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from importlib import import_module

import pytest

from gateway.fhir.checks import validate
from gateway.model.delivery import Accepted, Deferred, Refused, Unknown, View
from gateway.model.recipient import ReleaseRule
from gateway.services.disclose import disclosures
from tests.releasing import EVERYTHING, WAS, a_consent, a_patient, a_subject, an_observation, recipient, uid
from tests.subscribing import BASE, OBSERVATION, SUBJECT_STATUS, events, kind, numbers, r4, r5, trial

PATIENT, OTHER = uid("patient"), uid("other patient")
CODE = "http://loinc.org|718-7"


@pytest.fixture
def unit(tmp_path):
    with trial(tmp_path) as made:
        yield made


def enrol(unit, patient=PATIENT):
    unit.world.write(a_patient(patient), a_consent(patient), a_subject(patient), patient=patient)


def test_a_subscription_is_active_once_its_endpoint_has_shaken_hands(unit):
    made = unit.create()
    assert made.state == "requested"

    told = unit.tell()

    assert [kind(one) for one in told] == ["handshake"]
    assert unit.stands(made).state == "active"
    assert unit.tell() == []


def test_an_enrolment_is_told_of(unit):
    unit.subscribed()
    enrol(unit)

    told = unit.tell()

    rights = unit.world.policy.rights(View("edc", "mld"))
    subject = rights.public_id(a_subject()["id"])
    assert [events(one) for one in told] == [[(1, f"{BASE}/ResearchSubject/{subject}")]]
    assert unit.tell() == []


def test_id_only_names_and_full_resource_holds_and_empty_neither(unit):
    bundles = {}
    for content in ("empty", "id-only", "full-resource"):
        unit.subscribed(r4(content=content))
    enrol(unit)
    for bundle in unit.tell():
        entry = bundle["entry"]
        shape = "empty" if len(entry) == 1 else "full-resource" if "resource" in entry[1] else "id-only"
        bundles[shape] = bundle
    assert bundles.keys() == {"empty", "id-only", "full-resource"}
    assert events(bundles["empty"]) == [(1, None)]
    assert bundles["id-only"]["entry"][1].keys() == {"fullUrl", "request", "response"}
    assert bundles["full-resource"]["entry"][1]["resource"]["status"] == "on-study"


@pytest.mark.parametrize("content", ["empty", "id-only", "full-resource"])
def test_every_bundle_is_valid_in_its_release(unit, content):
    unit.create(r4(OBSERVATION, content=content))
    unit.create(r5(OBSERVATION, content=content, heartbeatPeriod=60), "R5")
    unit.tell()
    enrol(unit)
    unit.world.write(an_observation())
    unit.world.write(an_observation(status="corrected"))
    unit.tell()
    unit.pass_time(seconds=90)
    unit.tell()

    model = import_module("fhir.resources.bundle").Bundle
    types = {"history": [], "subscription-notification": []}
    for bundle in unit.endpoint.bundles:
        types[bundle["type"]].append(kind(bundle))
        if bundle["type"] == "history":
            validate(bundle)
        else:
            model.model_validate(bundle)
    assert types["history"] == ["handshake", "event-notification"]
    assert types["subscription-notification"] == ["handshake", "event-notification", "heartbeat"]


def test_two_versions_are_two_events_in_their_order_with_what_each_said(unit):
    unit.subscribed(r4(OBSERVATION, content="full-resource"))
    enrol(unit)
    unit.world.write(an_observation(status="preliminary"))
    unit.world.write(an_observation())

    [bundle] = unit.tell()

    assert numbers([bundle]) == [1, 2]
    assert [entry["resource"]["status"] for entry in bundle["entry"][1:]] == ["preliminary", "final"]


def test_what_changes_nothing_in_what_the_view_sees_is_no_event(unit):
    unit.world.configure(recipient(release=EVERYTHING | {"Observation": ReleaseRule(("status", "code", "subject"))}))
    unit.begin_again()
    unit.subscribed(r4(OBSERVATION))
    enrol(unit)
    unit.world.write(an_observation())
    assert numbers(unit.tell()) == [1]

    unit.world.write(an_observation(note=[{"text": "called the ward"}]))

    assert unit.tell() == []


def test_a_status_that_stays_is_no_event_of_the_subject(unit):
    unit.subscribed()
    enrol(unit)
    unit.tell()
    unit.world.write(a_subject(period={"start": "2026-03-02"}))
    assert unit.tell() == []
    unit.world.write(a_subject(status="follow-up"))
    assert numbers(unit.tell()) == [2]


def test_a_status_the_view_may_not_see_is_no_event(unit):
    unit.subscribed()
    enrol(unit)
    unit.tell()
    unit.world.write(a_subject(status="withdrawn"))
    assert unit.tell() == []


def test_one_whom_a_consent_lets_be_seen_is_told_of(unit):
    unit.subscribed()
    unit.world.write(a_patient(), a_subject())
    assert unit.tell() == []

    unit.world.write(a_consent())
    assert numbers(unit.tell()) == [1]
    unit.world.write(a_consent(dateTime="2026-03-02T10:00:00+01:00"))
    assert unit.tell() == []


def test_a_subject_and_the_consent_that_shows_it_are_one_event(unit):
    unit.subscribed()
    unit.world.write(a_patient(), a_subject())
    unit.world.write(a_consent())

    assert numbers(unit.tell()) == [1]


def test_one_whom_a_consent_lets_be_seen_from_a_moment_on_is_told_of_then(unit):
    """A hospital's clock may be ahead of ours, and then nothing else says that the moment has come."""
    unit.subscribed()
    unit.world.write(a_patient(), a_consent(dateTime="2026-03-20T12:10:00Z"), a_subject())
    unit.world.write(a_subject(status="follow-up"))
    assert unit.tell() == []
    unit.pass_time(minutes=9)
    assert unit.tell() == []

    unit.pass_time(minutes=1)

    assert numbers(unit.tell()) == [1]
    unit.pass_time(minutes=1)
    assert unit.tell() == []


def test_a_consent_that_is_withdrawn_before_it_begins_shows_nobody(unit):
    unit.subscribed()
    unit.world.write(a_patient(), a_consent(dateTime="2026-03-20T12:10:00Z"), a_subject())
    unit.world.write(a_consent(dateTime="2026-03-20T12:10:00Z", status="inactive"))
    unit.pass_time(hours=1)

    assert unit.tell() == []


def test_withdrawn_consent_stops_events(unit):
    unit.subscribed(r4(OBSERVATION))
    enrol(unit)
    unit.world.write(an_observation())
    assert numbers(unit.tell()) == [1]

    unit.world.write(a_consent(status="inactive"))
    unit.world.write(an_observation("wbc"))

    assert unit.tell() == []


def test_consent_is_asked_when_it_is_told_and_not_when_it_happened(unit):
    unit.subscribed(r4(OBSERVATION, content="full-resource"))
    enrol(unit)
    unit.world.write(an_observation())
    unit.world.write(a_consent(status="inactive"))

    assert unit.tell() == []


def test_what_may_no_longer_be_seen_is_not_repeated_but_its_number_is(unit):
    unit.subscribed(r4(OBSERVATION, content="full-resource"))
    enrol(unit)
    unit.world.write(an_observation())
    unit.endpoint.answers.append(Unknown("ReadTimeout"))
    unit.tell()
    unit.world.write(a_consent(status="inactive"))
    unit.pass_time(minutes=1)

    [bundle] = unit.tell()

    assert events(bundle) == [(1, None)]
    assert len(bundle["entry"]) == 1


@pytest.mark.parametrize(
    ("criteria", "count"),
    [
        ([f"Observation?code={CODE}"], 1),
        (["Observation?code=http://loinc.org|1-8"], 0),
        ([f"Observation?code=http://loinc.org|1-8,{CODE}&status=final"], 1),
        ([f"Observation?code={CODE}", "Observation?status=amended"], 0),
        (["Observation?study=MLD-PROTOCOL"], 0),
    ],
)
def test_filters_choose(unit, criteria, count):
    unit.subscribed(r4(OBSERVATION, criteria=criteria))
    enrol(unit)
    unit.world.write(an_observation())
    assert len(numbers(unit.tell())) == count


def test_a_filter_names_a_study_and_a_patient_as_the_view_knows_them(tmp_path):
    both = recipient(studies=("mld", "was"))
    with trial(tmp_path, both, views=(View("edc", "mld"), View("edc", "was"))) as unit:
        mld, was = (unit.world.policy.rights(View("edc", study)) for study in ("mld", "was"))
        patient = uid("patient")
        unit.subscribed(r4(criteria=[f"ResearchSubject?study=ResearchStudy/{was.public_id(WAS.resource)}"]))
        unit.subscribed(r4(criteria=[f"ResearchSubject?patient=Patient/{mld.public_id(patient)}"]))
        unit.subscribed(r4())
        unit.world.write(a_patient(), a_consent(), a_subject(), a_consent(study=WAS), a_subject(study=WAS))

        told = [[focus.rpartition("/")[2] for _, focus in events(one)] for one in unit.tell()]

        in_mld, in_was = mld.public_id(a_subject()["id"]), was.public_id(a_subject(study=WAS)["id"])
        assert sorted(map(sorted, told)) == sorted([[in_was], [in_mld], sorted([in_mld, in_was])])


def test_another_clients_patients_are_none_of_its_business(unit):
    unit.subscribed()
    unit.world.write(a_patient(OTHER), a_consent(OTHER, WAS), a_subject(OTHER, WAS), patient=OTHER)
    assert unit.tell() == []


def test_only_what_the_client_has_a_scope_for_is_told(tmp_path):
    narrow = "system/Subscription.cruds system/Observation.rs?code=http://loinc.org|718-7"
    with trial(tmp_path, scopes=narrow) as unit:
        unit.subscribed(r4(OBSERVATION))
        enrol(unit)
        other = {"coding": [{"system": "http://loinc.org", "code": "6690-2"}]}
        unit.world.write(an_observation(), an_observation("wbc", code=other))
        assert len(numbers(unit.tell())) == 1


def test_a_client_that_was_revoked_is_told_nothing_more(unit):
    made = unit.subscribed()
    enrol(unit)
    with unit.store.begin() as tx:
        tx.clients.save(replace(unit.client, revoked_at=unit.world.now))
    assert unit.tell() == []
    assert (unit.stands(made).state, unit.stands(made).detail) == ("off", "its client was revoked")


def test_what_has_ended_is_off(unit):
    made = unit.subscribed(r4(end="2026-03-20T13:00:00Z"))
    enrol(unit)
    assert numbers(unit.tell()) == [1]
    unit.pass_time(hours=1)
    unit.tell()
    assert unit.stands(made).state == "off"
    unit.world.write(a_subject(status="follow-up"))
    assert unit.tell() == []


def test_max_count_cuts_into_several_in_order(unit):
    extension = {"url": "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/backport-max-count"}
    unit.subscribed(r4(OBSERVATION, channel={"extension": [extension | {"valuePositiveInt": 2}]}))
    enrol(unit)
    unit.world.write(*[an_observation(f"lab {number}") for number in range(5)])
    assert [[number for number, _ in events(one)] for one in unit.tell()] == [[1, 2], [3, 4], [5]]


# --- failing --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("outcome", [Unknown("ReadTimeout"), Deferred("HTTP 503"), Deferred("HTTP 404", breaker=True)])
def test_what_failed_is_told_again_under_the_same_numbers(unit, outcome):
    made = unit.subscribed(r4(OBSERVATION))
    enrol(unit)
    unit.world.write(an_observation())
    unit.endpoint.answers.append(outcome)
    unit.tell()
    assert (unit.stands(made).failures, unit.stands(made).detail) == (1, outcome.detail)
    unit.world.write(an_observation("wbc"))
    assert unit.tell() == []  # it waits

    unit.pass_time(minutes=1)
    unit.tell()

    assert [one.key.partition("/")[2] for one in unit.endpoint.told] == ["1-1", "1-1", "2-2"]
    assert unit.endpoint.bundles[0]["entry"][1:] == unit.endpoint.bundles[1]["entry"][1:]
    assert (unit.stands(made).failures, unit.stands(made).settled) == (0, 2)


def test_it_waits_as_long_as_the_endpoint_asks_for(unit):
    unit.subscribed()
    enrol(unit)
    unit.endpoint.answers.append(Deferred("HTTP 429", wait=timedelta(minutes=10)))
    unit.tell()
    unit.pass_time(minutes=9)
    assert unit.tell() == []
    unit.pass_time(minutes=1)
    assert numbers(unit.tell()) == [1]


def test_an_endpoint_that_asks_for_no_wait_is_not_asked_without_one(unit):
    made = unit.subscribed()
    enrol(unit)
    unit.endpoint.answers.extend([Deferred("HTTP 503", wait=timedelta(0))] * 9)

    unit.tell()

    assert len(unit.endpoint.told) == 1
    assert unit.stands(made).due_at > unit.world.now


def test_what_is_refused_is_an_error_at_once_and_events_go_on_being_counted(unit):
    made = unit.subscribed()
    enrol(unit)
    unit.endpoint.answers.append(Refused("HTTP 422"))
    unit.tell()
    assert unit.stands(made).state == "error"
    unit.world.write(a_subject(status="follow-up"))
    assert unit.tell() == []
    assert unit.stands(made).events == 2


def test_an_endpoint_that_fails_for_a_day_is_in_error_and_after_a_week_off(unit):
    made = unit.subscribed()
    enrol(unit)
    unit.endpoint.answers.extend([Unknown("ReadTimeout")] * 100)
    while unit.stands(made).state == "active":
        unit.tell()
        unit.pass_time(minutes=31)
    assert unit.world.now - unit.stands(made).failed_at >= timedelta(days=1)
    assert unit.stands(made).state == "error"
    assert ("subscription-error", "ReadTimeout") in unit.audit(made)
    unit.pass_time(days=7)
    unit.tell()
    assert unit.stands(made).state == "off"


@pytest.mark.parametrize("outcome", [Refused("HTTP 400"), Deferred("HTTP 401", breaker=True)])
def test_a_handshake_that_is_refused_is_an_error(unit, outcome):
    made = unit.create()
    unit.endpoint.answers.append(outcome)
    unit.tell()
    assert (unit.stands(made).state, unit.stands(made).detail) == ("error", outcome.detail)


def test_a_handshake_is_tried_again_for_some_minutes(unit):
    made = unit.create()
    unit.endpoint.answers.extend([Deferred("could not connect")] * 2)
    for _ in range(3):
        unit.tell()
        unit.pass_time(seconds=30)
    assert unit.stands(made).state == "active"
    unit.endpoint.answers.extend([Deferred("could not connect")] * 30)
    other = unit.create()
    for _ in range(30):
        unit.tell()
        unit.pass_time(seconds=65)
    assert unit.stands(other).state == "error"


def test_after_an_error_everything_that_waited_is_told_in_order(unit):
    made = unit.subscribed()
    enrol(unit)
    unit.endpoint.answers.append(Refused("HTTP 422"))
    unit.tell()
    unit.world.write(a_subject(status="follow-up"))
    unit.tell()
    unit.update(made, r4())

    told = unit.tell()

    assert [kind(one) for one in told] == ["handshake", "event-notification"]
    assert numbers(told) == [1, 2]


def test_an_adapter_that_fails_counts_as_one_that_may_have_told(unit):
    made = unit.subscribed()
    enrol(unit)
    unit.endpoint.answers.append(ValueError("a defect"))
    unit.tell()
    assert unit.stands(made).detail == "the way to the endpoint failed: ValueError"
    unit.pass_time(minutes=1)
    assert numbers(unit.tell()) == [1]


# --- crashes --------------------------------------------------------------------------------------------------------


class Killed(BaseException):
    """Nothing catches it: as if the process were killed there."""


def test_killed_before_it_settled_it_is_repeated_under_the_same_number(unit):
    made = unit.subscribed(r4(OBSERVATION))
    enrol(unit)
    unit.world.write(an_observation())
    told = unit.endpoint.notify

    def killed(notification):
        told(notification)
        raise Killed

    unit.endpoint.notify = killed
    with pytest.raises(Killed):
        unit.tell()
    unit.endpoint.notify = told
    unit.world.write(an_observation("wbc"))
    unit.begin_again("another")
    assert unit.tell() == []  # the lease is still held
    unit.pass_time(minutes=3)
    unit.tell()

    assert [one.key.partition("/")[2] for one in unit.endpoint.told] == ["1-1", "1-1", "2-2"]
    assert unit.stands(made).settled == 2


def test_killed_before_it_was_noted_nothing_was_sent_and_nothing_is_lost(unit, monkeypatch):
    unit.subscribed(r4(OBSERVATION))
    enrol(unit)
    unit.world.write(an_observation())

    def killed(*_):
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr("gateway.services.notify._answer", killed)
        with pytest.raises(Killed):
            unit.tell()
    assert unit.endpoint.told == []
    unit.pass_time(minutes=3)
    assert numbers(unit.tell()) == [1]


def test_who_lost_the_lease_settles_nothing(unit):
    made = unit.subscribed(r4(OBSERVATION))
    enrol(unit)
    unit.world.write(an_observation())
    claimed = unit.notify.claim()
    unit.pass_time(minutes=4)
    other = unit.notify.claim()
    assert unit.notify.attend(claimed) is None
    assert unit.endpoint.told == []
    unit.notify.attend(other)
    assert unit.stands(made).settled == 1


def test_a_change_that_was_not_committed_is_no_event(unit):
    made = unit.subscribed(r4(OBSERVATION))
    enrol(unit)
    unit.world.planner = killing(unit.world.planner)
    with pytest.raises(Killed):
        unit.world.write(an_observation())
    with unit.store.begin(write=False) as tx:
        assert tx.subscriptions.triggers(made.id, unit.world.now, 9) == []


def killing(planner):
    def planned(*arguments):
        planner(*arguments)
        raise Killed

    return planned


# --- heartbeats and what is kept --------------------------------------------------------------------------------------


def test_a_heartbeat_comes_when_nothing_else_came(unit):
    extension = {"url": "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/backport-heartbeat-period"}
    unit.subscribed(r4(channel={"extension": [extension | {"valueUnsignedInt": 60}]}))
    unit.pass_time(seconds=59)
    assert unit.tell() == []
    unit.pass_time(seconds=1)
    assert [kind(one) for one in unit.tell()] == ["heartbeat"]
    unit.pass_time(seconds=30)
    enrol(unit)
    assert [kind(one) for one in unit.tell()] == ["event-notification"]
    unit.pass_time(seconds=59)
    assert unit.tell() == []
    unit.pass_time(seconds=1)
    assert [kind(one) for one in unit.tell()] == ["heartbeat"]


def test_each_heartbeat_has_a_key_of_its_own_and_its_repeat_the_same(unit):
    extension = {"url": "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/backport-heartbeat-period"}
    unit.subscribed(r4(channel={"extension": [extension | {"valueUnsignedInt": 60}]}))
    unit.endpoint.answers.extend([Accepted("HTTP 200"), Unknown("ReadTimeout"), Accepted("HTTP 200")])
    for _ in range(3):
        unit.pass_time(seconds=60)
        unit.tell()

    assert [kind(one) for one in unit.endpoint.bundles] == ["heartbeat"] * 3
    first, second, again = (one.key for one in unit.endpoint.told)
    assert first != second == again


def test_what_happened_before_the_topic_was_changed_is_no_event_of_the_new_one(unit):
    made = unit.subscribed(r4(SUBJECT_STATUS))
    enrol(unit)
    unit.update(made, r4(OBSERVATION))

    assert numbers(unit.tell()) == []
    unit.world.write(an_observation())
    assert numbers(unit.tell()) == [1]


def test_what_was_told_is_noted_before_it_leaves(unit):
    unit.subscribed(r4(OBSERVATION))
    enrol(unit)
    unit.world.write(an_observation())
    unit.tell()
    [answer] = unit.answers()
    assert (answer.interaction, answer.type, answer.status) == ("notification", "Subscription", 202)
    assert [(one.type, one.resource, one.version) for one in answer.shown] == [
        ("Observation", an_observation()["id"], 1)
    ]
    with unit.store.begin(write=False) as tx:
        assert len(tx.answers.find(patients=[uid("patient")])) == 1
    assert disclosures(unit.store, uid("patient")) is not None


def test_an_empty_notification_discloses_nothing(unit):
    unit.subscribed(r4(OBSERVATION, content="empty"))
    enrol(unit)
    unit.world.write(an_observation())
    assert numbers(unit.tell()) == [1]
    assert unit.answers() == []


def test_every_attempt_is_in_the_audit_trail(unit):
    made = unit.subscribed()
    enrol(unit)
    unit.endpoint.answers.extend([Unknown("ReadTimeout"), Accepted("HTTP 202")])
    unit.tell()
    unit.pass_time(minutes=1)
    unit.tell()
    assert unit.audit(made) == [
        ("subscription-requested", ""),
        ("notification-accepted", "handshake handshake/1-0 to client ctms: HTTP 200"),
        ("subscription-active", ""),
        ("notification-unknown", "event-notification 1-1 to client ctms: ReadTimeout"),
        ("notification-accepted", "event-notification 1-1 to client ctms: HTTP 202"),
    ]


def test_r5_notifications_hold_resources_as_r5_has_them(unit):
    unit.subscribed(r5(SUBJECT_STATUS, content="full-resource"), "R5")
    enrol(unit)
    [bundle] = unit.tell()
    resource = bundle["entry"][1]["resource"]
    assert (resource["status"], "progress" in resource) == ("active", True)
