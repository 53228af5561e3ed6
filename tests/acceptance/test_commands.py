"""The operator's commands, against a deployment that has lived through the year."""

from __future__ import annotations

import pytest

from fixtures.story import Played
from gateway.settings import create_keys
from tests.command import gateway
from tests.contracts.waiting import wait_for

NEW_CODE = "ZZNEW"
LOINC = "1751-7"


@pytest.fixture(scope="module")
def deployment(lived, year):
    """A deployment after the year, and after a result whose code nobody has mapped."""
    lived.play([unmapped_result(year)])
    return lived


@pytest.fixture(scope="module")
def run(deployment):
    """Run a command against the deployment."""
    return lambda *words: gateway(*words, environment=deployment.environment)


def unmapped_result(year):
    """A result of a subject whose code has no map, from the laboratory that sends decimal commas."""
    registration = next(one for one in year if one.name.endswith("registered-was"))
    patient = next(line for line in registration.raw.split(b"\r") if line.startswith(b"PID"))
    number = patient.split(b"|")[3].decode()
    lines = (
        r"MSH|^~\&|LIS|SAN CELSO|GATEWAY|CRU|20260801090000||ORU^R01|UNMAPPED1|P|2.4",
        f"PID|1||{number}",
        "OBR|1|ZZ1|ZZ1|CHIM^Chimica clinica^L|||20260801080000|||||||||||||||20260801085000||CH|F",
        f"OBX|1|NM|{NEW_CODE}^Nuovo^L||3,50|g/dL|||||F|||20260801080000",
    )
    return Played("unmapped", "lis", "\r".join(lines).encode() + b"\r")


def test_check_finds_no_error_in_the_configuration(run):
    done = run("check")
    assert (done.status, done.err) == (0, "")
    assert "no error" in done.out


def test_db_check_finds_the_schema_of_this_program(run):
    assert run("db", "check").status == 0


def test_status_has_a_line_for_every_feed_and_recipient_and_nothing_waits(run, deployment):
    done = run("status", "--json")
    lines = {(line["kind"], line["name"]): line for line in done.records}
    settings = deployment.settings
    assert {name for kind, name in lines if kind == "feed"} == set(settings.feeds)
    assert {name for kind, name in lines if kind == "recipient"} == set(settings.receivers)
    assert [line["name"] for line in lines.values() if line["kind"] != "holds" and line["waiting"]] == []
    assert run("status").out.splitlines()[0].startswith("kind")


def test_messages_are_listed_newest_first_and_by_state_and_feed(run, year):
    listed = run("messages", "list", "--limit", "1000", "--json").records
    ids = [line["id"] for line in listed]
    assert ids == sorted(ids, reverse=True)
    assert listed[0]["control_id"] == "UNMAPPED1"
    assert {line["state"] for line in run("messages", "list", "--state", "failed", "--json").records} == {"failed"}
    assert {line["feed"] for line in run("messages", "list", "--feed", "lis", "--json").records} == {"lis"}


def test_a_message_is_shown_with_what_it_wrote_and_as_it_came(run):
    (line,) = run("messages", "list", "--control-id", "UNMAPPED1", "--json").records
    shown = run("messages", "show", line["id"], "--json")
    assert shown.status == 0
    assert shown.records[0]["acknowledgment"] == "AA"
    assert any(record["resource"].startswith("Observation/") for record in shown.records[1:])
    assert f"{NEW_CODE}^Nuovo" in run("messages", "show", line["id"], "--raw").out
    assert "wrote" in run("messages", "show", line["id"]).out


@pytest.mark.parametrize("words", [("messages", "show", 999_999), ("deliveries", "show", 999_999)])
def test_what_is_not_there_is_said_on_stderr_with_status_1(run, words):
    done = run(*words)
    assert (done.status, done.out) == (1, "")
    assert "there is none" in done.err


def test_a_wrong_option_is_status_2(run):
    assert run("messages", "list", "--nonsense").status == 2
    assert run("explain", "--recipient", "edc").status == 2


def test_deliveries_are_listed_and_shown_with_their_attempts(run):
    listed = run("deliveries", "list", "--recipient", "edc", "--limit", "1000", "--json").records
    assert {line["recipient"] for line in listed} == {"edc"}
    served = next(line for line in listed if line["sent"])
    shown = run("deliveries", "show", served["id"], "--json").records
    assert shown[0]["id"] == served["id"]
    assert {attempt["outcome"] for attempt in shown[1:]} == {"accepted"}


def test_replaying_a_delivery_sends_it_again_under_a_new_delivery_id(run, deployment):
    served = next(
        line for line in run("deliveries", "list", "--recipient", "registry", "--json").records if line["sent"]
    )
    before = deployment.trial_systems.taken["registry"]
    held = deployment.end["received"]["registry"]
    assert run("deliveries", "replay", served["id"], "--all").status == 0
    wait_for(lambda: len(deployment.trial_systems.taken["registry"]) > len(before), what="the replayed delivery")
    deployment.settle()
    assert deployment.end["received"]["registry"] == held


def test_replaying_a_message_to_one_recipient_reaches_that_one_alone(run, deployment, year):
    (line,) = run("messages", "list", "--control-id", "UNMAPPED1", "--json").records
    before = deployment.trial_systems.taken
    done = run("messages", "replay", line["id"], "--recipient", "edc")
    assert done.status == 0
    assert "due again" in done.out
    wait_for(lambda: len(deployment.trial_systems.taken["edc"]) > len(before["edc"]), what="the replayed message")
    deployment.settle()
    assert deployment.trial_systems.taken["registry"] == before["registry"]


def test_replaying_to_nobody_we_know_names_those_we_know(run):
    done = run("messages", "replay", 1, "--recipient", "nobody")
    assert done.status == 1
    assert "edc" in done.err


def test_translating_a_message_again_changes_nothing(run, deployment):
    (line,) = run("messages", "list", "--control-id", "UNMAPPED1", "--json").records
    before = deployment.end["resources"]
    assert run("messages", "replay", line["id"]).status == 0
    deployment.settle()
    assert deployment.end["resources"] == before


def test_a_mapped_gap_reaches_the_recipient_with_its_code(run, deployment):
    (gap,) = [line for line in run("gaps", "list", "--json").records if line["code"] == NEW_CODE]
    done = run(
        *("gaps", "map", gap["id"], "--code", f"http://loinc.org|{LOINC}", "--display", "Albumin", "--ucum", "g/dL"),
        *("--author", "A. Tester", "--reason", "the laboratory's price list"),
    )
    assert done.status == 0
    assert "1 message(s)" in done.out

    def coded():
        held = deployment.trial_systems.received["edc"].values()
        return [one for one in held if one["resourceType"] == "Observation" and LOINC in codes_of(one)]

    wait_for(coded, what="the mapped code at the recipient")
    assert [str(one["valueQuantity"]["value"]) for one in coded()] == ["3.50"]
    assert [line for line in run("gaps", "list", "--json").records if line["code"] == NEW_CODE] == []
    assert [line for line in run("gaps", "list", "--all", "--json").records if line["code"] == NEW_CODE] != []


def codes_of(observation):
    return {coding.get("code") for coding in observation["code"].get("coding", ())}


def test_nothing_is_lost_and_nothing_doubled(run):
    done = run("reconcile", "--json")
    assert (done.status, done.err) == (0, "")
    assert [(line["kind"], line["count"]) for line in done.records[-2:]] == [("lost", 0), ("doubled", 0)]
    assert "lost 0, doubled 0" in run("reconcile", "--since", "2020-01-01").out
    assert run("reconcile", "--since", "yesterday").status == 2


def test_the_audit_trail_is_intact_and_says_who_looked(run):
    (line,) = run("messages", "list", "--control-id", "UNMAPPED1", "--json").records
    run("messages", "show", line["id"], "--as", "anna")
    subject = f"message/{line['id']}"

    def noted():
        return run("audit", "list", "--subject", subject, "--action", "viewed", "--json").records

    wait_for(lambda: any(record["actor"].startswith("anna (") for record in noted()), what="the look in the trail")
    wait_for(lambda: "0 audit" in run("audit", "verify").out.splitlines()[-1], what="everything sealed")
    done = run("audit", "verify", "--json")
    assert (done.status, done.err) == (0, "")
    assert done.records[0]["intact"]
    assert set(done.records[0]["rows"]) == {"messages", "attempts", "audit"}
    assert run("audit", "verify", "--seal", f"1:{'0' * 64}").status == 1


def test_every_recipient_of_a_persons_data_is_listed(run, deployment):
    (line,) = run("messages", "list", "--control-id", "UNMAPPED1", "--json").records
    wrote = run("messages", "show", line["id"], "--json").records
    with deployment.store.begin(write=False) as tx:
        patient = tx.resources.of_message(line["id"])[0].patient
    done = run("disclosures", "--patient", patient, "--json")
    assert (done.status, done.err) == (0, "")
    assert {"edc"} <= {record["recipient"] for record in done.records}
    assert all(record["first"] <= record["last"] and not record["uncertain"] for record in done.records)
    assert sum(record["certain"]["Observation"] for record in done.records if record["recipient"] == "edc")
    assert run("audit", "list", "--subject", f"Patient/{patient}", "--json").records[0]["action"] == "viewed"
    assert run("disclosures", "--patient", patient).out.startswith("recipient")
    assert run("disclosures", "--patient", "MRN-1").status == 2
    assert run("disclosures", "--patient", wrote[1]["resource"].rpartition("/")[2]).status == 1


def test_explain_says_who_got_a_message_and_which_rule_kept_it_from_others(run):
    (line,) = run("messages", "list", "--control-id", "UNMAPPED1", "--json").records
    to_edc = run("explain", "--message", line["id"], "--recipient", "edc")
    assert to_edc.status == 0
    assert "may leave now" in to_edc.out
    to_registry = run("explain", "--message", line["id"], "--recipient", "registry", "--json")
    assert to_registry.status == 0
    assert to_registry.records


def test_the_demo_is_no_guest_in_a_database_that_is_used(run):
    done = run("demo", "--once")
    assert done.status == 1
    assert "an empty one only" in done.err


def test_the_commands_refuse_keys_of_another_deployment(run, deployment, tmp_path):
    create_keys(tmp_path / "other.json")
    other = deployment.environment | {"GATEWAY_KEY_FILE": str(tmp_path / "other.json")}
    (line,) = run("messages", "list", "--control-id", "UNMAPPED1", "--json").records
    done = gateway("messages", "show", line["id"], "--raw", environment=other)
    assert done.status == 1
    assert "Traceback" not in done.err
