"""What a client of SMART Backend Services has: key pairs, key sets and signed assertions."""

from __future__ import annotations

import json
import time
import uuid
from functools import cache

from joserfc import jws
from joserfc.jwk import ECKey, RSAKey

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


@cache
def private_key(algorithm, kid):
    """Return the key pair of a kid, made once per run: RSA keys take long to make."""
    if algorithm.startswith("RS"):
        return RSAKey.generate_key(2048, {"kid": kid})
    return ECKey.generate_key({"ES384": "P-384", "ES256": "P-256"}[algorithm], {"kid": kid})


def public_jwk(algorithm, kid, /, **changed):
    """Return the public half as a JWK; ``changed`` members replace its own."""
    return private_key(algorithm, kid).as_dict(private=False) | changed


def key_set(*keys):
    """Return a JWK Set: of JWKs, or of (algorithm, kid)."""
    return json.dumps({"keys": [key if isinstance(key, dict) else public_jwk(*key) for key in keys]})


def claims_of(client, audience, now=None, **changed):
    """Return the claims of a good assertion; a claim changed to None is left out."""
    now = time.time() if now is None else now
    claims = {"iss": client, "sub": client, "aud": audience, "exp": int(now) + 290, "jti": str(uuid.uuid4())}
    return {name: value for name, value in (claims | changed).items() if value is not None}


def signed(claims, algorithm="ES384", kid="k1", header=None):
    """Return claims as a signed JWT; ``header`` members replace its own."""
    head = {"alg": algorithm, "kid": kid, "typ": "JWT"} | (header or {})
    head = {name: value for name, value in head.items() if value is not None}
    registry = jws.JWSRegistry(algorithms=[head["alg"]], strict_check_header=False)
    return jws.serialize_compact(head, json.dumps(claims), private_key(algorithm, kid), registry=registry)


def assertion(client, audience, algorithm="ES384", kid="k1", *, now=None, header=None, **changed):
    """Return a signed assertion of a client for a token URL."""
    return signed(claims_of(client, audience, now, **changed), algorithm, kid, header)


def token_request(assertion, scope="system/*.rs"):
    """Return the form of a token request."""
    return {
        "grant_type": "client_credentials",
        "scope": scope,
        "client_assertion_type": ASSERTION_TYPE,
        "client_assertion": assertion,
    }
