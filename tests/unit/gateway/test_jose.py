"""Assertions and key sets: what is signed as SMART says, and nothing else."""

import base64
import hashlib
import hmac
import json

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import OctKey

from gateway.errors import InvalidAssertion, InvalidKeySet
from gateway.jose import KeySet, read_assertion
from tests.smart import assertion, key_set, private_key, public_jwk

URL = "https://gateway.example/auth/token"


def encoded(value):
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def by_hand(header, claims=None, sign=lambda _: b""):
    text = f"{encoded(header)}.{encoded(claims or {'iss': 'edc'})}"
    return f"{text}.{encoded(sign(text.encode()))}"


@pytest.mark.parametrize("algorithm", ["RS384", "ES384"])
def test_an_assertion_is_verified_with_the_key_that_signed_it(algorithm):
    keys = KeySet(key_set(("RS384", "k1"), ("ES384", "k1"), ("ES384", "k2")))
    read = read_assertion(assertion("edc", URL, algorithm))

    assert (read.claims["iss"], read.claims["aud"], read.key_id) == ("edc", URL, "k1")
    assert (keys.knows(read), keys.signed(read)) == (True, True)


def es384(key, text):
    """Sign as RFC 7518, 3.4 says: r and s, 48 bytes each."""
    r, s = decode_dss_signature(key.sign(text, ec.ECDSA(hashes.SHA384())))
    return r.to_bytes(48, "big") + s.to_bytes(48, "big")


def rs384(key, text):
    return key.sign(text, padding.PKCS1v15(), hashes.SHA384())


@pytest.mark.parametrize(
    ("algorithm", "key", "sign"),
    [
        ("ES384", ec.generate_private_key(ec.SECP384R1()), es384),
        ("RS384", rsa.generate_private_key(65537, 3072), rs384),
    ],
)
def test_what_another_library_signs_is_verified(algorithm, key, sign):
    numbers = key.public_key().public_numbers()
    jwk = {"kid": "k1", "kty": "EC" if algorithm == "ES384" else "RSA"}
    if algorithm == "ES384":
        jwk |= {
            "crv": "P-384",
            "x": encoded(numbers.x.to_bytes(48, "big")),
            "y": encoded(numbers.y.to_bytes(48, "big")),
        }
    else:
        jwk |= {"n": encoded(numbers.n.to_bytes(384, "big")), "e": "AQAB"}
    keys = KeySet(key_set(jwk))
    text = by_hand({"alg": algorithm, "kid": "k1", "typ": "JWT"}, sign=lambda text: sign(key, text))

    assert keys.signed(read_assertion(text))
    assert not keys.signed(read_assertion(text[:-4] + "AAAA"))


@pytest.mark.parametrize("algorithm", ["RS384", "ES384"])
def test_a_signature_by_another_key_of_the_same_kid_is_none(algorithm):
    other = KeySet(key_set(public_jwk(algorithm, "another", kid="k1")))
    read = read_assertion(assertion("edc", URL, algorithm))

    assert (other.knows(read), other.signed(read)) == (True, False)


def test_a_kid_of_the_other_algorithm_is_not_known():
    keys = KeySet(key_set(("RS384", "k1")))

    assert not keys.knows(read_assertion(assertion("edc", URL, "ES384")))
    assert not keys.signed(read_assertion(assertion("edc", URL, "ES384")))


@pytest.mark.parametrize("part", [0, 1, 2])
def test_whatever_part_is_changed_the_signature_is_none(part):
    keys = KeySet(key_set(("ES384", "k1")))
    parts = assertion("edc", URL).split(".")
    other = assertion("other", URL, header={"typ": None}).split(".")
    parts[part] = other[part]

    assert not keys.signed(read_assertion(".".join(parts)))


@pytest.mark.parametrize("algorithm", ["none", "None", "HS256", "HS384", "RS256", "ES256", "PS384", "", None, 7])
def test_no_other_algorithm_is_read(algorithm):
    with pytest.raises(InvalidAssertion):
        read_assertion(by_hand({"alg": algorithm, "kid": "k1", "typ": "JWT"}))


def test_a_public_key_is_never_taken_for_a_shared_secret():
    pem = private_key("RS384", "k1").as_pem(private=False)
    forged = by_hand(
        {"alg": "HS384", "kid": "k1", "typ": "JWT"}, sign=lambda text: hmac.digest(pem, text, hashlib.sha384)
    )

    with pytest.raises(InvalidAssertion, match="neither RS384 nor ES384"):
        read_assertion(forged)


@pytest.mark.parametrize(
    ("header", "what"),
    [
        ({"kid": None}, "no kid"),
        ({"kid": ""}, "no kid"),
        ({"typ": "at+jwt"}, "something else"),
        ({"crit": ["exp"], "exp": 1}, "something else"),
    ],
)
def test_a_header_that_says_something_else_is_refused(header, what):
    with pytest.raises(InvalidAssertion, match=what):
        read_assertion(by_hand({"alg": "ES384", "kid": "k1"} | header))


@pytest.mark.parametrize(
    "text", ["", "a.b", "a.b.c", "....", "é.é.é", by_hand(["ES384"]), by_hand({"alg": "ES384"}, [1])]
)
def test_what_is_no_jwt_is_refused(text):
    with pytest.raises(InvalidAssertion, match="not a signed JWT"):
        read_assertion(text)


@given(st.text())
def test_no_text_is_more_than_refused(text):
    with pytest.raises(InvalidAssertion):
        read_assertion(text)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("no json", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "not a JWK Set"),
        ('{"keys": {}}', "not a JWK Set"),
        ('{"keys": ["k1"]}', "not a JWK Set"),
        ('{"keys": []}', "holds no key"),
        (json.dumps({"keys": [{"kty": "RSA"}] * 51}), "more than 50 keys"),
        (json.dumps({"keys": [private_key("ES384", "k1").as_dict(private=True)]}), "private or secret"),
        (json.dumps({"keys": [OctKey.generate_key(384, {"kid": "k1"}).as_dict(private=True)]}), "private or secret"),
        (key_set(("ES256", "k1")), "holds no key"),
        (key_set(public_jwk("ES384", "k1", alg="ES256")), "holds no key"),
        (key_set(public_jwk("ES384", "k1", use="enc")), "holds no key"),
        (key_set(public_jwk("ES384", "k1", key_ops=["encrypt"])), "holds no key"),
        (key_set(public_jwk("ES384", "k1", kid="")), "holds no key"),
        (key_set(public_jwk("RS384", "k1", n="AQAB")), "holds no key"),
        (key_set(public_jwk("ES384", "k1", x="AAAA")), "cannot be read"),
        (key_set(public_jwk("RS384", "k1", e="AA")), "cannot be read"),
    ],
)
def test_a_key_set_that_cannot_be_used_says_why(text, what):
    with pytest.raises(InvalidKeySet, match=what):
        KeySet(text)


def test_zeros_before_a_short_modulus_make_it_no_longer():
    short = rsa.generate_private_key(65537, 1024).public_key().public_numbers().n
    padded = encoded(short.to_bytes(256, "big"))

    with pytest.raises(InvalidKeySet, match="holds no key"):
        KeySet(key_set(public_jwk("RS384", "k1", n=padded)))


def test_keys_for_other_purposes_are_left_out():
    keys = KeySet(key_set(("ES256", "short"), public_jwk("ES384", "seal", use="enc"), ("RS384", "k1"), {"kty": "AKP"}))

    assert keys.key_ids == ("k1",)
