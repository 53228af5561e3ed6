"""What the HTTP recipients share: the client, one exchange, and what an answer means (ARCHITECTURE, decision 10)."""

from __future__ import annotations

import os
import re
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Final

import httpx

from gateway.errors import ConfigurationError
from gateway.model.delivery import Accepted, Deferred, Outcome, Refused, Unknown
from gateway.model.recipient import Recipient

CONTENT: Final = frozenset({400, 413, 422})
"""The recipient will never take this content: a person must look."""

NOT_NOW: Final = frozenset({408, 425, 429, 503})
"""Nothing happened; later it may."""

CONFLICT: Final = frozenset({409, 412})
"""Another version is there, perhaps the very one that was to be sent."""

FHIR_JSON: Final = "application/fhir+json"
_SECONDS: Final = re.compile(r"\d{1,9}")


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer. ``body`` is empty when it was larger than the limit (``cut``)."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    cut: bool = False


def outcome_of(answer: Answer, now: datetime | None = None) -> Outcome:
    """Say what an answer means for the delivery.

    ================================  =================================================================
    2xx                               ``Accepted``
    400, 413, 422                     ``Refused``
    408, 425, 429, 503                ``Deferred``, as long as Retry-After says
    3xx, and any other 4xx            ``Deferred`` and the circuit opens: address or credentials are wrong
    409, 412, any other               ``Unknown``
    ================================  =================================================================

    >>> outcome_of(Answer(422))
    Refused(detail='HTTP 422')
    """
    detail = f"HTTP {answer.status}"
    if 200 <= answer.status < 300:
        return Accepted(detail)
    if answer.status in CONTENT:
        return Refused(detail)
    if answer.status in NOT_NOW:
        return Deferred(detail, wait=retry_after(answer.headers, now or datetime.now(UTC)))
    if answer.status in CONFLICT or not 300 <= answer.status < 500:
        return Unknown(detail)
    return Deferred(f"{detail}: redirects are not followed" if answer.status < 400 else detail, breaker=True)


def retry_after(headers: Mapping[str, str], now: datetime) -> timedelta | None:
    """Return what ``Retry-After`` asks for, in seconds or as a date (RFC 9110, 10.2.3); None when it says nothing.

    >>> retry_after({"Retry-After": "120"}, datetime.now(UTC))
    datetime.timedelta(seconds=120)
    """
    text = next((value.strip() for name, value in headers.items() if name.lower() == "retry-after"), "")
    if _SECONDS.fullmatch(text):
        return timedelta(seconds=int(text))
    try:
        until = parsedate_to_datetime(text)
    except (ValueError, TypeError):
        return None
    if until.tzinfo is None:
        until = until.replace(tzinfo=UTC)
    return max(timedelta(0), until - now)


def secret_of(recipient: Recipient, environment: Mapping[str, str] = os.environ) -> str:
    """Return the recipient's secret from the environment or the file it names; ``""`` when it names neither.

    Raises ``ConfigurationError`` when what it names is missing or empty.
    """
    where = f"recipients/{recipient.id}.toml"
    if recipient.secret_env:
        secret = environment.get(recipient.secret_env, "")
        if not secret:
            raise ConfigurationError(where, f"the environment variable {recipient.secret_env} is not set")
        return secret
    if not recipient.secret_file:
        return ""
    try:
        secret = Path(recipient.secret_file).read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(where, f"secret_file cannot be read: {type(error).__name__}") from error
    if not secret:
        raise ConfigurationError(where, "secret_file is empty")
    return secret


def client_for(recipient: Recipient, *, bearer: str = "") -> httpx.Client:
    """Return a client that verifies the recipient, follows no redirect and ignores proxies of the environment.

    Raises ``ConfigurationError`` when a certificate or key cannot be read.
    """
    headers = {"Accept-Encoding": "identity", "User-Agent": "trial-gateway"}
    if bearer:
        headers["Authorization"] = f"Bearer {bearer}"
    return httpx.Client(
        verify=_trust(recipient),
        timeout=recipient.timeout,
        headers=headers,
        follow_redirects=False,
        trust_env=False,
        limits=httpx.Limits(max_connections=16, max_keepalive_connections=4, keepalive_expiry=5.0),
    )


def _trust(recipient: Recipient) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=recipient.ca_file or None)
        if recipient.client_certificate:
            context.load_cert_chain(recipient.client_certificate, recipient.client_key or None)
    except (OSError, ssl.SSLError) as error:
        where = f"recipients/{recipient.id}.toml"
        raise ConfigurationError(where, f"a certificate or key cannot be read: {type(error).__name__}") from error
    return context


def exchange(
    client: httpx.Client,
    method: str,
    url: str,
    *,
    content: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    max_bytes: int,
    seconds: float,
) -> Answer | Deferred | Unknown:
    """Make one request and read its answer, up to ``max_bytes`` and for at most about ``seconds``.

    What went wrong before anything was sent is ``Deferred``; after that it may have arrived: ``Unknown``.
    """
    try:
        with client.stream(method, url, content=content, headers=dict(headers or {})) as response:
            body, cut = _read(response, max_bytes, time.monotonic() + seconds)
            return Answer(response.status_code, response.headers, body, cut)
    except httpx.ConnectError as error:
        if _is_tls(error):
            return Deferred("TLS: the connection could not be trusted", breaker=True)
        return Deferred("could not connect")
    except (httpx.ConnectTimeout, httpx.PoolTimeout):
        return Deferred("could not connect in time")
    except (httpx.UnsupportedProtocol, httpx.InvalidURL, httpx.LocalProtocolError) as error:
        return Deferred(f"the address or a header is not valid: {type(error).__name__}", breaker=True)
    except httpx.HTTPError as error:
        return Unknown(type(error).__name__)


def _read(response: httpx.Response, max_bytes: int, until: float) -> tuple[bytes, bool]:
    """Read a body; give up on one that is too large, compressed against our wish, or drips."""
    encoding = response.headers.get("Content-Encoding", "identity")
    if encoding != "identity":
        return b"", True
    parts: list[bytes] = []
    size = 0
    for part in response.iter_raw():
        size += len(part)
        if size > max_bytes or time.monotonic() > until:
            return b"", True
        parts.append(part)
    return b"".join(parts), False


def _is_tls(error: BaseException | None) -> bool:
    """Whether a connection failed in TLS: the reason lies some causes down."""
    while error is not None:
        if isinstance(error, ssl.SSLError):
            return True
        error = error.__cause__ or error.__context__
    return False
