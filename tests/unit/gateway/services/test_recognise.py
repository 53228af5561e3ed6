"""Whatever a client shows for itself, it is recognised or refused, and nothing else happens."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import InvalidAssertion, InvalidKeySet, TokenRefused
from gateway.jose import KeySet, read_assertion
from gateway.model.access import scopes_of
from gateway.model.client import Client, Credential
from gateway.services.key_sets import KeySets
from gateway.services.recognise import Asking, Recognition, check_claims
from tests.listening import sqlite_store
from tests.smart import claims_of, key_set, signed, token_request

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
URL = "https://gateway.example/auth/token"
GOOD = claims_of("edc", URL, NOW.timestamp(), jti="one")

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.sampled_from(["edc", URL]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
claims = st.dictionaries(st.sampled_from(["iss", "sub", "aud", "exp", "jti", "nbf", "iat", "kid"]), values)

shown = st.sampled_from(["client_id", "client_secret", "client_assertion", "client_assertion_type"])
forms = st.dictionaries(shown, st.text(max_size=50))


class Nowhere:
    """No key set is published."""

    def fetch(self, _url):
        raise InvalidKeySet("HTTP 404")


@pytest.fixture(scope="module")
def recognition(tmp_path_factory):
    with sqlite_store(tmp_path_factory.mktemp("clients")) as store:
        with store.begin() as tx:
            keys = Credential(jwks=key_set(("ES384", "k1")))
            tx.clients.add(Client("edc", (), scopes_of("system/*.rs"), keys, NOW))
        yield Recognition(store, KeySets(Nowhere()), b"x" * 32, lambda: NOW, lambda: URL, lambda _: False)


def recognised(recognition, asking):
    try:
        return recognition.client(asking).client.name
    except TokenRefused as error:
        return error.code


@given(claims)
def test_claims_are_those_of_a_good_assertion_or_refused(changed):
    try:
        ends = check_claims(GOOD | changed, URL, NOW)
    except InvalidAssertion:
        return
    assert NOW < ends <= NOW + timedelta(minutes=5, seconds=5)


@given(claims)
def test_an_assertion_with_any_claims_is_good_or_refused(recognition, changed):
    form = token_request(signed(json.loads(json.dumps(GOOD | changed))))

    assert recognised(recognition, Asking(form)) in {"edc", "invalid_client"}


@given(forms, st.none() | st.tuples(st.text(max_size=20), st.text(max_size=20)))
def test_no_form_makes_a_client_of_who_has_neither_key_nor_secret(recognition, form, basic):
    assert recognised(recognition, Asking(form, basic)) in {"invalid_client", "invalid_request"}


@pytest.mark.parametrize("claim", ["exp", "iat", "nbf"])
@pytest.mark.parametrize("number", ["1e999", "-1e999", "1" * 400, "-62135596801", "253402300800"])
def test_a_moment_outside_of_time_is_refused(claim, number):
    with pytest.raises(InvalidAssertion):
        check_claims(GOOD | {claim: json.loads(number)} | ({"exp": 1} if claim != "exp" else {}), URL, NOW)


def test_the_good_assertion_of_these_tests_is_good(recognition):
    assertion = signed(GOOD)

    assert KeySet(key_set(("ES384", "k1"))).signed(read_assertion(assertion))
    assert recognised(recognition, Asking(token_request(assertion))) == "edc"
