"""History Bundles, a page at a time (FHIR R4, 3.1.0.11 history)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from gateway.api.fhir.bundles import address, history
from gateway.api.fhir.exchange import Asked, Told, etag
from gateway.errors import RequestRefused
from gateway.services.histories import Grave, Place, TypeHistory
from gateway.services.made import Form, shown_of, version_of
from gateway.services.page_tokens import Page, PageTokens, Position
from gateway.services.search import Search

USUAL: Final = 50
"""Versions of a page when ``_count`` is not given."""

MOST: Final = 1000
"""Versions of a page at most."""

_TAKEN: Final = frozenset(("_count", "_since"))
_ALL_ALONG: Final = datetime(1970, 1, 1, tzinfo=UTC)


class History:
    """A history that is asked for: ``_count`` 0 asks how many versions there are."""

    def __init__(self, asked: Asked, tokens: PageTokens) -> None:
        """Read its parameters. Raises ``RequestRefused`` (400) for one that cannot be done."""
        self._asked = asked
        self._tokens = tokens
        pairs, self._trail = self._begun()
        self._pairs = tuple((name, value) for name, value in pairs if name in _TAKEN)
        said = dict(self._pairs)
        self._count = _count(said.get("_count", str(USUAL)))
        self._since = _since(said.get("_since"))

    def _begun(self) -> tuple[Sequence[tuple[str, str]], tuple[bytes, ...]]:
        """Return the parameters and where to go on (nothing: at the beginning)."""
        asked = self._asked
        token = dict(asked.parameters).get("_page")
        if token is not None:
            page = self._tokens.page(asked.caller.client, token)
            if (page.release, page.path) != (asked.release, asked.path):
                raise RequestRefused(400, "value", "this page is of another history", ("_page",))
            return page.pairs, page.position.trail
        unknown = tuple(sorted({name for name, _ in asked.parameters} - _TAKEN))
        if unknown and not asked.lenient:
            what = "a history takes _count and _since, and is told newest first"
            raise RequestRefused(400, "not-supported", what, unknown)
        return asked.parameters, ()

    def of_one(self, past: Sequence[Form], grave: Grave | None = None) -> Told:
        """Return a page of the history of one resource; ``past`` newest first."""
        everything: list[Form | Grave] = [] if grave is None else [grave]
        everything += past
        everything = [one for one in everything if self._since is None or _at(one) >= self._since]
        behind = int(self._trail[0]) if self._trail else None
        rest = [one for one in everything if behind is None or _number(one) < behind]
        page = rest[: self._count]
        trail = (str(_number(page[-1])).encode(),) if page and len(rest) > self._count else None
        return self._told(page, len(everything), trail)

    def of_type(self, search: Search) -> Told:
        """Return a page of the history of a type."""
        found = TypeHistory(search, self._asked.type, self._since)
        if not self._count:
            return self._told((), found.total(), None)
        after, total = _place(self._trail)
        page = found.behind(after, self._count + 1)
        versions = [one for _, one in page[: self._count]]
        if len(page) <= self._count:
            return self._told(versions, total if self._trail else len(versions), None)
        total = total if self._trail else found.total_of_few()
        return self._told(versions, total, _trail(page[self._count - 1][0], total))

    def _told(self, versions: Sequence[Form | Grave], total: int | None, trail: tuple[bytes, ...] | None) -> Told:
        asked = self._asked
        links = {"self": address(asked.base, asked.path, self._pairs)}
        if trail is not None:
            page = Page(asked.release, asked.path, self._pairs, Position("", "", "", "", trail))
            links["next"] = address(asked.base, asked.path, [("_page", self._tokens.token(asked.caller.client, page))])
        entries = [_entry(asked, one) for one in versions]
        shown = shown_of(one for one in versions if not isinstance(one, Grave))
        return Told(200, history(entries, total, links), shown=shown)


def _trail(place: Place, total: int | None) -> tuple[bytes, ...]:
    said = "" if total is None else str(total)
    return tuple(str(one).encode() for one in (said, *place))


def _place(trail: tuple[bytes, ...]) -> tuple[Place | None, int | None]:
    """Return where to go on, and how many there are in all as far as that was told."""
    if not trail:
        return None, None
    total, moment, id, version, view, *internal = (one.decode() for one in trail)
    return Place(moment, id, int(version), int(view), *internal), int(total) if total else None


# --- one version ------------------------------------------------------------------------------------------------------


def _entry(asked: Asked, one: Form | Grave) -> tuple[str, bytes, dict[str, Any]]:
    moment = _at(one).strftime("%Y-%m-%dT%H:%M:%SZ")
    if isinstance(one, Grave):
        reference, text = f"{one.type}/{one.id}", b""
        request, status, version = {"method": "DELETE", "url": reference}, "204", f'W/"{one.version}"'
    else:
        reference, text, version = one.reference, one.text, etag(one)
        first = _number(one) == 1
        request = {"method": "POST", "url": one.type} if first else {"method": "PUT", "url": reference}
        status = "201" if first else "200"
    response = {"status": status, "etag": version, "lastModified": moment}
    return f"{asked.base}/{reference}", text, {"request": request, "response": response}


def _number(one: Form | Grave) -> int:
    return one.version if isinstance(one, Grave) else int(version_of(one))


def _at(one: Form | Grave) -> datetime:
    """Return when it could be had first; what has been there all along comes before everything."""
    return one.at if isinstance(one, Grave) else one.last_updated or _ALL_ALONG


# --- parameters -------------------------------------------------------------------------------------------------------


def _since(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        since = datetime.fromisoformat(text)
    except ValueError:
        since = None
    if since is None or since.tzinfo is None:
        raise RequestRefused(400, "value", "_since is an instant with its zone, 2026-03-01T00:00:00Z", ("_since",))
    return since


def _count(text: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise RequestRefused(400, "value", "_count is a whole number", ("_count",))
    return min(int(text[:9]), MOST)
