"""Page tokens: where a search goes on, in a form that says nothing to whoever reads it.

A token is encrypted under a key made from the pseudonym key, which never rotates, and bound to the client it was made
for: it holds the parameters of the search, which may name a person and so stand in no URL, and where to go on.
"""

from __future__ import annotations

import hmac
import os
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as NotBase64
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from msgspec import DecodeError, Struct, msgpack

from gateway.errors import RequestRefused

_NONCE: Final = 12


class Position(Struct, frozen=True, array_like=True):
    """Where a search goes on: behind this resource of this view. Ids are internal.

    ``trail``: where a sort was asked for, the last matches that were shown and what each was sorted by, as digests.
    """

    recipient: str
    study: str
    patient: str
    resource: str
    trail: tuple[bytes, ...] = ()


class Page(Struct, frozen=True, array_like=True):
    """A search and where it goes on."""

    release: str
    path: str
    pairs: tuple[tuple[str, str], ...]
    position: Position


_DECODER: Final = msgpack.Decoder(Page)


class PageTokens:
    """Makes and reads page tokens."""

    def __init__(self, pseudonym_key: bytes) -> None:
        self._cipher = AESGCM(hmac.digest(pseudonym_key, b"page tokens", "sha256"))

    def token(self, client: str, page: Page) -> str:
        """Return the token of a page for a client."""
        nonce = os.urandom(_NONCE)
        sealed = self._cipher.encrypt(nonce, msgpack.encode(page), client.encode())
        return urlsafe_b64encode(nonce + sealed).rstrip(b"=").decode()

    def page(self, client: str, token: str) -> Page:
        """Return what a token says. Raises ``RequestRefused`` (400) when it was not made for this client."""
        try:
            raw = urlsafe_b64decode(token + "=" * (-len(token) % 4))
            return _DECODER.decode(self._cipher.decrypt(raw[:_NONCE], raw[_NONCE:], client.encode()))
        except (NotBase64, ValueError, InvalidTag, DecodeError):
            what = "this page cannot be gone to: begin the search again"
            raise RequestRefused(400, "value", what, ("_page",)) from None
