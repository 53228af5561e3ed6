"""What a person mistypes is told in one line: where, what, how to mend; never a traceback, never a false comfort."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from gateway.cli import app, load
from gateway.errors import GatewayError

NOBODY = "00000000-0000-0000-0000-000000000000"


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setenv("GATEWAY_DATA", str(tmp_path))
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.chdir(tmp_path)

    load()

    def call(*words):
        return CliRunner().invoke(app, [*words])

    return call


def said(result):
    """What the command's ``main`` prints for the error."""
    assert isinstance(result.exception, GatewayError)
    return str(result.exception)


def test_a_file_that_is_not_there_is_named(run):
    assert said(run("translate", "results.hl7")) == "results.hl7: no such file or folder"


@pytest.mark.parametrize("command", [("translate",), ("send", "--to", "127.0.0.1:2575")])
def test_a_file_or_folder_without_a_message_is_an_error_that_says_so(run, tmp_path, command):
    (tmp_path / "empty.hl7").write_bytes(b"")

    assert said(run(*command, "empty.hl7")).startswith("empty.hl7: no message in it")


def test_a_certificate_that_is_not_there_is_named(run, tmp_path):
    (tmp_path / "one.hl7").write_bytes(b"MSH|^~\\&|A|B|C|D|||ORU^R01|1|P|2.5\r")

    message = said(run("send", "one.hl7", "--to", "127.0.0.1:2575", "--tls-ca", "ca.pem"))

    assert message == "--tls: cannot use ca.pem: No such file or directory"


def test_a_report_says_what_would_wait_for_a_person_and_why(run, tmp_path):
    (tmp_path / "one.hl7").write_bytes(
        b"MSH|^~\\&|LIS|A|GW|B|20260312101500||ORU^R01|1|P|2.5\rPID|1||0000001^^^SANCELSO^MR||Rossi^Gaia||14/03/19|F\r"
        b"OBR|1|A1|L1|EMO^Emocromo^L|||20260312083000||||||||||||||||||F\rOBX|1|NM|HB^Hb^L||98|g/dL|||||F\r"
    )

    report = run("translate", "one.hl7", "--site", "san-celso-lis", "--report").stdout

    assert "Observation: implausible value" in report
    assert "PID-7: not a date of HL7 v2: left out" in report


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.1:99999", ":2575", "host:0"])
def test_an_address_nobody_can_listen_on_is_a_usage_error(run, tmp_path, address):
    (tmp_path / "one.hl7").write_bytes(b"MSH|^~\\&|A|B|C|D|||ORU^R01|1|P|2.5\r")

    result = run("send", "one.hl7", "--to", address)

    assert result.exit_code == 2
    assert "write it as HOST:PORT" in result.stderr


def test_a_missing_database_is_named_with_the_command_that_makes_it(run, tmp_path):
    message = said(run("status"))

    assert str(tmp_path / "gateway.db") in message
    assert "gateway serve" in message


@pytest.fixture
def database(run):
    assert run("db", "upgrade").exit_code == 0


@pytest.mark.usefixtures("database")
@pytest.mark.parametrize(
    ("words", "names"),
    [
        (("deliveries", "list", "--recipient", "ecd"), "analysts, ctms, edc, registry"),
        (("messages", "list", "--feed", "lsi"), "adt, ankara, lis, research, trials"),
        (("explain", "--recipient", "ecd", "--patient", NOBODY), "analysts, ctms, edc, registry"),
    ],
)
def test_an_unknown_name_is_an_error_that_lists_the_known_ones(run, words, names):
    assert said(run(*words)).endswith(f"there are: {names}")


@pytest.mark.usefixtures("database")
def test_a_record_number_is_no_patient_id_and_the_answer_says_where_ids_are_found(run):
    result = run("explain", "--recipient", "edc", "--patient", "0046990")

    assert result.exit_code == 2
    assert "gateway messages show" in result.stderr
    assert "0046990" not in result.stderr


@pytest.mark.usefixtures("database")
@pytest.mark.parametrize(
    "words",
    [
        ("deliveries", "list", "--state", "late"),
        ("gaps", "map", "1", "--code", "a|b", "--author", "a", "--reason", "b", "--valid-from", "1.3.2026"),
    ],
)
def test_a_value_of_another_kind_is_a_usage_error(run, words):
    assert run(*words).exit_code == 2
