"""Clients of the FHIR API on a gateway that runs: added, used, rotated and revoked, alone and in several processes."""

from __future__ import annotations

import json
import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from gateway.tls import server_context
from tests.certificates import Authority
from tests.contracts.waiting import PATIENCE
from tests.deployment import Deployment
from tests.smart import assertion, key_set, token_request


class KeySets(BaseHTTPRequestHandler):
    """A client's web server: whatever ``published`` holds."""

    published = ""

    def do_GET(self):
        body = self.published.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def publishing(authority):
    server = ThreadingHTTPServer(("127.0.0.1", 0), KeySets)
    server.socket = server_context("test", *authority.issue("localhost")).wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"https://localhost:{server.server_address[1]}/jwks"
    server.shutdown()
    thread.join()
    server.server_close()


def allow_loopback(deployment, authority):
    """Let key sets be fetched from this machine."""
    shutil.copy(authority.certificate, deployment.config / "keys.pem")
    path = deployment.config / "gateway.toml"
    path.write_text(
        f'{path.read_text()}\n[fhir]\nprivate_networks = ["127.0.0.0/8", "::1/128"]\nkey_sets_ca_file = "keys.pem"\n'
    )


def ask(address, client, kid="k1", scope="system/*.read"):
    token_url = httpx.get(f"{address}/fhir/r4/.well-known/smart-configuration", timeout=PATIENCE).json()[
        "token_endpoint"
    ]
    form = token_request(assertion(client, token_url, "ES384", kid), scope)
    return httpx.post(token_url, data=form, timeout=PATIENCE)


def studies(address, token):
    return httpx.get(f"{address}/fhir/r4/ResearchStudy", headers={"Authorization": f"Bearer {token}"}, timeout=PATIENCE)


@pytest.fixture(scope="module")
def embedded(tmp_path_factory, authority):
    """A process that owns its database, as `make run` has one."""
    deployment = Deployment(tmp_path_factory.mktemp("embedded"))
    allow_loopback(deployment, authority)
    with deployment:
        yield deployment


def test_beside_a_running_gateway_a_client_is_let_in_and_shut_out(embedded, publishing):
    KeySets.published = key_set(("ES384", "k1"))
    address = embedded.members["gateway"].address
    embedded.command("clients", "add", "edc", "--view", "edc", "--scope", "system/*.rs", "--jwks-url", publishing)
    token = ask(address, "edc").json()
    assert token["scope"] == "system/*.rs"
    answer = studies(address, token["access_token"])
    assert (answer.status_code, answer.json()["resourceType"]) == (200, "Bundle")

    KeySets.published = key_set(("ES384", "k2"))
    assert ask(address, "edc", "k2").status_code == 200
    assert ask(address, "edc", "k1").status_code == 401

    embedded.command("clients", "revoke", "edc")
    assert studies(address, token["access_token"]).status_code == 401
    assert ask(address, "edc", "k2").json()["error"] == "invalid_client"
    (line,) = map(json.loads, embedded.command("clients", "list", "--json").splitlines())
    assert (line["client"], line["state"]) == ("edc", "revoked")


def test_in_several_processes_a_token_is_one_of_all_and_an_assertion_of_the_first(
    tmp_path, new_postgres_database, authority
):
    database_url = new_postgres_database()
    keys = tmp_path / "jwks.json"
    keys.write_text(key_set(("ES384", "k1")))
    deployment = Deployment(tmp_path, database_url=database_url, layout={"one": ("api",), "two": ("api",)})
    path = deployment.config / "gateway.toml"
    path.write_text(f'{path.read_text()}\n[fhir]\nbase_url = "https://gateway.example"\n')
    with deployment:
        deployment.command("clients", "add", "edc", "--view", "edc", "--scope", "system/*.rs", "--jwks-file", str(keys))
        one, two = (member.address for member in deployment.members.values())
        form = token_request(assertion("edc", "https://gateway.example/auth/token"))
        token = httpx.post(f"{one}/auth/token", data=form, timeout=PATIENCE).json()["access_token"]

        again = httpx.post(f"{two}/auth/token", data=form, timeout=PATIENCE)
        assert again.json()["error"] == "invalid_client"
        assert [studies(address, token).status_code for address in (one, two)] == [200, 200]
        deployment.command("clients", "revoke", "edc")
        assert [studies(address, token).status_code for address in (one, two)] == [401, 401]
