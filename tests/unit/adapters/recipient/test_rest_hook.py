"""Notifications over a real socket: signed, to addresses that are allowed and to no others."""

from __future__ import annotations

import socket
import ssl
from contextlib import closing

import pytest

from adapters.recipient.rest_hook import RestHook
from fixtures.standins.rest_hook import RestHookStandIn
from gateway.model.delivery import Accepted, Deferred, Refused, Unknown
from gateway.model.endpoints import NOT_LISTED, Endpoints
from gateway.model.subscription import Notification
from gateway.tls import client_context
from tests.certificates import Authority
from tests.contracts.far_end import FarEnd, answer

SECRET = "only for this test, and long enough"
BODY = b'{"resourceType":"Bundle","type":"history"}'


@pytest.fixture
def standin():
    made = RestHookStandIn()
    made.secrets["s1"] = SECRET
    yield made
    made.close()


def hook(*entries, private=(), lookup=socket.getaddrinfo, context=None):
    return RestHook(Endpoints(entries, private), context or client_context("test"), lookup=lookup)


def tell(address, *entries, seconds=10.0, headers=(), **options):
    made = hook(*entries, **options)
    try:
        return made.notify(Notification(address, BODY, "s1/1-1", SECRET, headers, seconds))
    finally:
        made.close()


def test_a_signed_notification_arrives_with_what_the_client_sends_along(standin):
    outcome = tell(f"{standin.address}a", standin.address, headers=(("Authorization", "Bearer of the endpoint"),))

    assert isinstance(outcome, Accepted)
    assert (standin.keys, standin.forged) == (["s1/1-1"], 0)
    [headers] = standin.headers
    assert headers["authorization"] == "Bearer of the endpoint"
    assert headers["content-type"] == "application/fhir+json; charset=utf-8"
    assert headers["idempotency-key"] == "s1/1-1"


def test_connections_are_kept_between_notifications(standin):
    made = hook(standin.address)
    try:
        for _ in range(3):
            assert isinstance(made.notify(Notification(standin.address, BODY, "s1/1-1", SECRET)), Accepted)
    finally:
        made.close()
    assert len(standin.keys) == 3


@pytest.mark.parametrize(
    ("status", "expected"),
    [(204, Accepted), (422, Refused), (503, Deferred), (404, Deferred), (500, Unknown), (302, Deferred)],
)
def test_what_it_answers_is_one_of_the_four_outcomes(status, expected):
    with closing(FarEnd(lambda _: answer(status))) as far_end:
        outcome = tell(f"{far_end.address}/notify", far_end.address)
    assert isinstance(outcome, expected)


def test_a_redirect_is_not_followed(standin):
    with closing(FarEnd(lambda _: answer(307, Location=f"{standin.root}/elsewhere"))) as far_end:
        outcome = tell(f"{far_end.address}/", far_end.address)
    assert outcome == Deferred("HTTP 307: redirects are not followed", breaker=True)
    assert standin.forged == 0


@pytest.mark.parametrize(
    "path",
    ["/elsewhere", "/notify/../elsewhere", "/notify/%2e%2e/elsewhere", "/notifyx/", "/notify/..;/elsewhere",
     "/notify/..%2Felsewhere", "/notify/..%5celsewhere", "/notify/%252e%252e/elsewhere"],
)  # fmt: skip
def test_an_address_that_is_not_listed_is_not_asked(standin, path):
    outcome = tell(standin.root + path, standin.address)
    assert isinstance(outcome, Deferred)
    assert outcome.breaker
    assert standin.forged == 0


def test_why_an_address_is_refused_is_said(standin):
    made = hook("https://ctms.example/hooks/")
    assert made.refusal("https://ctms.example/hooks/7?x=1") == ""
    assert made.refusal("https://ctms.example:443/hooks/") == ""
    for other in ("https://ctms.example/other", "http://ctms.example/hooks/", "https://ctms.example:8443/hooks/"):
        assert made.refusal(other) == NOT_LISTED
    for odd in ("https://u:p@ctms.example/hooks/", "https://ctms.example/hooks/#x", "file:///etc/passwd", "x"):
        assert made.refusal(odd) == "the address is no plain https URL"


# --- names that lead astray -----------------------------------------------------------------------------------------


class Names:
    """A resolver that answers each question with the next list of addresses, the last one ever after."""

    def __init__(self, *answers):
        self._answers = list(answers)
        self.asked = []

    def __call__(self, host, port, **_):
        self.asked.append((host, port))
        addresses = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.0.0.7", "169.254.169.254", "192.168.1.1", "::1", "fe80::1", "fd00::1", "::ffff:127.0.0.1",
     "64:ff9b::7f00:1", "2002:7f00:1::", "0.0.0.0", "100.64.0.1", "224.0.0.1"],
)  # fmt: skip
def test_a_name_that_leads_inside_is_not_connected_to(standin, address):
    names = Names([address])
    url = f"http://ctms.example:{standin.port}/notify/"

    outcome = tell(url, url, lookup=names)

    assert outcome == Deferred("could not connect: its name leads to an address that may not be asked")
    assert (standin.keys, standin.forged) == ([], 0)


def test_one_address_inside_among_public_ones_is_enough_to_refuse(standin):
    names = Names(["8.8.8.8", "127.0.0.1"])
    url = f"http://ctms.example:{standin.port}/notify/"
    assert isinstance(tell(url, url, lookup=names), Deferred)
    assert standin.keys == []


def test_a_name_is_looked_up_once_so_that_it_cannot_change_in_between(standin):
    """First public, then ours (DNS rebinding): nobody asks a second time."""
    names = Names(["192.0.2.1"], ["127.0.0.1"])
    url = f"http://ctms.example:{standin.port}/notify/"

    outcome = tell(url, url, lookup=names, private=["192.0.2.0/24"], seconds=0.3)

    assert isinstance(outcome, Deferred)
    assert len(names.asked) == 1
    assert (standin.keys, standin.forged) == ([], 0)


def test_a_network_that_is_named_may_be_met(standin):
    url = f"http://ctms.example:{standin.port}/notify/"
    assert isinstance(tell(url, url, lookup=Names(["127.0.0.1"]), private=["127.0.0.0/8"]), Accepted)


def test_an_address_that_the_list_names_itself_may_be_met(standin):
    assert isinstance(tell(standin.address, standin.address), Accepted)


def test_the_certificate_must_be_the_names_whatever_address_it_has(tmp_path):
    authority = Authority(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue("ctms.example"))
    for name, expected in (("ctms.example", Accepted), ("other.example", Deferred)):
        listener = context.wrap_socket(socket.create_server(("127.0.0.1", 0)), server_side=True)
        with closing(FarEnd(lambda _: answer(200), listener=listener)) as far_end:
            url = f"https://{name}:{far_end.address.rpartition(':')[2]}/notify"
            trusting = client_context("test", authority.certificate)
            found = tell(url, url, lookup=Names(["127.0.0.1"]), private=["127.0.0.0/8"], context=trusting)
        assert isinstance(found, expected)
        if expected is Deferred:
            assert found.breaker
            assert found.detail.startswith("TLS: the connection could not be trusted")
