"""TLS for feeds: 1.2 or newer, and the certificate a sender must show."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any

from gateway.errors import ConfigurationError
from gateway.model.site import Tls


def server_context(tls: Tls, feed: str) -> ssl.SSLContext:
    """Return the context of a listening socket. Raises ``ConfigurationError`` naming the feed and the file."""
    if tls.client_subject and not tls.client_ca:
        raise ConfigurationError(f"feed {feed}", "client_subject needs client_ca")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(tls.certificate, tls.key)
        if tls.client_ca:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(tls.client_ca)
    except OSError as error:
        files = f"{tls.certificate}, {tls.key}" + (f", {tls.client_ca}" if tls.client_ca else "")
        raise ConfigurationError(f"feed {feed}", f"cannot use {files}: {error.strerror or 'not PEM'}") from error
    return context


def client_context(ca: str, certificate: str = "", key: str = "") -> ssl.SSLContext:
    """Return the context of a sender: ``ca`` verifies the far side (empty: the system's), host names are checked."""
    context = ssl.create_default_context(cafile=ca or None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if certificate:
        context.load_cert_chain(certificate, key or None)
    return context


def shows_subject(certificate: Mapping[str, Any] | None, subject: str) -> bool:
    """Return whether a peer certificate (as ``getpeercert`` gives it) has this common name or DNS name.

    >>> shows_subject({"subject": ((("commonName", "lis.example"),),)}, "LIS.example")
    True
    >>> shows_subject({"subjectAltName": (("DNS", "ehr.example"),)}, "lis.example")
    False
    """
    if not certificate:
        return False
    names = [value for part in certificate.get("subject", ()) for key, value in part if key == "commonName"]
    names += [value for key, value in certificate.get("subjectAltName", ()) if key == "DNS"]
    return subject.casefold() in (name.casefold() for name in names)
