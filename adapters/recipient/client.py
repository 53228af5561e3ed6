"""An HTTP/1.1 client for one recipient: connections kept open, every wait bounded, nothing followed, nothing added.

The standard library reads the answers; what a request is made of is written here, because the way from bytes to bytes
is most of what an attempt costs.
"""

from __future__ import annotations

import io
import re
import socket
import ssl
import threading
import time
from base64 import b64encode
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from http.client import HTTPException, HTTPResponse
from select import POLLIN, poll
from typing import Any, Final
from urllib.parse import unquote, urlsplit

KEEP_SECONDS: Final = 5.0
"""How long an idle connection is used again; servers close theirs after some time too."""

Connect = Callable[[tuple[str, int], float], socket.socket]

_AT_A_TIME: Final = 256 * 1024
_TARGET: Final = re.compile(r"[!-~]+")
_HEADER: Final = re.compile(r"[ -~]*")


class InvalidRequest(Exception):
    """The address or a header cannot be sent."""


class NotConnected(Exception):
    """No connection was made, so nothing was sent. The cause says why."""


class NotAdmitted(OSError):
    """No connection may be made to where a name leads."""


class NotTrusted(NotConnected):
    """The TLS handshake failed."""


class NoAnswer(Exception):
    """Something may have been sent, and no whole answer came. ``str()`` says what happened in one word."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a URL leads to."""

    secure: bool
    host: str
    port: int
    authority: str
    credentials: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked, and how large the answer may be."""

    method: str
    url: str
    content: bytes | None
    headers: Mapping[str, str]
    max_bytes: int


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer. ``body`` is empty when it was not read (``cut``): too large, encoded, or dripping to the end."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    cut: bool = False


class Client:
    """Makes requests. ``timeout`` bounds each wait in seconds; ``headers`` go with every request. Thread-safe.

    ``connect`` takes (host, port) and seconds, and makes the connection that TLS is spoken on.
    """

    def __init__(
        self,
        context: ssl.SSLContext,
        timeout: float,
        headers: Mapping[str, str],
        connect: Connect = socket.create_connection,
    ) -> None:
        self.context = context
        self._connecting = connect
        self._timeout = timeout
        self._headers = dict(headers)
        self._idle: deque[tuple[Origin, socket.socket, float]] = deque()
        self._lock = threading.Lock()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the idle connections."""
        with self._lock:
            idle, self._idle = self._idle, deque()
        for _, connection, _ in idle:
            connection.close()

    def ask(self, request: Request, until: float) -> Answer:
        """Make one request that ends by ``until`` (monotonic).

        Raises ``InvalidRequest``, ``NotConnected``, ``NotTrusted`` or ``NoAnswer``.
        """
        origin, target = _split(request.url)
        head = _head(request, target, origin, self._headers)
        connection = self._take(origin) or self._connect(origin, until)
        kept = False
        try:
            stopped = self._send(connection, head, request.content or b"", until)
            answer, kept = self._answer(connection, request, until)
            kept = kept and not stopped
        except TimeoutError as error:
            raise NoAnswer("ReadTimeout") from error
        except (OSError, HTTPException, ValueError) as error:
            raise NoAnswer(type(error).__name__) from error
        else:
            return answer
        finally:
            if kept:
                self._keep(origin, connection)
            else:
                connection.close()

    def _answer(self, connection: socket.socket, request: Request, until: float) -> tuple[Answer, bool]:
        """Read an answer; say too whether the connection may be used again."""
        timed = _Timed(connection, self._timeout, until)
        # It asks nothing of a socket but makefile, which is all that _Timed has.
        response = HTTPResponse(timed, method=request.method)  # type: ignore[arg-type]
        try:
            response.begin()
            body, cut = _read(response, request.max_bytes, until)
            answer = Answer(response.status, dict(response.headers.items()), body, cut)
        finally:
            response.close()
        return answer, not (cut or response.will_close or timed.said_more)

    def _connect(self, origin: Origin, until: float) -> socket.socket:
        wait = min(self._timeout, max(until - time.monotonic(), 0.001))
        try:
            connection = self._connecting((origin.host, origin.port), wait)
        except (OSError, UnicodeError) as error:
            raise NotConnected from error
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return self.context.wrap_socket(connection, server_hostname=origin.host) if origin.secure else connection
        except (OSError, ValueError) as error:
            connection.close()
            if isinstance(error, ssl.SSLError | ValueError) and not isinstance(error, TimeoutError):
                raise NotTrusted from error
            raise NotConnected from error

    def _take(self, origin: Origin) -> socket.socket | None:
        """Return an idle connection that is still open."""
        while True:
            with self._lock:
                if not self._idle:
                    return None
                where, connection, since = self._idle.pop()
            if where == origin and time.monotonic() - since < KEEP_SECONDS and _is_quiet(connection):
                return connection
            connection.close()

    def _keep(self, origin: Origin, connection: socket.socket) -> None:
        now = time.monotonic()
        with self._lock:
            self._idle.append((origin, connection, now))
            while now - self._idle[0][2] > KEEP_SECONDS:
                self._idle.popleft()[1].close()

    def _send(self, connection: socket.socket, head: bytes, content: bytes, until: float) -> bool:
        """Send a request; True when the server stopped reading before its end: then its answer says why."""
        small = len(content) <= _AT_A_TIME
        parts = [head + content] if small else [head, content]
        try:
            for part in parts:
                left = memoryview(part)
                while left:
                    connection.settimeout(_wait(self._timeout, until))
                    left = left[connection.send(left[:_AT_A_TIME]) :]
        except TimeoutError as error:
            raise NoAnswer("WriteTimeout") from error
        except OSError:
            return True
        return False


class _Timed:
    """A connection as ``HTTPResponse`` reads it: each wait is bounded, and all of them together."""

    def __init__(self, connection: socket.socket, timeout: float, until: float) -> None:
        self._reader = _Reader(_Raw(connection, timeout, until), 16 * 1024)

    @property
    def said_more(self) -> bool:
        """Whether the server said more than its answer: the next one would begin with that."""
        return self._reader.left_some

    def makefile(self, _mode: str) -> io.BufferedReader:
        return self._reader


class _Reader(io.BufferedReader):
    left_some = False

    def close(self) -> None:
        if not self.closed:
            self.raw.over = True  # type: ignore[attr-defined]  # always what _Timed made it over
            self.left_some = bool(self.peek(1))
        super().close()


class _Raw(io.RawIOBase):
    def __init__(self, connection: socket.socket, timeout: float, until: float) -> None:
        self._connection = connection
        self._timeout = timeout
        self._until = until
        self.over = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self.over:
            return 0
        self._connection.settimeout(_wait(self._timeout, self._until))
        return self._connection.recv_into(buffer)


def _wait(timeout: float, until: float) -> float:
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return min(timeout, left)


def _read(response: HTTPResponse, max_bytes: int, until: float) -> tuple[bytes, bool]:
    """Read a body; give up on one that is too large, encoded against our wish, or drips."""
    large = response.length is not None and response.length > max_bytes
    if large or response.headers.get("Content-Encoding", "identity") != "identity":
        return b"", True
    try:
        body = response.read(max_bytes + 1) if response.length is None else response.read()
    except TimeoutError:
        if time.monotonic() < until:
            raise
        return b"", True
    return (b"", True) if len(body) > max_bytes else (body, False)


def _is_quiet(connection: socket.socket) -> bool:
    """Whether an idle connection is open: it has nothing to say, so whatever is readable is its end."""
    waiting = poll()
    waiting.register(connection.fileno(), POLLIN)
    return not waiting.poll(0)


@lru_cache(maxsize=256)
def _origin(scheme: str, location: str) -> Origin:
    parts = urlsplit(f"{scheme}://{location}")
    if scheme not in {"http", "https"} or not parts.hostname:
        raise InvalidRequest("not an http or https address")
    port = parts.port or (443 if scheme == "https" else 80)
    host = parts.hostname if parts.hostname.isascii() else parts.hostname.encode("idna").decode("ascii")
    authority = (f"[{host}]" if ":" in host else host) + (f":{parts.port}" if parts.port else "")
    name = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
    credentials = f"Basic {b64encode(name.encode()).decode()}" if parts.username else ""
    return Origin(scheme == "https", host, port, authority, credentials)


def _split(url: str) -> tuple[Origin, str]:
    scheme, _, rest = url.partition("://")
    location, slash, path = rest.partition("/")
    target = slash + path or "/"
    try:
        origin = _origin(scheme.lower(), location)
    except ValueError as error:
        raise InvalidRequest(type(error).__name__) from error
    if not _TARGET.fullmatch(target) or "#" in target:
        raise InvalidRequest("not a request target")
    return origin, target


def _head(request: Request, target: str, origin: Origin, always: Mapping[str, str]) -> bytes:
    lines = [f"{request.method} {target} HTTP/1.1", f"Host: {origin.authority}"]
    if origin.credentials and "Authorization" not in always:
        lines.append(f"Authorization: {origin.credentials}")
    for name, value in {**always, **request.headers}.items():
        if not _HEADER.fullmatch(value):
            raise InvalidRequest(f"header {name}")
        lines.append(f"{name}: {value}")
    if request.content is not None or request.method in {"POST", "PUT"}:
        lines.append(f"Content-Length: {len(request.content or b'')}")
    return "\r\n".join(lines).encode("ascii") + b"\r\n\r\n"
