"""What the HTTP recipients share: the client, one exchange, and what an answer means (ARCHITECTURE, decision 10)."""

from __future__ import annotations

import os
import re
import socket
import ssl
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Final

from adapters.recipient.client import (
    Answer,
    Client,
    InvalidRequest,
    NoAnswer,
    NotAdmitted,
    NotConnected,
    NotTrusted,
    Request,
)
from gateway.errors import ConfigurationError
from gateway.model.delivery import Accepted, Deferred, Outcome, Refused, Unknown
from gateway.model.recipient import Recipient
from gateway.tls import client_context

CONTENT: Final = frozenset({400, 413, 422})
"""The recipient will never take this content: a person must look."""

NOT_NOW: Final = frozenset({408, 425, 429, 503})
"""Nothing happened; later it may."""

CONFLICT: Final = frozenset({409, 412})
"""Another version is there, perhaps the very one that was to be sent."""

FHIR_JSON: Final = "application/fhir+json"
_SECONDS: Final = re.compile(r"\d{1,9}")


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

    A date is one of the server's clock, which its ``Date`` header shows; ours (``now``) may be another.

    >>> retry_after({"Retry-After": "120"}, datetime.now(UTC))
    datetime.timedelta(seconds=120)
    """
    told = {name.lower(): value.strip() for name, value in headers.items()}
    text = told.get("retry-after", "")
    if _SECONDS.fullmatch(text):
        return timedelta(seconds=int(text))
    until = _date(text)
    return None if until is None else max(timedelta(0), until - (_date(told.get("date", "")) or now))


def _date(text: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


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


def client_for(recipient: Recipient, *, bearer: str = "") -> Client:
    """Return a client that verifies the recipient, follows no redirect and ignores proxies of the environment.

    Raises ``ConfigurationError`` when a certificate or key cannot be read.
    """
    headers = {"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": "trial-gateway"}
    if bearer:
        headers["Authorization"] = f"Bearer {bearer}"
    return Client(_trust(recipient), recipient.timeout, headers)


def _trust(recipient: Recipient) -> ssl.SSLContext:
    where = f"recipients/{recipient.id}.toml"
    return client_context(where, recipient.ca_file, recipient.client_certificate, recipient.client_key)


def exchange(
    client: Client,
    method: str,
    url: str,
    *,
    content: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    max_bytes: int,
    seconds: float,
) -> Answer | Deferred | Unknown:
    """Make one request and read its answer, up to ``max_bytes`` and for at most ``seconds``.

    What went wrong before anything was sent is ``Deferred``; after that it may have arrived: ``Unknown``.
    """
    try:
        return client.ask(Request(method, url, content, headers or {}, max_bytes), time.monotonic() + seconds)
    except NotTrusted as error:
        return Deferred(f"TLS: the connection could not be trusted{_why(error)}", breaker=True)
    except NotConnected as error:
        late = isinstance(error.__cause__, TimeoutError)
        return Deferred("could not connect in time" if late else f"could not connect{_why(error)}")
    except InvalidRequest as error:
        return Deferred(f"the address or a header is not valid: {error}", breaker=True)
    except NoAnswer as error:
        return Unknown(str(error))


def _why(error: NotConnected) -> str:
    """Say what a person can mend: a certificate, or a name that leads nowhere."""
    cause = error.__cause__
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f": {cause.verify_message.rstrip('.')}"
    if isinstance(cause, NotAdmitted):
        return ": its name leads to an address that may not be asked"
    return ": its name is not known" if isinstance(cause, socket.gaierror) else ""
