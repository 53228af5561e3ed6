"""Signed assertions and key sets (JOSE): the one place that knows the library.

Taken is what SMART Backend Services names and nothing else: RS384 with RSA keys of 2048 bits or more, ES384 with keys
on P-384. The algorithm is looked up in this list, never in what the assertion says of itself.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey

from gateway.errors import InvalidAssertion, InvalidKeySet

ALGORITHMS: Final = ("RS384", "ES384")
"""SMART App Launch 2.2, asymmetric client authentication: what a server must take."""

MOST_KEYS: Final = 50
"""Keys of one set at most: a set is read whenever it is fetched."""

_RSA_BITS: Final = range(2048, 8193)
"""Length of a modulus; a longer one takes long to verify with."""

_KIND: Final = {"RS384": ("RSA", ""), "ES384": ("EC", "P-384")}


class _Registry(jws.JWSRegistry):
    max_header_length = 4096
    max_payload_length = 8192


_REGISTRY: Final = _Registry(algorithms=ALGORITHMS, strict_check_header=False)


@dataclass(frozen=True, slots=True)
class Assertion:
    """An assertion as it was read: nothing in it is believed before its signature is verified.

    ``key_id``: ``kid`` of the header; ``key_set_url``: its ``jku``, ``""`` when there is none.
    """

    text: str
    algorithm: str
    key_id: str
    key_set_url: str
    claims: Mapping[str, Any]


def read_assertion(text: str) -> Assertion:
    """Read a JWT in compact form (RFC 7519) without verifying it. Raises ``InvalidAssertion``."""
    try:
        read = jws.extract_compact(text.encode("ascii"), registry=_REGISTRY)
        header = read.headers()
        claims = json.loads(read.payload)
    except (JoseError, ValueError, TypeError, AttributeError, RecursionError):
        raise InvalidAssertion("the assertion is not a signed JWT in compact form") from None
    if not (isinstance(header, dict) and isinstance(claims, dict)):
        raise InvalidAssertion("the assertion is not a signed JWT in compact form")
    if header.get("alg") not in ALGORITHMS:
        raise InvalidAssertion("the assertion is signed with neither RS384 nor ES384")
    if not (isinstance(header.get("kid"), str) and header["kid"]):
        raise InvalidAssertion("the header of the assertion has no kid")
    if str(header.get("typ", "JWT")).upper() != "JWT" or "crit" in header:
        raise InvalidAssertion("the header of the assertion says that it is something else than a JWT")
    return Assertion(text, header["alg"], header["kid"], str(header.get("jku", "")), claims)


class KeySet:
    """The public keys of one client that can sign an assertion; others of its set are left out."""

    def __init__(self, text: str | bytes) -> None:
        """Read a JWK Set (RFC 7517). Raises ``InvalidKeySet``: not one, a private key in it, or no key to use."""
        self._keys: dict[tuple[str, str], list[RSAKey | ECKey]] = {}
        for jwk in _listed(text):
            if {"d", "k"} & jwk.keys():
                raise InvalidKeySet("the key set holds a private or secret key: publish the public ones alone")
            for algorithm in ALGORITHMS:
                if _suits(jwk, algorithm):
                    self._keys.setdefault((algorithm, jwk["kid"]), []).append(_imported(jwk))
        if not self._keys:
            raise InvalidKeySet("the key set holds no key with a kid for RS384 (RSA, 2048 bits) or ES384 (P-384)")

    @property
    def key_ids(self) -> tuple[str, ...]:
        """The ``kid`` of each key."""
        return tuple(dict.fromkeys(kid for _, kid in self._keys))

    def knows(self, assertion: Assertion) -> bool:
        """Say whether there is a key of the assertion's ``kid`` and algorithm."""
        return (assertion.algorithm, assertion.key_id) in self._keys

    def signed(self, assertion: Assertion) -> bool:
        """Say whether one of these keys signed it."""
        return any(_verified(assertion, key) for key in self._keys.get((assertion.algorithm, assertion.key_id), ()))


def _listed(text: str | bytes) -> list[dict[str, Any]]:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        raise InvalidKeySet("the key set is not JSON") from None
    keys = content.get("keys") if isinstance(content, dict) else None
    if not isinstance(keys, list) or not all(isinstance(key, dict) for key in keys):
        raise InvalidKeySet("the key set is not a JWK Set: an object with an array 'keys'")
    if len(keys) > MOST_KEYS:
        raise InvalidKeySet(f"the key set holds more than {MOST_KEYS} keys")
    return keys


def _suits(jwk: Mapping[str, Any], algorithm: str) -> bool:
    """Say whether a key is there to verify this algorithm (RFC 7517, 4.1 to 4.5; RFC 7518, 3.3 and 3.4)."""
    kind, curve = _KIND[algorithm]
    operations = jwk.get("key_ops", ["verify"])
    return (
        jwk.get("kty") == kind
        and jwk.get("crv", "") == curve
        and (bool(curve) or _bits(jwk.get("n")) in _RSA_BITS)
        and jwk.get("alg", algorithm) == algorithm
        and jwk.get("use", "sig") == "sig"
        and isinstance(operations, list)
        and "verify" in operations
        and isinstance(jwk.get("kid"), str)
        and bool(jwk["kid"])
    )


def _bits(modulus: Any) -> int:
    """Return the length of a modulus as a key set writes it; leading zeros make it no longer. 0: it is none."""
    try:
        return int.from_bytes(urlsafe_b64decode(f"{modulus}==")).bit_length()
    except ValueError:
        return 0


def _imported(jwk: Mapping[str, Any]) -> RSAKey | ECKey:
    wanted = {name: jwk[name] for name in ("kty", "kid", "n", "e", "crv", "x", "y") if name in jwk}
    try:
        return RSAKey.import_key(wanted) if jwk["kty"] == "RSA" else ECKey.import_key(wanted)
    except (JoseError, ValueError, TypeError, KeyError, AttributeError):
        raise InvalidKeySet("a key of the set cannot be read") from None


def _verified(assertion: Assertion, key: RSAKey | ECKey) -> bool:
    try:
        jws.deserialize_compact(assertion.text, key, [assertion.algorithm], registry=_REGISTRY)
    except (JoseError, ValueError):
        return False
    return True
