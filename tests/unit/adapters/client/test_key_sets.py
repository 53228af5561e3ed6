"""Fetching key sets: over https, from addresses that may be asked, within limits."""

import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from adapters.client.key_sets import MOST_BYTES, HttpsKeySets
from gateway.errors import InvalidKeySet
from gateway.jose import KeySet
from gateway.tls import client_context, server_context
from tests.certificates import Authority
from tests.contracts.waiting import PATIENCE
from tests.smart import key_set

LOOPBACK = ("127.0.0.0/8",)


class Publishing(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    ends = threading.Event()

    def do_GET(self):
        if self.path == "/elsewhere":
            self.send_response(302)
            self.send_header("Location", "/jwks")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if self.path == "/never":
            self.ends.wait(PATIENCE)
            return
        body = {"/jwks": key_set(("ES384", "k1")).encode(), "/large": b" " * (MOST_BYTES + 1)}.get(self.path)
        self.send_response(200 if body else 404)
        self.send_header("Content-Length", str(len(body or b"")))
        self.end_headers()
        self.wfile.write(body or b"")

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def port(authority):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Publishing)
    server.daemon_threads = True
    server.socket = server_context("test", *authority.issue("edc.example")).wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_address[1]
    Publishing.ends.set()
    server.shutdown()
    thread.join()
    server.server_close()


def at(*addresses):
    """Return a name service that says every host has these addresses."""
    return lambda _host, port, **_: [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port)) for one in addresses]


def source(authority, **changed):
    options = {"private": LOOPBACK, "lookup": at("127.0.0.1"), "seconds": PATIENCE} | changed
    return HttpsKeySets(client_context("test", authority.certificate), **options)


def test_a_key_set_is_fetched_over_https(authority, port):
    assert KeySet(source(authority).fetch(f"https://edc.example:{port}/jwks")).key_ids == ("k1",)


def test_of_several_addresses_the_first_that_answers_is_asked(authority, port):
    fetched = source(authority, lookup=at("127.0.0.9", "127.0.0.1")).fetch(f"https://edc.example:{port}/jwks")

    assert KeySet(fetched).key_ids == ("k1",)


@pytest.mark.parametrize(
    ("path", "what"),
    [("elsewhere", "HTTP 302: redirects are not followed"), ("nothing", "HTTP 404"), ("large", "larger than")],
)
def test_what_is_no_key_set_is_not_taken(authority, port, path, what):
    with pytest.raises(InvalidKeySet, match=what):
        source(authority).fetch(f"https://edc.example:{port}/{path}")


@pytest.mark.parametrize(
    "url",
    [
        "http://edc.example/jwks",
        "file:///etc/passwd",
        "https:///jwks",
        "https://me:word@edc.example/",
        "https://edc.example:0/",
        "https://edc.example:x/",
        "",
    ],
)
def test_an_address_that_is_not_https_is_never_asked(authority, url):
    with pytest.raises(InvalidKeySet, match="not one of https"):
        source(authority).fetch(url)


@pytest.mark.parametrize(
    "addresses",
    [
        ("127.0.0.1",),
        ("10.1.2.3",),
        ("169.254.169.254",),
        ("::1",),
        ("fe80::1%eth0",),
        ("::ffff:127.0.0.1",),
        ("0.0.0.0",),
        ("224.0.0.1",),
        ("64:ff9b::7f00:1",),
        ("2002:7f00:1::",),
        ("8.8.8.8", "127.0.0.1"),
        (),
    ],
)
def test_a_private_address_is_never_asked_unless_the_settings_name_it(authority, port, addresses):
    with pytest.raises(InvalidKeySet, match="private address"):
        source(authority, private=(), lookup=at(*addresses)).fetch(f"https://edc.example:{port}/jwks")


def test_a_certificate_of_another_name_or_authority_is_not_trusted(authority, port, tmp_path):
    with pytest.raises(InvalidKeySet, match="could not be trusted"):
        source(authority).fetch(f"https://other.example:{port}/jwks")
    with pytest.raises(InvalidKeySet, match="could not be trusted"):
        source(Authority(tmp_path)).fetch(f"https://edc.example:{port}/jwks")


def test_a_server_that_does_not_answer_is_waited_for_no_longer_than_said(authority, port):
    with pytest.raises(InvalidKeySet, match="no whole answer"):
        source(authority, seconds=2.0).fetch(f"https://edc.example:{port}/never")


def test_a_host_that_is_not_known_says_so(authority):
    def unknown(*_args, **_options):
        raise socket.gaierror

    with pytest.raises(InvalidKeySet, match="host is not known"):
        source(authority, lookup=unknown).fetch("https://edc.example/jwks")


def test_a_server_without_tls_is_no_https_server(authority):
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        pytest.raises(InvalidKeySet, match=r"no whole answer|could not be trusted"),
    ):
        source(authority, seconds=0.3).fetch(f"https://edc.example:{server.getsockname()[1]}/jwks")
