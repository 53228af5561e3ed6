import pytest

from tests.translating import PID, bodies, body, findings, translate

SURVIVOR = "PID|1||0042^^^LAKE^MR||Rossi^Ada"
OLD = "MRG|0007^^^LAKE^MR"


@pytest.mark.parametrize("event", ["A28", "A31"])
def test_a_person_event_states_the_patient_and_no_visit(event):
    made = translate(PID, "PV1|1|N||||||||||||||||||V1", kind=f"ADT^{event}")

    assert body(made, "Patient")["birthDate"] == "2019-03-14"
    assert bodies(made, "Encounter") == []


def test_only_a_merge_says_whether_a_patient_is_active():
    assert "active" not in body(translate(PID, kind="ADT^A08"), "Patient")


def test_a_merge_deactivates_the_old_patient_links_both_ways_and_deletes_nothing():
    made = translate(SURVIVOR, OLD, kind="ADT^A40")

    old, survivor = sorted(bodies(made, "Patient"), key=lambda each: each["identifier"][0]["value"])
    assert old["active"] is False
    assert old["link"] == [{"other": {"reference": f"Patient/{survivor['id']}"}, "type": "replaced-by"}]
    assert survivor["link"] == [{"other": {"reference": f"Patient/{old['id']}"}, "type": "replaces"}]
    assert "active" not in survivor
    assert [(link.old, link.survivor) for link in made.links] == [(old["id"], survivor["id"])]
    assert {(key.patient, key.value) for key in made.keys} == {(old["id"], "0007"), (survivor["id"], "0042")}


def test_the_old_patient_is_the_one_its_own_messages_made():
    before = body(translate("PID|1||0007^^^LAKE^MR||Rossi^A", kind="ADT^A04"), "Patient")

    assert translate(SURVIVOR, OLD, kind="ADT^A40").links[0].old == before["id"]


def test_one_provenance_of_the_survivor_covers_a_merge():
    made = translate(SURVIVOR, OLD, kind="ADT^A40")

    (statement,) = [each for each in made.statements if each.type == "Provenance"]
    targets = {each["reference"] for each in body(made, "Provenance")["target"]}
    assert statement.patient == made.links[0].survivor
    assert targets >= {f"Patient/{made.links[0].old}", f"Patient/{made.links[0].survivor}"}


def test_a_message_may_merge_several_pairs():
    made = translate(SURVIVOR, OLD, "PID|2||0043^^^LAKE^MR", "MRG|0008^^^LAKE^MR", kind="ADT^A40")

    assert len(made.links) == 2
    assert len(bodies(made, "Provenance")) == 2


def test_merging_a_patient_with_itself_merges_nothing():
    made = translate(SURVIVOR, "MRG|0042^^^LAKE^MR", kind="ADT^A40")

    assert made.links == ()
    assert findings(made) == ["names the same patient as PID-3: nothing to merge"]
    assert "link" not in body(made, "Patient")


@pytest.mark.parametrize(
    ("segments", "place"),
    [
        ((SURVIVOR,), "MRG"),
        ((OLD,), "PID"),
        ((SURVIVOR, OLD, "PID|2||9^^^LAKE^MR"), "PID[2]"),
        ((SURVIVOR, "PID|2||9^^^LAKE^MR", OLD), "PID[2]"),
        ((SURVIVOR, "MRG|^^^LAKE^MR"), "MRG-1"),
    ],
)
def test_a_merge_that_names_one_patient_only_fails_naming_the_place(segments, place):
    made = translate(*segments, kind="ADT^A40")

    assert made.failure is not None
    assert made.failure.place == place
    assert (made.statements, made.keys, made.links) == ((), (), ())
