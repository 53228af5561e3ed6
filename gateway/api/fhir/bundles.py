"""Bundles of answers, put together from resources as they were released (FHIR R4, Bundle)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from gateway.fhir import codec

Entry = tuple[str, bytes, str]
"""Full URL, resource as JSON, search mode (``match``, ``include``, ``outcome``)."""


def searchset(entries: Iterable[Entry], total: int | None, links: Mapping[str, str]) -> bytes:
    """Return a searchset Bundle. ``total`` counts matches alone; without entries there is no ``entry``."""
    listed = b",".join(
        b'{%b"resource":%b,"search":{"mode":"%b"}}' % (_full(url), text, mode.encode()) for url, text, mode in entries
    )
    return _bundle("searchset", total, links, listed)


def history(entries: Sequence[tuple[str, bytes, dict[str, Any]]], total: int | None, links: Mapping[str, str]) -> bytes:
    """Return a page of a history Bundle, newest first; each entry with its ``request`` and ``response``.

    A deletion has no resource (``b""``). ``total`` counts the entries of all pages.
    """
    listed = b",".join(
        b"{%b%b%b}" % (_full(url), b'"resource":%b,' % text if text else b"", codec.encode(said)[1:-1])
        for url, text, said in entries
    )
    return _bundle("history", total, links, listed)


def _bundle(kind: str, total: int | None, links: Mapping[str, str], entries: bytes) -> bytes:
    head: dict[str, Any] = {"resourceType": "Bundle", "type": kind}
    if total is not None:
        head["total"] = total
    head["link"] = [{"relation": relation, "url": url} for relation, url in links.items()]
    text = codec.encode(head)
    return b'%b,"entry":[%b]}' % (text[:-1], entries) if entries else text


def _full(url: str) -> bytes:
    return b'"fullUrl":%b,' % codec.encode(url)


def address(base: str, path: str, pairs: Iterable[tuple[str, str]]) -> str:
    """Return the URL of a request."""
    query = urlencode(list(pairs), safe="|,:$")
    return f"{base}/{path}" + (f"?{query}" if query else "")
