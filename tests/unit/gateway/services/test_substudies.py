"""Sub-studies that a trial office writes: seen by the views of their study, and nothing follows from them."""

import pytest

from gateway.fhir import codec
from gateway.fhir.r5 import to_r5
from gateway.model.delivery import View
from gateway.model.names import STUDY_ID
from gateway.release.decision import Withheld
from gateway.release.release import release
from gateway.services.addressing import Addresses
from gateway.services.prepare import StudyResources, prepare, study_resource_id
from gateway.services.search import Search
from gateway.services.subjects import subjects_of
from tests.releasing import EVERYTHING, KEYS, MLD, NOON, WAS, a_study, kinds, recipient, uid, world
from tests.writing import FILE, Desk, a_new_consent, a_new_subject, body_of, enrolled, office_file, pseudonymous

PATIENT = uid("patient")
SAID = "gateway's configuration"
"""What every refusal of a study of its own says."""


@pytest.fixture
def here(tmp_path):
    both = office_file("both", studies=("mld", "was"))
    with world(tmp_path, office_file(), both, recipient("edc", release=FILE, identity="identified")) as made:
        enrolled(made)
        made.write(a_study(WAS), patient="", clocks={"": (2, "2026", 1)}, message=0)
        yield made


@pytest.fixture
def desk(here):
    return Desk(here)


def part_of(*ids, **changes):
    """A sub-study as a client writes it."""
    named = {"partOf": [{"reference": f"ResearchStudy/{id}"} for id in ids]} if ids else {}
    return {"resourceType": "ResearchStudy", "status": "active", "title": "Registry arm"} | named | changes


def made(desk, *ids, **changes):
    told = desk.send("POST", "ResearchStudy", part_of(*(ids or (MLD.resource,)), **changes))
    assert told.status == 201
    return body_of(told)["id"]


def changed(desk, id, **changes):
    body = desk.seen("ResearchStudy", id) | changes
    return desk.send("PUT", f"ResearchStudy/{id}", {name: value for name, value in body.items() if value})


def refused_change(desk, id, **changes):
    body = desk.seen("ResearchStudy", id) | changes
    return desk.refused("PUT", f"ResearchStudy/{id}", {name: value for name, value in body.items() if value})


def names(desk, *pairs):
    with desk.world.store.begin(write=False) as tx:
        pull = desk.pull(tx)
        return {match.seen.id for match in Addresses(pull, Search(pull, "x")).found("ResearchStudy", list(pairs), 50)}


# --- writing ----------------------------------------------------------------------------------------------------------


def test_a_sub_study_is_created_read_found_changed_and_deleted(desk):
    id = made(desk)

    assert desk.seen("ResearchStudy", id)["partOf"] == [{"reference": f"ResearchStudy/{MLD.resource}"}]
    assert names(desk, ("partof", f"ResearchStudy/{MLD.resource}")) == {id}
    assert body_of(changed(desk, id, title="Follow-up"))["title"] == "Follow-up"
    told = desk.send("PATCH", f"ResearchStudy/{id}", [{"op": "replace", "path": "/status", "value": "completed"}])
    assert body_of(told)["status"] == "completed"
    assert desk.send("DELETE", f"ResearchStudy/{id}").status == 204
    assert desk.seen("ResearchStudy", id) is None
    assert [version.gone for version in desk.versions(id)] == [False, False, False, True]
    assert desk.send("DELETE", f"ResearchStudy/{id}").status == 204
    assert len(desk.versions(id)) == 4
    assert names(desk, ("partof", MLD.resource)) == set()


def test_a_sub_study_may_be_part_of_another(desk):
    above = made(desk)
    below = made(desk, above)

    assert names(desk, ("partof", above)) == {below}
    assert names(desk, ("partof.title", "Registry")) == {below}


@pytest.mark.parametrize("release", ["R4", "R5"])
def test_it_is_written_in_both_releases_once_by_a_condition(desk, release):
    desk.release = release
    body = part_of(MLD.resource, identifier=[{"system": "urn:x", "value": "arm-1"}])
    body = to_r5(body) if release == "R5" else body

    first = desk.send("POST", "ResearchStudy", body, if_none_exist="identifier=urn:x|arm-1")
    second = desk.send("PUT", "ResearchStudy?identifier=urn:x|arm-1", body | {"title": "Other"})
    third = desk.send("PUT", "ResearchStudy?identifier=urn:x|arm-2", body)

    assert [told.status for told in (first, second, third)] == [201, 200, 201]
    assert body_of(first)["id"] == body_of(second)["id"] != body_of(third)["id"]
    assert body_of(second)["partOf"] == [{"reference": f"ResearchStudy/{MLD.resource}"}]


def entry(method, url, resource=None, name=""):
    said = {"request": {"method": method, "url": url}}
    return said | ({"resource": resource} if resource else {}) | ({"fullUrl": f"urn:uuid:{uid(name)}"} if name else {})


def bundle(*entries):
    return {"resourceType": "Bundle", "type": "transaction", "entry": list(entries)}


def named(name):
    return [{"reference": f"urn:uuid:{uid(name)}"}]


def test_a_transaction_creates_sub_studies_that_are_part_of_each_other(desk):
    plan = {"resourceType": "PlanDefinition", "status": "draft"}
    sent = bundle(
        entry("POST", "ResearchStudy", part_of(partOf=named("above"), protocol=named("plan"))),
        entry("POST", "ResearchStudy", part_of(MLD.resource), "above"),
        entry("POST", "PlanDefinition", plan, "plan"),
    )

    answers = body_of(desk.send("POST", "", sent))["entry"]

    below, above, plan = (one["resource"] for one in answers)
    assert below["partOf"] == [{"reference": f"ResearchStudy/{above['id']}"}]
    assert below["protocol"] == [{"reference": f"PlanDefinition/{plan['id']}"}]


def test_a_client_of_several_studies_writes_into_the_one_it_names(here):
    desk = Desk(here, View("both", "mld"), View("both", "was"))

    assert desk.versions(made(desk, WAS.resource))[-1].study == "was"
    tagged = {"tag": [{"system": STUDY_ID, "code": "mld"}]}
    error = desk.refused("POST", "ResearchStudy", part_of(WAS.resource, meta=tagged))
    assert (error.status, error.expression) == (422, ("ResearchStudy.partOf[0]",))
    assert desk.refused("POST", "ResearchStudy", part_of(MLD.resource, WAS.resource)).status == 422


# --- what is refused --------------------------------------------------------------------------------------------------


def test_a_study_of_its_own_is_refused_in_the_same_words_whatever_it_names(here, desk):
    other = made(Desk(here, View("both", "was")), WAS.resource)
    plan = body_of(desk.send("POST", "PlanDefinition", {"resourceType": "PlanDefinition", "status": "draft"}))["id"]
    gone = made(desk)
    desk.send("DELETE", f"ResearchStudy/{gone}")

    said = [
        desk.refused("POST", "ResearchStudy", part_of(id))
        for id in (WAS.resource, other, uid("never"), plan, gone, "x")
    ]

    assert {(one.status, one.code, one.what, one.expression) for one in said} == {
        (422, "not-found", said[0].what, ("ResearchStudy.partOf[0]",))
    }
    assert SAID in said[0].what
    assert "partOf" in said[0].what


@pytest.mark.parametrize(
    "named", [None, [{"display": "the study"}], [{"identifier": {"system": "urn:x", "value": "mld"}}]]
)
def test_a_study_that_names_none_is_refused(desk, named):
    error = desk.refused("POST", "ResearchStudy", part_of(**({"partOf": named} if named else {})))

    assert (error.status, error.expression) == (422, ("ResearchStudy.partOf",))
    assert SAID in error.what


def test_no_sub_study_is_cut_off_or_made_a_part_of_itself(desk):
    above = made(desk)
    below = made(desk, above)
    link = [{"reference": f"ResearchStudy/{below}"}]

    for error in (
        refused_change(desk, below, partOf=None),
        refused_change(desk, above, partOf=link),
        refused_change(desk, below, partOf=link),
        refused_change(desk, below, partOf=[{"reference": f"ResearchStudy/{above}"}, *link]),
        refused_change(desk, MLD.resource, partOf=link),
        desk.refused(
            "POST",
            "",
            bundle(
                entry("POST", "ResearchStudy", part_of(partOf=named("two")), "one"),
                entry("POST", "ResearchStudy", part_of(partOf=named("one")), "two"),
            ),
        ),
    ):
        assert (error.status, error.code) == (422, "business-rule")
        assert SAID in error.what
    assert error.expression == ("Bundle.entry[0].resource.partOf",)


def test_what_a_sub_study_names_is_not_deleted_before_it(desk):
    above = made(desk)
    plan = body_of(desk.send("POST", "PlanDefinition", {"resourceType": "PlanDefinition", "status": "draft"}))["id"]
    below = made(desk, above, protocol=[{"reference": f"PlanDefinition/{plan}"}])

    for path in (f"PlanDefinition/{plan}", f"ResearchStudy/{above}"):
        assert desk.refused("DELETE", path).status == 409
    paths = [f"ResearchStudy/{above}", f"PlanDefinition/{plan}", f"ResearchStudy/{below}"]
    desk.send("POST", "", bundle(*(entry("DELETE", path) for path in paths)))
    assert desk.seen("ResearchStudy", below) is None


def test_the_study_of_the_configuration_is_not_deleted_and_says_why(desk):
    for error in (
        desk.refused("DELETE", f"ResearchStudy/{MLD.resource}"),
        desk.refused("DELETE", "ResearchStudy?title=A study"),
        desk.refused("POST", "", bundle(entry("DELETE", f"ResearchStudy/{MLD.resource}"))),
    ):
        assert (error.status, error.code) == (405, "not-supported")
        assert SAID in error.what
    assert desk.refused("DELETE", f"ResearchStudy/{WAS.resource}").status == 404


def test_a_view_whose_file_does_not_list_part_of_writes_no_sub_study(tmp_path):
    with world(tmp_path, office_file(release=FILE | {"ResearchStudy": EVERYTHING["ResearchStudy"]})) as here:
        enrolled(here)

        error = Desk(here).refused("POST", "ResearchStudy", part_of(MLD.resource))

        assert (error.status, error.expression) == (403, ("ResearchStudy.partOf",))


# --- nothing follows from it ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("type", ["ResearchSubject", "Consent"])
def test_no_subject_and_no_consent_is_of_a_sub_study(desk, type):
    id = made(desk)
    link = {"reference": f"ResearchStudy/{id}"}
    provision = a_new_consent(PATIENT)["provision"] | {"data": [{"meaning": "related", "reference": link}]}
    bodies = {"ResearchSubject": a_new_subject(PATIENT, id), "Consent": a_new_consent(PATIENT, provision=provision)}
    paths = {"ResearchSubject": "ResearchSubject.study", "Consent": "Consent.provision.data[0].reference"}

    error = desk.refused("POST", type, bodies[type])

    assert (error.status, error.code, error.expression) == (422, "business-rule", (paths[type],))
    assert SAID in error.what
    new = bundle(
        entry("POST", "ResearchSubject", a_new_subject(PATIENT) | {"study": named("new")[0]}),
        entry("POST", "ResearchStudy", part_of(MLD.resource), "new"),
    )
    assert desk.refused("POST", "", new).expression == ("Bundle.entry[0].resource.study",)


def test_a_place_that_names_a_sub_study_gives_no_right(here, desk):
    """However it came to be stored: the study of a place is one of the configuration's."""
    id, other = made(desk), uid("other patient")
    body = enrolled(here, other)
    here.write(body | {"study": {"reference": f"ResearchStudy/{id}"}}, patient=other, clocks={"": (2, "2026", 2)})

    with here.store.begin(write=False) as tx:
        assert subjects_of(tx, other, here.policy).subjects == {}
    assert desk.seen("Patient", other) is None
    assert here.policy.study_of(id) is None


def test_a_file_of_the_configuration_goes_on_saying_what_its_study_is(here, desk):
    """A restart neither takes a sub-study for a study nor touches it."""
    id = made(desk)
    own = {"resourceType": "ResearchStudy", "id": "mld", "status": "active", "title": "from the file"}
    prepare(
        here.store, studies=[StudyResources("mld", (own,))], codes={}, id_key=KEYS.identity, now=NOON,
        planner=here.planner,
    )  # fmt: skip

    assert len(desk.versions(id)) == 1
    assert desk.versions(study_resource_id(KEYS.identity, "mld"))[-1].study == ""


# --- who sees it ------------------------------------------------------------------------------------------------------


def test_it_is_seen_by_the_views_of_its_study_alone(here, desk):
    id = made(desk)
    mine = Desk(here, View("both", "mld"))
    other = Desk(here, View("both", "was"))

    assert mine.seen("ResearchStudy", id)["title"] == "Registry arm"
    assert other.seen("ResearchStudy", id) is None
    version = desk.versions(id)[-1]
    for view, seen in ((View("both", "mld"), True), (View("both", "was"), False)):
        decided = release(version, here.policy.rights(view), None, NOON)
        assert isinstance(decided, Withheld) is not seen
    assert names(other, ("_id", id)) == set()
    for method in ("DELETE", "PUT"):
        body = part_of(WAS.resource, id=id) if method == "PUT" else None
        never = body and body | {"id": uid("never")}
        answers = [
            other.refused(method, f"ResearchStudy/{one}", sent, if_match="*")
            for one, sent in ((id, body), (uid("never"), never))
        ]
        assert str(answers[0]) == str(answers[1])


def test_who_does_not_know_of_which_study_another_is_shows_no_reference_to_it(here, desk):
    above = made(desk)
    version = desk.versions(made(desk, MLD.resource, above))[-1]
    rights = here.policy.rights(View("office", "mld"))

    whole = release(version, rights, None, NOON, reachable=lambda _: True)
    careful = release(version, rights, None, NOON)

    own, sub = ({"reference": f"ResearchStudy/{id}"} for id in (MLD.resource, above))
    assert (whole.body["partOf"], careful.body["partOf"]) == ([own, sub], [own])


def test_a_pseudonymous_view_knows_it_by_its_own_id(tmp_path):
    with world(tmp_path, pseudonymous()) as here:
        enrolled(here)
        desk = Desk(here)
        study = desk.public(MLD.resource)

        id = made(desk, study)

        assert desk.seen("ResearchStudy", id)["partOf"] == [{"reference": f"ResearchStudy/{study}"}]
        assert desk.versions(id) == []


def test_a_blinded_view_sees_no_arm_of_it_and_no_arm_is_written_that_the_file_does_not_declare(tmp_path):
    with world(tmp_path, office_file(), recipient("edc", release=FILE, identity="identified", blinded=True)) as here:
        enrolled(here)
        desk = Desk(here)

        assert desk.refused("POST", "ResearchStudy", part_of(MLD.resource, arm=[{"name": "B"}])).status == 422
        id = made(desk, arm=[{"name": "ARM-TREATED"}])

        assert "arm" in desk.seen("ResearchStudy", id)
        assert "arm" not in Desk(here, View("edc", "mld")).seen("ResearchStudy", id)


def test_what_a_sub_study_refers_to_concerns_whoever_sees_the_sub_study(here, desk):
    sponsor = {"resourceType": "Organization", "id": uid("sponsor"), "name": "Sponsor of the arm"}
    here.write(sponsor, patient="", clocks={"": (2, "2026", 1)})
    assert desk.seen("Organization", sponsor["id"]) is None
    id = made(desk)
    body = codec.decode(desk.versions(id)[-1].body) | {"sponsor": {"reference": f"Organization/{sponsor['id']}"}}
    here.write(body, patient="", study="mld", clocks={"": (2, "2026", 1)})

    assert desk.seen("Organization", sponsor["id"])["name"] == "Sponsor of the arm"
    desk.send("DELETE", f"ResearchStudy/{id}")
    assert desk.seen("Organization", sponsor["id"]) is None


# --- delivering -------------------------------------------------------------------------------------------------------


def sent(here, recipient="edc"):
    return [
        (entry.kind.value, entry.type, codec.decode(entry.text))
        for package in here.deliver(recipient, patient="")
        for entry in package.entries
    ]


def test_it_is_delivered_corrected_and_taken_back(here, desk):
    here.deliver("edc", patient="")
    id = made(desk)

    (first,) = sent(here)
    assert first[:2] == ("created", "ResearchStudy")
    assert first[2]["partOf"] == [{"reference": f"ResearchStudy/{MLD.resource}"}]
    changed(desk, id, title="Other")
    assert [one[:2] for one in sent(here)] == [("updated", "ResearchStudy")]
    desk.send("DELETE", f"ResearchStudy/{id}")
    assert sent(here) == [("retracted", "ResearchStudy", {})]
    assert sent(here) == []


def test_who_receives_nothing_of_studies_receives_no_sub_study_and_none_is_sent_for_a_patient(here, desk):
    without = {kind: rule for kind, rule in EVERYTHING.items() if kind not in ("ResearchStudy", "ResearchSubject")}
    here.configure(office_file(), recipient("edc", release=without), recipient("elsewhere", studies=("was",)))
    made(Desk(here))

    assert sent(here) == []
    assert here.deliver("elsewhere", "was", patient="") == []
    assert ("ResearchStudy", "created") not in kinds(here.deliver("edc"))
