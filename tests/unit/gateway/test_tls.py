"""What is safe enough for a socket: the version, the ciphers, the names, and errors that name the file."""

from __future__ import annotations

import re
import socket
import ssl
import threading

import pytest

from gateway.api.app import create_app
from gateway.api.server import HttpServer
from gateway.errors import ConfigurationError
from gateway.services.metrics import Metrics
from gateway.tls import client_context, server_context
from tests.certificates import Authority


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


@pytest.fixture
def api(authority):
    """The web server of the api role, over TLS; its port."""
    app = create_app(None, {}, dict, Metrics().registry)
    certificate, key = authority.issue("localhost")
    server = HttpServer(app, host="127.0.0.1", port=0, certificate=certificate, key=key)
    yield int(server.address.rpartition(":")[2])
    server.stop()


def connect(port, context, name="localhost"):
    with (
        socket.create_connection(("127.0.0.1", port), 10) as plain,
        context.wrap_socket(plain, server_hostname=name) as tls,
    ):
        tls.sendall(b"GET /livez HTTP/1.0\r\n\r\n")
        return tls.version(), tls.cipher()[0], tls.recv(65536)


def test_the_api_answers_over_tls_1_3_and_1_2(api, authority):
    context = client_context("test", authority.certificate)
    assert connect(api, context)[0] == "TLSv1.3"

    context.maximum_version = ssl.TLSVersion.TLSv1_2
    version, cipher, answer = connect(api, context)

    assert version == "TLSv1.2"
    assert re.fullmatch(r"ECDHE-.+-(GCM-SHA\d+|POLY1305)", cipher)
    assert answer.startswith(b"HTTP/1.1 200")


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1:DeprecationWarning")
@pytest.mark.parametrize(
    ("version", "ciphers"),
    [
        (ssl.TLSVersion.TLSv1_1, "ALL:@SECLEVEL=0"),
        (ssl.TLSVersion.TLSv1_2, "AES128-SHA:AES256-SHA256:@SECLEVEL=0"),
        (ssl.TLSVersion.TLSv1_2, "ECDHE+AES+SHA1:ECDHE+AES+SHA256:!AESGCM:@SECLEVEL=0"),
        (ssl.TLSVersion.TLSv1_2, "aNULL:@SECLEVEL=0"),
    ],
    ids=["TLS 1.1", "without ephemeral keys", "CBC", "without certificates"],
)
def test_the_api_takes_nothing_weaker(api, authority, version, ciphers):
    weak = ssl.create_default_context(cafile=authority.certificate)
    weak.minimum_version = weak.maximum_version = version
    weak.set_ciphers(ciphers)

    with pytest.raises(ssl.SSLError):
        connect(api, weak)
    assert connect(api, client_context("test", authority.certificate))[0] == "TLSv1.3"


def test_a_client_wants_the_name_and_the_authority_to_be_right(api, authority, tmp_path_factory):
    stranger = Authority(tmp_path_factory.mktemp("stranger"))

    with pytest.raises(ssl.SSLCertVerificationError, match=r"not valid for 'edc\.example'"):
        connect(api, client_context("test", authority.certificate), "edc.example")
    for context in (client_context("test", stranger.certificate), client_context("test")):
        with pytest.raises(ssl.SSLCertVerificationError):
            connect(api, context)


def test_a_client_speaks_to_no_old_server(authority):
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    old.load_cert_chain(*authority.issue("localhost"))
    old.set_ciphers("AES128-SHA")
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve():
            accepted = listener.accept()[0]
            with accepted, pytest.raises(ssl.SSLError):
                old.wrap_socket(accepted, server_side=True)

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(ssl.SSLError):
            connect(listener.getsockname()[1], client_context("test", authority.certificate))
        thread.join(10)


def test_errors_name_the_file_and_never_ask_for_a_passphrase(authority, tmp_path):
    certificate, key = authority.issue("localhost")
    other = authority.issue("other")[1]
    locked = authority.issue("locked", password=b"Sesame1")
    (tmp_path / "text.pem").write_text("no certificate")
    wrong = {
        f"{certificate}, {other}: not PEM, or key and certificate are not a pair": (certificate, other),
        f"{certificate}, {tmp_path}/none: No such file": (certificate, f"{tmp_path}/none"),
        "the key is encrypted": locked,
    }

    for words, files in wrong.items():
        with pytest.raises(ConfigurationError, match=f"feed lis: cannot use .*{re.escape(words)}"):
            server_context("feed lis", *files)
    with pytest.raises(ConfigurationError, match=r"text\.pem: not PEM"):
        server_context("feed lis", certificate, key, f"{tmp_path}/text.pem")
