from __future__ import annotations

import socket
import ssl
import threading
from datetime import UTC, datetime, timedelta

import pytest

from adapters.recipient.client import Answer
from adapters.recipient.http import client_for, exchange, outcome_of, retry_after, secret_of
from gateway.errors import ConfigurationError
from gateway.model.delivery import Accepted, Deferred, Refused, Unknown
from tests.certificates import Authority
from tests.contracts.far_end import FarEnd, answer
from tests.contracts.packages import recipient
from tests.contracts.waiting import PATIENCE
from tests.servers.ports import free_port

NOON = datetime(2025, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_success_is_accepted(status):
    assert isinstance(outcome_of(Answer(status)), Accepted)


@pytest.mark.parametrize("status", [400, 413, 422])
def test_an_answer_about_the_content_is_refused(status):
    assert outcome_of(Answer(status)) == Refused(f"HTTP {status}")


@pytest.mark.parametrize("status", [408, 425, 429, 503])
def test_later_is_deferred_and_the_circuit_stays(status):
    outcome = outcome_of(Answer(status, {"Retry-After": "30"}), NOON)

    assert outcome == Deferred(f"HTTP {status}", wait=timedelta(seconds=30))


@pytest.mark.parametrize("status", [301, 302, 307, 401, 403, 404, 405, 410, 415])
def test_a_wrong_address_or_wrong_credentials_open_the_circuit(status):
    outcome = outcome_of(Answer(status))

    assert isinstance(outcome, Deferred)
    assert outcome.breaker


@pytest.mark.parametrize("status", [409, 412, 500, 501, 502, 504, 599])
def test_what_may_have_happened_is_unknown(status):
    assert outcome_of(Answer(status)) == Unknown(f"HTTP {status}")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("120", 120),
        (" 7 ", 7),
        ("Sat, 01 Mar 2025 12:05:00 GMT", 300),
        ("Sat, 01 Mar 2025 11:00:00 GMT", 0),
        ("Saturday, 01-Mar-25 12:00:10 GMT", 10),
    ],
)
def test_retry_after_is_read_in_both_forms(text, seconds):
    assert retry_after({"retry-after": text}, NOON) == timedelta(seconds=seconds)


@pytest.mark.parametrize(("date", "seconds"), [("Sat, 01 Mar 2025 12:59:00 GMT", 60), ("nonsense", 3600)])
def test_a_date_to_retry_after_is_of_the_servers_own_clock(date, seconds):
    told = {"Retry-After": "Sat, 01 Mar 2025 13:00:00 GMT", "Date": date}

    assert retry_after(told, NOON) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "-5", "soon", "1e9", "99999999999999999", "Sat, 99 Mar 2025 12:00:00 GMT"])
def test_a_retry_after_that_says_nothing_is_passed_over(text):
    assert retry_after({"Retry-After": text}, NOON) is None


def ask(script, *, max_bytes=1000, timeout=PATIENCE, **changes):
    far_end = FarEnd(script)
    client = client_for(recipient(timeout=timeout, **changes))
    try:
        return exchange(
            client, "POST", far_end.address, content=b"{}", max_bytes=max_bytes, seconds=timeout
        ), far_end.seen
    finally:
        client.close()
        far_end.close()


def test_an_answer_is_read_whole():
    got, seen = ask(lambda _: answer(200, b"fine", X_Thing="1"))

    assert (got.status, got.body, got.cut) == (200, b"fine", False)
    assert seen[0].body == b"{}"


def test_an_answer_larger_than_the_limit_is_not_kept():
    got, _ = ask(lambda _: answer(200, b"x" * 1001))

    assert (got.status, got.body, got.cut) == (200, b"", True)


def test_a_compressed_answer_nobody_asked_for_is_not_unpacked():
    got, seen = ask(lambda _: answer(200, b"\x1f\x8b", Content_Encoding="gzip"))

    assert got.cut
    assert seen[0].headers["accept-encoding"] == "identity"


def test_a_server_that_takes_the_request_and_says_nothing_leaves_it_open():
    asked = threading.Event()
    far_end = FarEnd(lambda _: asked.wait(PATIENCE) and None)
    with client_for(recipient(timeout=1.0)) as client:
        got = exchange(client, "POST", far_end.address, content=b"{}", max_bytes=1000, seconds=1.0)
    asked.set()
    far_end.close()

    assert isinstance(got, Unknown)


def test_a_connection_that_ends_without_an_answer_leaves_it_open():
    assert isinstance(ask(lambda _: None)[0], Unknown)


def test_a_connection_that_ends_in_the_middle_of_an_answer_leaves_it_open():
    got, _ = ask(lambda _: answer(200, b"x" * 100)[:-50])

    assert isinstance(got, Unknown)


def test_nonsense_instead_of_http_leaves_it_open():
    assert isinstance(ask(lambda _: b"SSH-2.0-x\r\n")[0], Unknown)


def test_redirects_are_not_followed():
    got, seen = ask(lambda _: answer(307, Location="http://127.0.0.1:1/elsewhere"))

    assert got.status == 307
    assert len(seen) == 1


def test_a_port_nobody_listens_on_is_deferred():
    with client_for(recipient()) as client:
        got = exchange(client, "POST", f"http://127.0.0.1:{free_port()}", max_bytes=10, seconds=PATIENCE)

    assert got == Deferred("could not connect")


def test_a_name_that_does_not_resolve_is_deferred():
    with client_for(recipient()) as client:
        got = exchange(client, "POST", "http://nowhere.invalid", max_bytes=10, seconds=PATIENCE)

    assert got == Deferred("could not connect: its name is not known")


def test_a_server_that_speaks_no_tls_opens_the_circuit():
    far_end = FarEnd(lambda _: answer(200))
    with client_for(recipient()) as client:
        got = exchange(client, "POST", far_end.address.replace("http:", "https:"), max_bytes=10, seconds=PATIENCE)
    far_end.close()

    assert isinstance(got, Deferred)
    assert got.breaker


def test_an_address_that_is_none_opens_the_circuit():
    with client_for(recipient()) as client:
        got = exchange(client, "POST", "ftp://127.0.0.1", max_bytes=10, seconds=PATIENCE)

    assert isinstance(got, Deferred)
    assert got.breaker


def test_the_bearer_token_is_sent():
    far_end = FarEnd(lambda _: answer(200))
    with client_for(recipient(), bearer="t0ken") as client:
        exchange(client, "GET", far_end.address, max_bytes=10, seconds=PATIENCE)
    far_end.close()

    assert far_end.seen[0].headers["authorization"] == "Bearer t0ken"


def test_a_secret_comes_from_the_environment_or_a_file(tmp_path):
    path = tmp_path / "secret"
    path.write_text("from file\n")

    assert secret_of(recipient(secret_env="EDC"), {"EDC": "from env"}) == "from env"
    assert secret_of(recipient(secret_file=str(path)), {}) == "from file"
    assert secret_of(recipient(), {}) == ""


@pytest.mark.parametrize("changes", [{"secret_env": "EDC"}, {"secret_file": "/nowhere/at/all"}])
def test_a_secret_that_is_missing_is_a_configuration_error(changes):
    with pytest.raises(ConfigurationError, match=r"recipients/edc\.toml"):
        secret_of(recipient(**changes), {})


def test_a_certificate_that_cannot_be_read_is_a_configuration_error(tmp_path):
    path = tmp_path / "ca.pem"
    path.write_text("not a certificate")

    with pytest.raises(ConfigurationError, match="certificate"):
        client_for(recipient(ca_file=str(path)))


def test_certificates_are_verified():
    with client_for(recipient()) as client:
        context = client.context

    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname


@pytest.fixture
def tls_far_end(tmp_path):
    """A far end that speaks TLS with a certificate of its own authority."""
    authority = Authority(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue("localhost"))
    context.load_verify_locations(authority.certificate)
    listener = context.wrap_socket(socket.create_server(("127.0.0.1", 0)), server_side=True)
    far_end = FarEnd(lambda _: answer(200), listener=listener)
    yield far_end, context, authority
    far_end.close()


def over_tls(far_end, **changes):
    address = far_end.address.replace("http://127.0.0.1", "https://localhost")
    with client_for(recipient(**changes)) as client:
        return exchange(client, "POST", address, content=b"{}", max_bytes=10, seconds=PATIENCE)


def test_a_certificate_nobody_vouches_for_opens_the_circuit(tls_far_end):
    far_end, _, _ = tls_far_end

    outcome = over_tls(far_end)

    assert isinstance(outcome, Deferred)
    assert outcome.breaker
    assert far_end.seen == []


@pytest.mark.parametrize(
    ("name", "days", "told"),
    [
        ("localhost", -1, "certificate has expired"),
        ("elsewhere.example", 1, "Hostname mismatch, certificate is not valid for 'localhost'"),
    ],
)
def test_a_certificate_that_has_ended_or_is_anothers_opens_the_circuit_and_is_told(tls_far_end, name, days, told):
    far_end, context, authority = tls_far_end
    context.load_cert_chain(*authority.issue(name, days=days))

    outcome = over_tls(far_end, ca_file=authority.certificate)

    assert outcome == Deferred(f"TLS: the connection could not be trusted: {told}", breaker=True)
    assert far_end.seen == []


def test_the_recipients_own_authority_is_trusted(tls_far_end):
    far_end, _, authority = tls_far_end

    assert over_tls(far_end, ca_file=authority.certificate).status == 200


def test_a_recipient_that_wants_a_certificate_is_shown_ours(tls_far_end):
    far_end, context, authority = tls_far_end
    context.verify_mode = ssl.CERT_REQUIRED
    certificate, key = authority.issue("gateway")

    shown = over_tls(far_end, ca_file=authority.certificate, client_certificate=certificate, client_key=key)

    assert shown.status == 200
