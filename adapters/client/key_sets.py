"""Fetching the key set that a client publishes, over https and from nowhere inside.

A client names the address, so it could name one that only this machine reaches: every address its name stands for is
looked at, and the connection goes to one that was. Redirects are not followed.
"""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Sequence
from http.client import HTTPException, HTTPResponse, HTTPSConnection
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

from adapters.connecting import first_of
from gateway.errors import InvalidKeySet
from gateway.model.endpoints import Endpoints

MOST_BYTES: Final = 256 * 1024
SECONDS: Final = 5.0
"""How long connecting and reading may take in all."""

Lookup = Callable[..., Sequence[tuple[Any, ...]]]


class HttpsKeySets:
    """Fetches key sets. ``private``: networks of addresses that may be asked although they are not public."""

    def __init__(
        self,
        context: ssl.SSLContext,
        private: Sequence[str] = (),
        seconds: float = SECONDS,
        lookup: Lookup = socket.getaddrinfo,
    ) -> None:
        self._context = context
        self._admits = Endpoints((), private).admits
        self._seconds = seconds
        self._lookup = lookup

    def fetch(self, url: str) -> bytes:
        """Return what stands at an https address. Raises ``InvalidKeySet``, which says why in general words."""
        parts = _split(url)
        connection = _Pinned(parts, self._addresses(parts), self._context, self._seconds)
        ends = threading.Timer(self._seconds, connection.cut)
        ends.start()
        try:
            return _read(connection, parts)
        except ssl.SSLError as error:
            raise InvalidKeySet(f"the connection could not be trusted ({error.reason or 'TLS'})") from None
        except (OSError, HTTPException, ValueError) as error:
            raise InvalidKeySet(f"no whole answer came ({type(error).__name__})") from None
        finally:
            ends.cancel()
            connection.close()

    def _addresses(self, parts: SplitResult) -> list[str]:
        """Return the addresses that a name stands for, when all of them may be asked."""
        try:
            found = self._lookup(parts.hostname, parts.port or 443, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            raise InvalidKeySet("its host is not known") from None
        addresses = [str(one[4][0]) for one in found]
        if not addresses or not all(map(self._admits, addresses)):
            raise InvalidKeySet("its host has a private address, which is in none of [fhir] private_networks")
        return addresses


class _Pinned(HTTPSConnection):
    """A connection to the first of some addresses that answers; its certificate must be the name's."""

    def __init__(self, parts: SplitResult, addresses: list[str], context: ssl.SSLContext, seconds: float) -> None:
        super().__init__(parts.hostname or "", parts.port or 443, timeout=seconds, context=context)
        self._tls = context
        self._addresses = addresses
        self._seconds = seconds
        self._cut = False

    def connect(self) -> None:
        plain = first_of(self._addresses, self.port, self._seconds)
        self.sock = self._tls.wrap_socket(plain, server_hostname=self.host, do_handshake_on_connect=False)
        if self._cut:
            raise TimeoutError
        self.sock.do_handshake()

    def cut(self) -> None:
        """End whatever it is doing, from another thread."""
        self._cut = True
        connected = self.sock
        if connected is not None:
            try:
                socket.socket.shutdown(connected, socket.SHUT_RDWR)  # its own would change what is being read from
            except OSError:
                return  # it has ended by itself


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        good = parts.scheme == "https" and bool(parts.hostname) and not (parts.username or parts.password)
        good = good and parts.port != 0
    except ValueError:
        good = False
    if not good:
        raise InvalidKeySet("its address is not one of https")
    return parts


def _read(connection: HTTPSConnection, parts: SplitResult) -> bytes:
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    connection.request("GET", target, headers={"Accept": "application/json", "Connection": "close"})
    answer: HTTPResponse = connection.getresponse()
    if answer.status != 200:
        raise InvalidKeySet(f"HTTP {answer.status}" + (": redirects are not followed" if answer.status < 400 else ""))
    body = answer.read(MOST_BYTES + 1)
    if len(body) > MOST_BYTES:
        raise InvalidKeySet(f"it is larger than {MOST_BYTES} bytes")
    return body
