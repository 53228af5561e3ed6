"""Which certificate a sender must show on a feed with mutual TLS."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any

from gateway.errors import ConfigurationError
from gateway.model.site import Tls
from gateway.tls import server_context


def feed_context(tls: Tls, feed: str) -> ssl.SSLContext:
    """Return the context of a feed's port. Raises ``ConfigurationError`` naming the feed and the file."""
    if tls.client_subject and not tls.client_ca:
        raise ConfigurationError(f"feed {feed}", "client_subject needs client_ca")
    if tls.client_ca and not tls.client_subject:
        what = "client_ca needs client_subject: else any certificate of this authority is taken, another site's too"
        raise ConfigurationError(f"feed {feed}", what)
    return server_context(f"feed {feed}", tls.certificate, tls.key, tls.client_ca)


def fingerprint(transport: asyncio.BaseTransport) -> str:
    """Return the SHA-256 of the certificate the far side showed, in hex: it names no person, as a subject might."""
    shown = transport.get_extra_info("ssl_object").getpeercert(binary_form=True)
    return hashlib.sha256(shown).hexdigest() if shown else ""


def shows_subject(certificate: Mapping[str, Any] | None, subjects: Iterable[str]) -> bool:
    """Return whether a peer certificate (as ``getpeercert`` gives it) is of one of these subjects.

    A subject is a DNS name, or a common name where the certificate has no DNS name; ``*`` stands for one label.

    >>> shows_subject({"subject": ((("commonName", "lis.example"),),)}, ["LIS.example"])
    True
    >>> shows_subject({"subjectAltName": (("DNS", "a.b.lis.example"),)}, ["*.lis.example"])
    False
    """
    if not certificate:
        return False
    names = [value for kind, value in certificate.get("subjectAltName", ()) if kind == "DNS"]
    names = names or [value for part in certificate.get("subject", ()) for kind, value in part if kind == "commonName"]
    return any(_is_of(name.casefold(), subject.casefold()) for name in names for subject in subjects)


def _is_of(name: str, subject: str) -> bool:
    if "*" in name:
        return False  # a wildcard certificate says nothing about who shows it
    labels, wanted = name.split("."), subject.split(".")
    return len(labels) == len(wanted) and all(map(fnmatchcase, labels, map(_literal, wanted)))


def _literal(label: str) -> str:
    """Let ``*`` alone be a pattern."""
    return label.replace("[", "[[]").replace("?", "[?]")
