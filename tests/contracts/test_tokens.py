"""Tokens by signed assertions and secrets: the same on SQLite and on PostgreSQL, in one process and in several."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import timedelta

import pytest

from gateway.errors import GatewayError, InvalidKeySet, RequestRefused, TokenRefused
from gateway.model.access import scopes_of
from gateway.model.client import Client, Credential
from gateway.model.delivery import View
from gateway.services.authorize import Authorizer
from gateway.services.clients import Change, Renewal, change_clients
from gateway.services.key_sets import KeySets
from gateway.services.recognise import Asking, Recognition, secret_hash
from gateway.services.throttle import Throttle
from gateway.services.tokens import Tokens
from tests.contracts.stores import KEYS, MINUTE, NOW, SECOND
from tests.smart import assertion, claims_of, key_set, signed, token_request

URL = "https://gateway.example/auth/token"
WITH_SECRETS = View("transitional", "mld")
EDC = Client(
    name="edc",
    views=(View("edc", "mld"), View("edc", "was")),
    scopes=scopes_of("system/Observation.rs?category=laboratory system/Patient.r system/ResearchSubject.cruds"),
    credential=Credential(jwks=key_set(("RS384", "k1"), ("ES384", "k1"))),
    added_at=NOW,
)
SECRET = Client(
    name="transitional",
    views=(WITH_SECRETS,),
    scopes=scopes_of("system/*.rs"),
    credential=Credential(secret=secret_hash(KEYS.index, "transitional", "a long secret")),
    added_at=NOW,
)
SAME_ANSWER = ("invalid_client", "the client is not known by what it shows", 401)


class Published:
    """Clients' web servers."""

    def __init__(self):
        self.sets = {}

    def fetch(self, url):
        if url not in self.sets:
            raise InvalidKeySet("HTTP 404")
        return self.sets[url].encode()


@dataclass
class Gateway:
    """One process, as far as tokens go; its clock stands still until it is moved."""

    store: object
    published: Published
    now: object = NOW
    per_minute: int = 1000

    def __post_init__(self):
        clock = self.clock
        throttle = Throttle(self.per_minute, self.seconds)
        recognition = Recognition(
            self.store,
            KeySets(self.published, self.seconds),
            KEYS.index,
            clock,
            audience=lambda: URL,
            secrets_for=lambda view: view == WITH_SECRETS,
        )
        self.authorizer = Authorizer(self.store, KEYS.index, clock, throttle, serves=lambda view: view.study != "was")
        self.tokens = Tokens(
            self.store, recognition, self.authorizer, throttle, KEYS.index, clock, lasts=timedelta(minutes=5)
        )

    def clock(self):
        return self.now

    def seconds(self):
        return self.now.timestamp()

    def add(self, *clients):
        for client in clients:
            self.change(add=client)

    def change(self, **changed):
        return change_clients(self.store, Change(self.now, "an operator", **changed))

    def assertion(self, client="edc", algorithm="ES384", kid="k1", **changed):
        return assertion(client, URL, algorithm, kid, now=self.now.timestamp(), **changed)

    def ask(self, scope="system/*.rs", *, by=None, thumbprint=None, **changed):
        return self.tokens.grant(Asking(token_request(by or self.assertion(**changed), scope), thumbprint=thumbprint))

    def refused(self, form, **shown):
        with pytest.raises(TokenRefused) as refused:
            self.tokens.grant(Asking(form, **shown))
        return refused.value.code, refused.value.what, refused.value.status

    def unknown(self, token, thumbprint=None):
        with pytest.raises(RequestRefused) as refused:
            self.authorizer.caller(token, thumbprint)
        assert refused.value.status == 401
        return refused.value.code

    def audit(self):
        with self.store.begin(write=False) as tx:
            return [(line.action, line.actor, line.subject, line.detail) for line in tx.audit.find()]


@pytest.fixture
def published():
    return Published()


@pytest.fixture
def gateway(store, published):
    found = Gateway(store, published)
    found.add(EDC, SECRET)
    return found


@pytest.mark.parametrize("algorithm", ["RS384", "ES384"])
def test_a_signed_assertion_becomes_a_token_that_lets_its_client_in(gateway, algorithm):
    told = gateway.ask("system/*.read", algorithm=algorithm)
    caller = gateway.authorizer.caller(told["access_token"])

    assert (told["token_type"], told["expires_in"]) == ("bearer", 300)
    granted = "system/Observation.rs?category=laboratory system/Patient.r system/ResearchSubject.rs"
    assert told["scope"] == granted == " ".join(map(str, caller.scopes))
    assert (caller.client, caller.views) == ("edc", (View("edc", "mld"),))
    assert (caller.writes, caller.audits) == (False, False)


def test_a_token_is_nowhere_in_the_database(gateway, database):
    told = gateway.ask()

    assert told["access_token"].encode() not in database.bytes_on_disk()
    assert b"a long secret" not in database.bytes_on_disk()


def test_an_assertion_is_good_once_in_whatever_process_and_after_a_restart(gateway, database, published):
    used = gateway.assertion()
    gateway.ask(by=used)

    assert gateway.refused(token_request(used)) == SAME_ANSWER
    again = Gateway(database.again(), published)
    assert again.refused(token_request(used)) == SAME_ANSWER
    assert again.ask()["access_token"]


def test_of_many_who_send_one_assertion_at_once_one_gets_a_token(gateway):
    used = gateway.assertion()

    def ask(_):
        try:
            return gateway.ask(by=used)["expires_in"]
        except TokenRefused as error:
            return error.code

    with ThreadPoolExecutor(6) as several:
        assert sorted(several.map(ask, range(6)), key=str) == [300] + ["invalid_client"] * 5


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"aud": "https://gateway.example/auth/token/"}, "aud"),
        ({"aud": "https://gateway.example"}, "aud"),
        ({"aud": ["https://gateway.example/auth/token", "https://other.example/token"]}, "aud"),
        ({"aud": None}, "aud"),
        ({"iss": "other"}, "iss and sub"),
        ({"sub": None}, "no sub"),
        ({"jti": None}, "no jti"),
        ({"jti": 7}, "no jti"),
        ({"exp": None}, "no exp"),
        ({"exp": "soon"}, "exp of the assertion is not a number"),
        ({"exp": True}, "exp of the assertion is not a number"),
        ({"exp": 1e300}, "exp of the assertion is not a time"),
        ({"exp": NOW.timestamp() - 1}, "has expired"),
        ({"exp": NOW.timestamp()}, "has expired"),
        ({"exp": NOW.timestamp() + 306}, "more than five minutes ahead"),
        ({"nbf": NOW.timestamp() + 60}, "nbf of the assertion is in the future"),
        ({"iat": NOW.timestamp() + 60}, "iat of the assertion is in the future"),
        ({"header": {"kid": None}}, "no kid"),
        ({"header": {"typ": "dpop+jwt"}}, "something else"),
    ],
)
def test_what_is_wrong_with_an_assertion_is_said_whoever_sends_it(gateway, changed, what):
    refusals = {gateway.refused(token_request(gateway.assertion(client, **changed))) for client in ("edc", "nobody")}

    ((code, said, status),) = refusals
    assert (code, status) == ("invalid_client", 401)
    assert what in said


def test_nothing_tells_an_unknown_client_from_a_wrong_key(gateway):
    gateway.change(revoke="transitional")
    refusals = [
        gateway.refused(token_request(gateway.assertion("nobody"))),
        gateway.refused(token_request(gateway.assertion(kid="k2"))),
        gateway.refused(token_request(signed(claims_of("edc", URL, NOW.timestamp()), kid="k2", header={"kid": "k1"}))),
        gateway.refused(token_request(gateway.assertion("transitional"))),
        gateway.refused(token_request(gateway.assertion(header={"jku": "https://evil.example/jwks"}))),
        gateway.refused({"grant_type": "client_credentials", "client_id": "edc", "client_secret": "word"}),
        gateway.refused({"grant_type": "client_credentials"}, basic=("nobody", "word")),
    ]

    assert set(refusals) == {SAME_ANSWER}


@pytest.mark.parametrize(
    ("changed", "code", "status"),
    [
        ({"grant_type": ""}, "invalid_request", 400),
        ({"grant_type": "password"}, "unsupported_grant_type", 400),
        ({"grant_type": "authorization_code"}, "unsupported_grant_type", 400),
        ({"scope": ""}, "invalid_scope", 400),
        ({"scope": "system/Patient"}, "invalid_scope", 400),
        ({"scope": "openid system/Patient.rs"}, "invalid_scope", 400),
        ({"scope": "system/Immunization.rs"}, "invalid_scope", 400),
        ({"scope": "system/Patient.s"}, "invalid_scope", 400),
        ({"client_assertion_type": "jwt"}, "invalid_request", 400),
        ({"client_assertion": ""}, "invalid_client", 401),
        ({"client_id": "other"}, "invalid_client", 401),
        ({"client_id": "edc", "client_secret": "word"}, "invalid_request", 400),
    ],
)
def test_a_request_that_cannot_be_granted_names_the_error_of_rfc_6749(gateway, changed, code, status):
    found = gateway.refused(token_request(gateway.assertion()) | changed)

    assert (found[0], found[2]) == (code, status)
    assert all(" " <= letter <= "~" and letter not in '"\\' for letter in found[1])


def test_a_scope_whose_query_is_no_search_is_not_granted(gateway):
    gateway.add(replace(EDC, name="wide", scopes=scopes_of("system/*.rs")))

    assert (
        gateway.refused(token_request(gateway.assertion("wide"), "system/Observation.rs?foo=bar"))[0] == "invalid_scope"
    )
    asked = "system/Patient.rs system/Observation.rs?status:nonsense=final system/Observation.s?status=final"
    assert gateway.ask(asked, client="wide")["scope"] == "system/Patient.rs system/Observation.s?status=final"


def test_who_shows_nothing_is_not_a_client(gateway):
    assert gateway.refused({"grant_type": "client_credentials", "scope": "system/*.rs"})[::2] == ("invalid_client", 401)


def test_a_token_ends(gateway):
    token = gateway.ask()["access_token"]
    gateway.now += 5 * MINUTE - SECOND
    assert gateway.authorizer.caller(token).client == "edc"

    gateway.now += SECOND
    assert gateway.unknown(token) == "expired"
    gateway.now += timedelta(hours=2)
    gateway.ask()
    assert gateway.unknown(token) == "login"


def test_a_clock_that_is_set_back_makes_no_token_last_longer(gateway):
    token = gateway.ask()["access_token"]
    gateway.now -= timedelta(hours=1)

    assert gateway.unknown(token) == "expired"


@pytest.mark.parametrize("token", ["", "nonsense", "x" * 10_000, "é\udcff", "../../etc"])
def test_what_is_no_token_lets_nobody_in(gateway, token):
    assert gateway.unknown(token) == "login"


def test_revoking_a_client_stops_its_tokens_and_its_keys_at_once_and_is_noted(gateway):
    token = gateway.ask()["access_token"]

    assert "is revoked" in gateway.change(revoke="edc")
    assert gateway.unknown(token) == "login"
    assert gateway.refused(token_request(gateway.assertion())) == SAME_ANSWER
    assert "is revoked since" in gateway.change(revoke="edc")
    assert gateway.audit()[0] == ("client-revoked", "an operator", "client/edc", "")
    with pytest.raises(GatewayError, match="there is one of that name, or was"):
        gateway.add(replace(EDC, writes=True))


def test_a_rotated_key_is_no_longer_good_at_once(gateway):
    token = gateway.ask()["access_token"]
    gateway.change(renew=Renewal("edc", Credential(jwks=key_set(("ES384", "k2")))))

    assert gateway.unknown(token) == "login"
    assert gateway.refused(token_request(gateway.assertion())) == SAME_ANSWER
    assert gateway.ask(kid="k2")["access_token"]
    assert gateway.audit()[0][:3] == ("client-rotated", "an operator", "client/edc")


def test_a_rotated_key_is_good_for_as_long_as_was_said(gateway):
    token = gateway.ask()["access_token"]
    new = Credential(jwks=key_set(("ES384", "k2")))
    gateway.change(renew=Renewal("edc", new, old_until=NOW + timedelta(days=1)))

    assert gateway.authorizer.caller(token).client == "edc"
    assert [bool(gateway.ask(kid=kid)) for kid in ("k1", "k2")] == [True, True]
    gateway.now += timedelta(days=1)
    assert gateway.ask(kid="k2")
    assert gateway.refused(token_request(gateway.assertion(kid="k1"))) == SAME_ANSWER


def test_the_time_of_an_old_key_can_be_ended_early(gateway):
    new = Credential(jwks=key_set(("ES384", "k2")))
    gateway.change(renew=Renewal("edc", new, old_until=NOW + timedelta(days=1)))
    token = gateway.ask(kid="k1")["access_token"]

    assert "no longer good" in gateway.change(renew=Renewal("edc", new))
    assert gateway.refused(token_request(gateway.assertion(kid="k1"))) == SAME_ANSWER
    assert gateway.unknown(token) == "login"
    assert gateway.ask(kid="k2")
    assert "shows that already" in gateway.change(renew=Renewal("edc", new))


def test_a_change_that_is_made_twice_is_done_once(gateway):
    renewal = Renewal("edc", Credential(jwks=key_set(("ES384", "k2"))), old_until=NOW + timedelta(days=1))
    gateway.change(renew=renewal)
    gateway.change(renew=renewal)
    gateway.add(replace(EDC, name="ctms"))
    gateway.add(replace(EDC, name="ctms"))

    assert [bool(gateway.ask(kid=kid)) for kid in ("k1", "k2")] == [True, True]
    actions = [line[0] for line in gateway.audit()]
    assert (actions.count("client-rotated"), actions.count("client-added")) == (1, 3)


def test_keys_published_at_an_address_are_those_of_the_client(gateway, published):
    gateway.add(replace(EDC, name="ctms", credential=Credential(jwks_url="https://ctms.example/jwks")))
    published.sets["https://ctms.example/jwks"] = key_set(("ES384", "k3"))

    told = gateway.ask(client="ctms", kid="k3", header={"jku": "https://ctms.example/jwks"})
    assert gateway.authorizer.caller(told["access_token"]).client == "ctms"
    assert gateway.refused(token_request(gateway.assertion("ctms", kid="k1"))) == SAME_ANSWER
    assert gateway.refused(token_request(gateway.assertion("edc", kid="k3"))) == SAME_ANSWER


def test_a_secret_is_taken_only_where_the_recipients_file_says_so(gateway):
    form = {"grant_type": "client_credentials", "scope": "system/*.rs"}
    hashed = secret_hash(KEYS.index, "edc2", "a long secret")
    gateway.add(replace(EDC, name="edc2", credential=Credential(secret=hashed)))

    by_basic = gateway.tokens.grant(Asking(form, basic=("transitional", "a long secret")))
    by_post = gateway.tokens.grant(Asking(form | {"client_id": "transitional", "client_secret": "a long secret"}))
    assert gateway.authorizer.caller(by_basic["access_token"]).client == "transitional"
    assert gateway.authorizer.caller(by_post["access_token"]).client == "transitional"
    assert gateway.refused(form, basic=("transitional", "another")) == SAME_ANSWER
    assert gateway.refused(form, basic=("edc2", "a long secret")) == SAME_ANSWER
    assert gateway.refused(form | {"client_id": "x", "client_secret": "y"}, basic=("x", "y"))[0] == "invalid_request"


def test_a_token_bound_to_a_certificate_is_good_with_that_certificate_alone(gateway):
    gateway.add(replace(EDC, name="bound", thumbprints=("one", "two")))
    form = token_request(gateway.assertion("bound"))

    assert gateway.refused(form)[0] == "invalid_client"
    assert gateway.refused(form, thumbprint="three")[0] == "invalid_client"
    token = gateway.ask(client="bound", thumbprint="two")["access_token"]
    assert gateway.authorizer.caller(token, "two").client == "bound"
    assert [gateway.unknown(token, shown) for shown in (None, "", "one", "three")] == ["login"] * 4
    asking = Asking({"token": token}, thumbprint="two")
    assert gateway.tokens.introspect(asking, bearer=token)["cnf"] == {"x5t#S256": "two"}


def test_a_client_that_asks_too_often_waits(store, published):
    gateway = Gateway(store, published, per_minute=3)
    gateway.add(EDC, replace(EDC, name="slow", per_minute=1))
    for _ in range(3):
        token = gateway.ask()["access_token"]

    assert gateway.refused(token_request(gateway.assertion()))[::2] == ("temporarily_unavailable", 429)
    gateway.authorizer.caller(token)
    with pytest.raises(RequestRefused) as refused:
        gateway.authorizer.take("edc")
    assert (refused.value.status, refused.value.retry_after) == (429, 20)
    gateway.authorizer.caller(gateway.ask(client="slow")["access_token"])
    with pytest.raises(RequestRefused):
        gateway.authorizer.take("slow")


def test_asking_about_tokens_and_giving_them_back_counts_too(store, published):
    gateway = Gateway(store, published, per_minute=3)
    gateway.add(EDC)
    token = gateway.ask()["access_token"]
    gateway.tokens.introspect(Asking({"token": token}), bearer=token)
    gateway.tokens.revoke(Asking(token_request(gateway.assertion()) | {"token": "another"}))

    asking = Asking(token_request(gateway.assertion()) | {"token": token})
    for ask in (gateway.tokens.revoke, gateway.tokens.introspect, lambda _: gateway.tokens.introspect(asking, token)):
        with pytest.raises(TokenRefused) as refused:
            ask(asking)
        assert (refused.value.code, refused.value.status) == ("temporarily_unavailable", 429)


def test_only_who_was_recognised_uses_up_a_clients_requests(store, published):
    gateway = Gateway(store, published, per_minute=1)
    gateway.add(EDC)
    for _ in range(5):
        gateway.refused(token_request(gateway.assertion(kid="k2")))

    assert gateway.ask()["access_token"]


def test_a_client_learns_of_its_own_tokens_and_of_no_other(gateway):
    gateway.add(replace(EDC, name="ctms"))
    told = gateway.ask("system/Patient.r")
    theirs = gateway.ask(client="ctms")["access_token"]

    def introspect(token, **shown):
        form = token_request(gateway.assertion()) | {"token": token}
        return gateway.tokens.introspect(Asking(form), **shown)

    assert introspect(told["access_token"]) == {
        "active": True,
        "client_id": "edc",
        "sub": "edc",
        "scope": "system/Patient.r",
        "exp": int((NOW + 5 * MINUTE).timestamp()),
        "token_type": "bearer",
    }
    assert introspect(told["access_token"], bearer=told["access_token"])["active"]
    assert introspect(theirs) == introspect("nonsense") == {"active": False}
    gateway.now += 5 * MINUTE
    assert introspect(told["access_token"]) == {"active": False}
    with pytest.raises(TokenRefused, match="expired") as refused:
        introspect(theirs, bearer=told["access_token"])
    assert (refused.value.code, refused.value.status) == ("invalid_token", 401)


def test_who_asks_about_a_token_must_be_a_client(gateway):
    token = gateway.ask()["access_token"]
    used = token_request(gateway.assertion()) | {"token": token}
    gateway.tokens.introspect(Asking(used))

    for form in (used, used | {"client_assertion": gateway.assertion(kid="k2")}, {"token": token}):
        with pytest.raises(TokenRefused) as refused:
            gateway.tokens.introspect(Asking(form))
        assert refused.value.code == "invalid_client"


def test_a_client_takes_its_own_token_back_and_no_other(gateway):
    gateway.add(replace(EDC, name="ctms"))
    own, theirs = gateway.ask()["access_token"], gateway.ask(client="ctms")["access_token"]

    for token in (own, own, theirs, "nonsense"):
        gateway.tokens.revoke(Asking(token_request(gateway.assertion()) | {"token": token}))
    assert gateway.unknown(own) == "login"
    assert gateway.authorizer.caller(theirs).client == "ctms"
    with pytest.raises(TokenRefused, match="token is missing"):
        gateway.tokens.revoke(Asking(token_request(gateway.assertion())))
