"""A request for each route of the FHIR API, made of its rule: a route of a kind unknown here is a ``KeyError``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import urlencode

from gateway.api.fhir.exchange import Rule
from gateway.fhir import codec
from gateway.model.names import BASE, OBSERVATION_CODES
from tests.subscribing import r4, r5

Resource = dict[str, Any]


class Route(NamedTuple):
    """A rule in one release, by what it says."""

    release: str
    method: str
    path: str
    types: tuple[str, ...]
    interaction: str


def routes(rules: Iterable[Rule]) -> dict[Route, Rule]:
    """Every route of a table of rules."""
    return {
        Route(release, rule.method, rule.path, rule.types, rule.interaction): rule
        for rule in rules
        for release in rule.releases
    }


@dataclass(frozen=True)
class Target:
    """What a request is to be about. ``resource``: what it sends of it, where it sends any."""

    release: str
    type: str
    id: str
    resource: Resource


@dataclass(frozen=True)
class Request:
    """A request: ``path`` is below the base and has its parameters, ``body`` JSON values, or a form as text."""

    method: str
    path: str
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def content(self) -> bytes:
        """The body as it is sent."""
        form = self.body.encode() if isinstance(self.body, str) else None
        return b"" if self.body is None else form or codec.encode(self.body)

    @property
    def entry(self) -> Resource:
        """The entry of a Bundle that asks the same."""
        names = {"If-Match": "ifMatch", "If-None-Exist": "ifNoneExist"}
        said = {names[name]: text for name, text in self.headers.items()}
        made: Resource = {"request": {"method": self.method, "url": self.path, **said}}
        return made | ({"resource": self.body} if self.body is not None else {})


def request(route: Route, about: Target) -> Request:
    """A request that is done where the client may do it and sees what it is about."""
    path = route.path.format(type=about.type, id=about.id, version=1, number=1)
    return _MADE[route.interaction](route, path, about)


def probe(route: Route, about: Target) -> Request:
    """A request that changes nothing whatever it is about, and is answered otherwise where it finds that."""
    made = request(route, about)
    if route.interaction == "create" and route.types != ("Subscription",):
        return Request("POST", made.path, {"resourceType": about.type, "status": 5}, {"If-None-Exist": _by_id(about)})
    if route.interaction == "update" and "{id}" not in route.path:
        return Request("PUT", made.path, {"resourceType": about.type, "status": 5}, {"If-Match": 'W/"99"'})
    return made


# --- by interaction ---------------------------------------------------------------------------------------------------


def _by_id(about: Target) -> str:
    return urlencode({"_id": about.id})


def _plain(route: Route, path: str, about: Target) -> Request:
    return Request(route.method, path)


def _search(route: Route, path: str, about: Target) -> Request:
    if route.method == "GET":
        return Request("GET", f"{path}?{_by_id(about)}")
    return Request("POST", path, _by_id(about), {"Content-Type": "application/x-www-form-urlencoded"})


def _found(route: Route, path: str, about: Target) -> str:
    """The path, with the search that finds what has no id in it."""
    return path if "{id}" in route.path else f"{path}?{_by_id(about)}"


def _create(route: Route, path: str, about: Target) -> Request:
    return Request("POST", path, {name: value for name, value in about.resource.items() if name != "id"})


def _update(route: Route, path: str, about: Target) -> Request:
    headers = {} if route.types == ("Subscription",) else {"If-Match": "*"}
    return Request("PUT", _found(route, path, about), about.resource | {"id": about.id}, headers)


def _patch(route: Route, path: str, about: Target) -> Request:
    operation = [("type", "valueCode", "replace"), ("path", "valueString", f"{about.type}.status")]
    operation.append(("value", "valueCode", str(about.resource.get("status", "active"))))
    parts = [{"name": name, key: value} for name, key, value in operation]
    patch = {"resourceType": "Parameters", "parameter": [{"name": "operation", "part": parts}]}
    return Request("PATCH", _found(route, path, about), patch)


def _delete(route: Route, path: str, about: Target) -> Request:
    return Request("DELETE", _found(route, path, about))


def _bundle(route: Route, path: str, about: Target) -> Request:
    named = f"{about.type}/{about.id}"
    entries = [Request("GET", named), _patch(Route("", "PATCH", "{type}/{id}", (), "patch"), named, about)]
    return Request("POST", path, bundle(route.interaction, [one.entry for one in entries]))


def bundle(kind: str, entries: Iterable[Resource]) -> Resource:
    """A Bundle to be done."""
    return {"resourceType": "Bundle", "type": kind, "entry": list(entries)}


def _validate(route: Route, path: str, about: Target) -> Request:
    mode = "update" if "{id}" in route.path else "delete" if "{type}" in route.path else "create"
    return Request("POST", f"{path}?mode={mode}", about.resource | {"id": about.id})


def _export(route: Route, path: str, about: Target) -> Request:
    return Request(route.method, path, None, {"Prefer": "respond-async"})


def _asked(names: Callable[[Target], Mapping[str, str]]) -> Callable[[Route, str, Target], Request]:
    """An operation with simple parameters, in the URL or in Parameters."""

    def made(route: Route, path: str, about: Target) -> Request:
        pairs = names(about)
        if route.method == "GET":
            return Request("GET", f"{path}?{urlencode(pairs)}")
        listed = [{"name": name, "valueString": value} for name, value in pairs.items()]
        return Request("POST", path, {"resourceType": "Parameters", "parameter": listed})

    return made


def _expand(route: Route, path: str, about: Target) -> Request:
    named = {"filter": "GT"} if "{id}" in route.path else {"url": f"{BASE}/ValueSet/observation"}
    return _asked(lambda _: named)(route, path, about)


_CODE = {"R4": "code", "R5": "sourceCode"}
_MADE: Mapping[str, Callable[[Route, str, Target], Request]] = {
    "capabilities": _plain,
    "read": _plain,
    "vread": _plain,
    "history-instance": _plain,
    "history-type": _plain,
    "search-type": _search,
    "create": _create,
    "update": _update,
    "patch": _patch,
    "delete": _delete,
    "transaction": _bundle,
    "batch": _bundle,
    "$validate": _validate,
    "$everything": _plain,
    "$enrollment-summary": _plain,
    "$export": _export,
    "$export-status": _plain,
    "$export-file": _plain,
    "$status": _plain,
    "$events": _plain,
    "$translate": _asked(lambda about: {"system": OBSERVATION_CODES, _CODE[about.release]: "GT-VCN-PBMC"}),
    "$lookup": _asked(lambda about: {"system": OBSERVATION_CODES, "code": "GT-VCN-PBMC"}),
    "$expand": _expand,
}


# --- what is sent -----------------------------------------------------------------------------------------------------


def fresh(release: str, type: str) -> Resource:
    """A new resource of a type, as little of it as can be."""
    if type == "Subscription":
        return r4() if release == "R4" else r5()
    least: Resource = {"resourceType": type, "status": "active"}
    if type == "Group":
        kept = {"actual": True} if release == "R4" else {"membership": "definitional"}
        least = {"resourceType": type, "type": "person", **kept}
    return least if type != "Organization" else {"resourceType": type, "name": "A new one"}
