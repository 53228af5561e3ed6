"""Tokens over HTTP: a real socket, TLS, certificates of clients, signed assertions."""

from __future__ import annotations

import base64
import ssl
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from gateway.api.auth import MOST_BYTES, TOKEN_PATH, auth_router, smart_configuration
from gateway.api.server import HttpServer
from gateway.errors import RequestRefused, StoreUnavailable
from gateway.model.access import scopes_of
from gateway.model.client import Client, Credential
from gateway.model.delivery import View
from gateway.services.authorize import Authorizer
from gateway.services.key_sets import KeySets
from gateway.services.recognise import Recognition, secret_hash
from gateway.services.throttle import Throttle
from gateway.services.tokens import Tokens
from gateway.tls import client_context, thumbprints_of
from tests.certificates import Authority
from tests.listening import sqlite_store
from tests.smart import assertion, key_set, token_request

INDEX_KEY = b"x" * 32
FORM = "application/x-www-form-urlencoded"
EDC = Client(
    name="edc",
    views=(View("edc", "mld"),),
    scopes=scopes_of("system/*.rs"),
    credential=Credential(jwks=key_set(("RS384", "k1"), ("ES384", "k1"))),
    added_at=datetime.now(UTC),
)
SECRET = replace(
    EDC, name="transitional", credential=Credential(secret=secret_hash(INDEX_KEY, "transitional", "a:long secret%"))
)


class Nowhere:
    """No key set is published."""

    def fetch(self, url):
        raise AssertionError(url)


class Served:
    """The routes on a socket, and one that says who calls."""

    def __init__(self, store, **tls):
        self.store = store
        throttle = Throttle(1000)
        self.authorizer = Authorizer(store, INDEX_KEY, self.clock, throttle, lambda _: True)
        recognition = Recognition(
            store, KeySets(Nowhere()), INDEX_KEY, self.clock, lambda: self.address + TOKEN_PATH, lambda _: True
        )
        tokens = Tokens(store, recognition, self.authorizer, throttle, INDEX_KEY, self.clock, timedelta(seconds=300))
        app = FastAPI()
        self.held = []
        app.include_router(
            auth_router(tokens, lambda: self.address, secrets=True, certificates=bool(tls), hold=self._hold)
        )
        app.add_api_route("/who", self._who)
        self.app = app
        self.server = HttpServer(app, host="127.0.0.1", port=0, **tls)
        self.address = self.server.address

    async def _hold(self, seconds):
        self.held.append(seconds)

    @staticmethod
    def clock():
        return datetime.now(UTC)

    def _who(self, request: Request) -> JSONResponse:
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        try:
            caller = self.authorizer.caller(token, request.scope.get("client_thumbprint"))
        except RequestRefused as error:
            return JSONResponse({"code": error.code}, error.status)
        return JSONResponse({"client": caller.client})

    def add(self, *clients):
        with self.store.begin() as tx:
            for client in clients:
                tx.clients.add(client)

    def form(self, client="edc"):
        return token_request(assertion(client, self.address + TOKEN_PATH))


@pytest.fixture
def store(tmp_path):
    with sqlite_store(tmp_path) as store:
        yield store


@pytest.fixture
def served(store):
    found = Served(store)
    found.add(EDC, SECRET)
    yield found
    found.server.stop()


@pytest.fixture
def http(served):
    with httpx.Client(base_url=served.address, timeout=10) as client:
        yield client


def test_a_client_finds_where_to_ask_gets_a_token_uses_it_and_gives_it_back(served, http):
    found = http.get("/fhir/r4/.well-known/smart-configuration").json()
    token = http.post(found["token_endpoint"], data=served.form())

    assert token.status_code == 200
    assert token.headers["cache-control"] == "no-store"
    assert token.json()["scope"] == "system/*.rs"
    shown = {"Authorization": f"Bearer {token.json()['access_token']}"}
    assert http.get("/who", headers=shown).json() == {"client": "edc"}
    about = {"token": token.json()["access_token"]}
    told = http.post(found["introspection_endpoint"], data=about, headers=shown).json()
    assert (told["active"], told["client_id"], told["scope"]) == (True, "edc", "system/*.rs")
    assert http.post(found["revocation_endpoint"], data=served.form() | about).status_code == 200
    assert http.get("/who", headers=shown).status_code == 401
    assert http.post(found["introspection_endpoint"], data=served.form() | about).json() == {"active": False}


def test_the_configuration_says_what_smart_asks_for(served, http):
    for release in ("r4", "r5"):
        told = http.get(f"/fhir/{release}/.well-known/smart-configuration", headers={"Accept": "application/fhir+json"})
        assert told.headers["content-type"] == "application/json"
        told = told.json()
        assert told["token_endpoint"] == f"{served.address}/auth/token"
        assert told["grant_types_supported"] == ["client_credentials"]
        assert "private_key_jwt" in told["token_endpoint_auth_methods_supported"]
        assert told["token_endpoint_auth_signing_alg_values_supported"] == ["RS384", "ES384"]
        assert {"client-confidential-asymmetric", "permission-v2"} <= set(told["capabilities"])
        assert "system/*.rs" in told["scopes_supported"]
        assert "issuer" not in told


def test_secrets_and_certificates_are_told_of_only_where_they_are_taken():
    told = smart_configuration("https://x/auth/token")

    assert told["token_endpoint_auth_methods_supported"] == ["private_key_jwt"]
    assert "client-confidential-symmetric" not in told["capabilities"]
    assert "tls_client_certificate_bound_access_tokens" not in told
    more = smart_configuration("https://x/auth/token", secrets=True, certificates=True)
    assert "client_secret_basic" in more["token_endpoint_auth_methods_supported"]
    assert more["tls_client_certificate_bound_access_tokens"] is True


def test_a_secret_is_shown_by_http_basic_or_in_the_form(http):
    form = {"grant_type": "client_credentials", "scope": "system/*.rs"}
    encoded = base64.b64encode(b"transitional:a%3Along+secret%25").decode()

    basic = http.post("/auth/token", data=form, headers={"Authorization": f"Basic {encoded}"})
    posted = http.post("/auth/token", data=form | {"client_id": "transitional", "client_secret": "a:long secret%"})
    wrong = http.post("/auth/token", data=form, headers={"Authorization": "Basic " + encoded[:-8]})
    spoilt = http.post("/auth/token", data=form, headers={"Authorization": "Basic $$$"})
    assert (basic.status_code, posted.status_code) == (200, 200)
    for refused in (wrong, spoilt):
        assert (refused.status_code, refused.json()["error"]) == (401, "invalid_client")
        assert refused.headers["www-authenticate"].startswith("Basic ")


@pytest.mark.parametrize(
    ("body", "content_type", "status", "error"),
    [
        (b"grant_type=password&username=a&password=b", FORM, 400, "unsupported_grant_type"),
        (b'{"grant_type": "client_credentials"}', "application/json", 400, "invalid_request"),
        (b"grant_type=client_credentials&grant_type=client_credentials", FORM, 400, "invalid_request"),
        (b"&".join(b"a%d=b" % number for number in range(60)), FORM, 400, "invalid_request"),
        ("grant_type=é".encode(), FORM, 400, "invalid_request"),
        (b"", FORM, 400, "invalid_request"),
        (b"scope=" + b"x" * MOST_BYTES, FORM, 413, "invalid_request"),
        (b"grant_type=client_credentials&scope=system/*.rs", FORM, 401, "invalid_client"),
    ],
)
def test_a_request_that_is_none_is_refused_in_the_words_of_oauth(http, body, content_type, status, error):
    refused = http.post("/auth/token", content=body, headers={"Content-Type": content_type})

    assert (refused.status_code, refused.json()["error"]) == (status, error)
    assert refused.json()["error_description"]
    assert refused.headers["cache-control"] == "no-store"


def test_how_long_a_refusal_takes_tells_of_no_client(served, http):
    """Nobody listed, another's key, a wrong secret, and what is no assertion at all leave at the same step."""
    other = served.form() | {"client_assertion": assertion("edc", served.address + TOKEN_PATH, kid="k2")}
    secret = {"grant_type": "client_credentials", "client_id": "transitional", "client_secret": "another"}
    asked = [served.form("nobody"), other, secret, served.form() | {"client_assertion": "a.b.c"}]
    for path in ("/auth/token", "/auth/introspect", "/auth/revoke"):
        served.held.clear()
        assert [http.post(path, data=form | {"token": "x"}).status_code for form in asked] == [401] * 4
        assert len(served.held) == 4

    assert http.post("/auth/token", data=served.form()).status_code == 200
    assert len(served.held) == 4


def test_a_database_that_does_not_answer_is_said_so(served, http, monkeypatch):
    def broken(**_):
        raise StoreUnavailable("the disk is gone")

    monkeypatch.setattr(served.store, "begin", broken)
    refused = http.post("/auth/token", data=served.form())

    assert (refused.status_code, refused.json()["error"]) == (503, "temporarily_unavailable")
    assert refused.headers["retry-after"] == "5"


def test_who_asks_too_often_is_told_when_to_come_again(served, http):
    served.add(replace(EDC, name="slow", per_minute=2))
    answers = [http.post("/auth/token", data=served.form("slow")) for _ in range(3)]

    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert 0 < int(answers[2].headers["retry-after"]) <= 30


def test_openapi_tells_of_the_form_and_of_every_answer(served):
    told = served.app.openapi()["paths"]

    for path in ("/auth/token", "/auth/introspect", "/auth/revoke"):
        assert FORM in told[path]["post"]["requestBody"]["content"]
        assert {"200", "400", "401", "408", "413", "429", "503"} <= told[path]["post"]["responses"].keys()
    assert told["/fhir/r5/.well-known/smart-configuration"]["get"].get("parameters", []) == []


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


@pytest.fixture
def guarded(store, authority):
    certificate, key = authority.issue("localhost")
    found = Served(store, certificate=certificate, key=key, client_ca=authority.certificate)
    found.address = found.address.replace("127.0.0.1", "localhost")
    yield found
    found.server.stop()


def over_tls(guarded, authority, *certificate):
    return httpx.Client(base_url=guarded.address, verify=client_context("test", authority.certificate, *certificate))


def test_a_bound_token_is_good_over_a_connection_with_its_certificate_alone(guarded, authority):
    own, other = authority.issue("edc.example"), authority.issue("other.example")
    guarded.add(replace(EDC, thumbprints=thumbprints_of(own[0])))
    with (
        over_tls(guarded, authority, *own) as http,
        over_tls(guarded, authority, *other) as thief,
        over_tls(guarded, authority) as bare,
    ):
        for stranger in (thief, bare):
            assert stranger.post("/auth/token", data=guarded.form()).json()["error"] == "invalid_client"
        token = http.post("/auth/token", data=guarded.form()).json()["access_token"]
        shown = {"Authorization": f"Bearer {token}"}

        assert http.get("/who", headers=shown).json() == {"client": "edc"}
        assert http.get("/who", headers=shown).json() == {"client": "edc"}
        assert [stranger.get("/who", headers=shown).status_code for stranger in (thief, bare)] == [401, 401]
        told = http.post("/auth/introspect", data={"token": token}, headers=shown).json()
        assert told["cnf"] == {"x5t#S256": thumbprints_of(own[0])[0]}


def test_a_client_without_a_certificate_gets_in_where_none_is_bound(guarded, authority):
    guarded.add(EDC)
    with over_tls(guarded, authority) as http:
        token = http.post("/auth/token", data=guarded.form()).json()["access_token"]
        assert http.get("/who", headers={"Authorization": f"Bearer {token}"}).status_code == 200
        assert http.get("/fhir/r4/.well-known/smart-configuration").json()["tls_client_certificate_bound_access_tokens"]


def test_a_certificate_of_another_authority_is_refused_by_the_connection(guarded, authority, tmp_path):
    (tmp_path / "other").mkdir()
    stranger = Authority(tmp_path / "other").issue("edc.example")
    with over_tls(guarded, authority, *stranger) as http, pytest.raises((httpx.TransportError, ssl.SSLError)):
        http.get("/who")
