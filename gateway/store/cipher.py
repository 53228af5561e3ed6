"""What stands encrypted in the database, and the keyed hashes that find it (ARCHITECTURE, decision 17).

An encrypted value is: length of the key id (one byte), key id, 96-bit random nonce, AES-GCM ciphertext with its tag.
The first byte of the plaintext says how the rest is packed: 0 as it is, 1 zlib. The associated data names the table,
the column and the row, so that no value can be moved to another row unseen.
"""

from __future__ import annotations

import hmac
import os
import threading
import time
from collections.abc import Callable
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from isal import isal_zlib as zlib  # the same format, several times as fast

from gateway.errors import KeysMissing, StoreError
from gateway.model.identity import mac
from gateway.model.keys import Keys

_NONCE: Final = 12
_PLAIN: Final = b"\x00"
_ZLIB: Final = b"\x01"
_LEVEL: Final = 1
PAYS_FROM: Final = 600
"""Bytes from which packing saves enough to be worth its time."""


LOOK_SECONDS: Final = 1.0
"""How often a process looks whether its keys changed: after this long it encrypts under the new active key."""


class Cipher:
    """Encrypts with the active key, decrypts with whichever key a value names. Safe from any thread.

    ``changed`` returns the keys when they are others than before, else None: keys are rotated while processes run.
    Only encryption keys are taken from it.
    """

    def __init__(self, keys: Keys, changed: Callable[[], Keys | None] = lambda: None) -> None:
        self._index = keys.index
        self._audit = keys.audit
        self._changed = changed
        self._looking = threading.Lock()
        self._look_again = time.monotonic() + LOOK_SECONDS
        self.take(keys)

    def take(self, keys: Keys) -> None:
        """Use other encryption keys from now on. Raises ``KeysMissing`` when the active one is not among them."""
        if keys.active not in keys.encryption:
            raise KeysMissing("the active encryption key is not among the encryption keys")
        self._ciphers = {name: AESGCM(key) for name, key in keys.encryption.items()}
        name = keys.active.encode()
        self._sealing = bytes((len(name),)) + name, self._ciphers[keys.active]

    @property
    def head(self) -> bytes:
        """With what every value begins that is encrypted under the active key."""
        return self._sealing[0]

    def refresh(self) -> None:
        """Take changed keys, looking once a second at most. Called before each transaction."""
        if time.monotonic() >= self._look_again:
            self._look()

    def seal(self, value: bytes, row: bytes) -> bytes:
        """Return a value encrypted for one place in one row."""
        nonce = os.urandom(_NONCE)
        head, active = self._sealing
        return head + nonce + active.encrypt(nonce, pack(value), row)

    def open(self, sealed: bytes, row: bytes) -> bytes:
        """Return the value again. Raises ``KeysMissing`` without its key, ``StoreError`` when it was changed."""
        start = 1 + sealed[0]
        name = sealed[1:start].decode("utf-8", "replace")
        cipher = self._ciphers.get(name) or self._added(name)
        body = start + _NONCE
        try:
            return unpack(cipher.decrypt(sealed[start:body], sealed[body:], row))
        except InvalidTag:
            place = row.partition(b"|")[0].decode("ascii", "replace")
            raise StoreError(f"{place}: wrong encryption key {name!r}, or the row was changed outside") from None

    def _added(self, name: str) -> AESGCM:
        """Return the cipher of a key that was added after the keys were read: another process uses it already."""
        self._look()
        cipher = self._ciphers.get(name)
        if cipher is None:
            raise KeysMissing(
                f"the encryption key {name!r} is not in the key file, and rows are encrypted under it: "
                "copy the key file of the machine where the keys were rotated"
            )
        return cipher

    def _look(self) -> None:
        with self._looking:
            self._look_again = time.monotonic() + LOOK_SECONDS
            if keys := self._changed():
                self.take(keys)

    def mark(self, value: bytes) -> bytes:
        """Return the keyed digest (32 bytes) that seals a value of the audit trail."""
        return hmac.digest(self._audit, value, "sha256")

    def hash(self, kind: str, *parts: str) -> bytes:
        """Return the keyed hash (32 bytes) by which a value is found without being readable."""
        return self.hash_bytes(kind, "\x1f".join(parts).encode("utf-8", "replace"))

    def hash_bytes(self, kind: str, value: bytes) -> bytes:
        """Return the keyed hash (32 bytes) of bytes."""
        return mac(self._index, kind.encode() + b"\x1f" + value)


def pack(value: bytes) -> bytes:
    """Return bytes with their packing in front: zlib where it pays."""
    if len(value) >= PAYS_FROM:
        squeezed = zlib.compress(value, _LEVEL)
        if len(squeezed) < len(value):
            return _ZLIB + squeezed
    return _PLAIN + value


def unpack(packed: bytes) -> bytes:
    """Return what was packed.

    >>> unpack(pack(b"a" * 5000)) == b"a" * 5000
    True
    """
    return zlib.decompress(memoryview(packed)[1:]) if packed[:1] == _ZLIB else packed[1:]
