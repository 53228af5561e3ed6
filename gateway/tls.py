"""TLS of every socket that can be reached from outside: the one place that decides what is safe.

1.2 or newer, ephemeral keys and authenticated ciphers only, the far side's certificate and name always checked.
"""

from __future__ import annotations

import hashlib
import ssl
from base64 import urlsafe_b64encode
from datetime import datetime
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import load_pem_x509_certificates

from gateway.errors import ConfigurationError

CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20:@SECLEVEL=2"
"""Of TLS 1.2; every suite of TLS 1.3 is of this kind. Keys weaker than RSA 2048 are refused."""

HANDSHAKE_SECONDS: Final = 10.0
"""Within which whoever connects must have shown that it speaks TLS."""


def server_context(
    where: str, certificate: str, key: str, client_ca: str = "", *, optional: bool = False
) -> ssl.SSLContext:
    """Return the context of a listening socket, from PEM files; with ``client_ca`` it takes who it signed alone.

    ``optional``: it takes those too who show none. Raises ``ConfigurationError`` naming ``where`` and the file.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _load(context, where, certificate, key)
    if client_ca:
        context.verify_mode = ssl.CERT_OPTIONAL if optional else ssl.CERT_REQUIRED
        _trust(context, where, client_ca)
    return hardened(context)


def client_context(where: str, ca: str = "", certificate: str = "", key: str = "") -> ssl.SSLContext:
    """Return the context of a client: ``ca`` verifies the far side (empty: the system's), its name is checked.

    Raises ``ConfigurationError`` naming ``where`` and the file.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if ca:
        _trust(context, where, ca)
    else:
        context.load_default_certs()
    if certificate:
        _load(context, where, certificate, key)
    return hardened(context)


def checked(context: ssl.SSLContext) -> ssl.SSLContext:
    """Return a client's context that somebody else made, so that it checks the far side's certificate and name."""
    context.check_hostname = False  # may not be switched on before the other
    context.verify_mode = ssl.CERT_REQUIRED
    context.check_hostname = True
    return hardened(context)


def hardened(context: ssl.SSLContext) -> ssl.SSLContext:
    """Return a context that somebody else made, with what is not safe taken out of it."""
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    return context


def ends_at(file: str) -> datetime | None:
    """Return when the first of the certificates in a PEM file ends (UTC); None when there is none to read."""
    try:
        certificates = load_pem_x509_certificates(Path(file).read_bytes())
    except (OSError, ValueError):
        return None
    return min(one.not_valid_after_utc for one in certificates)


def thumbprint(certificate: bytes) -> str:
    """Return the thumbprint of a certificate (DER): x5t#S256 of RFC 8705, 3.1."""
    return urlsafe_b64encode(hashlib.sha256(certificate).digest()).rstrip(b"=").decode("ascii")


def thumbprints_of(file: str) -> tuple[str, ...]:
    """Return the thumbprints of the certificates in a PEM file. Raises ``ConfigurationError`` when there is none."""
    try:
        certificates = load_pem_x509_certificates(Path(file).read_bytes())
    except OSError as error:
        raise ConfigurationError(file, f"cannot be read: {error.strerror}") from None
    except ValueError:
        raise ConfigurationError(file, "holds no certificate in PEM form") from None
    return tuple(thumbprint(one.public_bytes(Encoding.DER)) for one in certificates)


def _load(context: ssl.SSLContext, where: str, certificate: str, key: str) -> None:
    try:
        context.load_cert_chain(certificate, key or None, _no_passphrase)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        files = ", ".join(file for file in (certificate, key) if file)
        raise ConfigurationError(where, f"cannot use {files}: {_reason(error)}") from None


def _trust(context: ssl.SSLContext, where: str, ca: str) -> None:
    try:
        context.load_verify_locations(ca)
    except OSError as error:
        raise ConfigurationError(where, f"cannot use {ca}: {_reason(error)}") from None


def _no_passphrase() -> str:
    """Refuse an encrypted key instead of asking on a terminal that is not there."""
    raise ValueError("the key is encrypted; keep it in clear, readable for the gateway alone")


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return f"not PEM, or key and certificate are not a pair ({error.reason or 'unreadable'})"
    return (error.strerror if isinstance(error, OSError) else str(error)) or type(error).__name__
