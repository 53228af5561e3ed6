"""Which rule answers a method and a path below the base (RFC 9110, 15.5.5 and 15.5.6: 404 and 405)."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.api.fhir.exchange import Rule
from gateway.errors import RequestRefused


class Routes:
    """Finds the rule for a method and path: literal segments come before named ones."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._by_length: dict[int, list[tuple[tuple[str, ...], Rule]]] = {}
        self._types = {type for rule in rules for type in (*rule.types, rule.path.partition("/")[0])}
        for rule in rules:
            segments = tuple(rule.path.split("/")) if rule.path else ()
            self._by_length.setdefault(len(segments), []).append((segments, rule))
        for known in self._by_length.values():
            known.sort(key=lambda one: [segment.startswith("{") for segment in one[0]])

    def find(self, method: str, path: str) -> tuple[Rule, dict[str, str]]:
        """Return the rule and what its path names. Raises ``RequestRefused``: 404, 405."""
        segments = tuple(path.split("/")) if path else ()
        allowed: set[str] = set()
        for pattern, rule in self._by_length.get(len(segments), ()):
            names = _names(pattern, segments)
            if names is None or ("type" in names and rule.types and names["type"] not in rule.types):
                continue
            if rule.method == method:
                return rule, names
            allowed.add(rule.method)
        if allowed:
            what = f"this is not done by {method}, but by {' or '.join(sorted(allowed))}"
            methods = allowed | {"HEAD"} if "GET" in allowed else allowed
            raise RequestRefused(405, "not-supported", what, headers={"Allow": ", ".join(sorted(methods))})
        if segments and segments[0][:1].isupper() and segments[0] not in self._types:
            raise RequestRefused(404, "not-supported", "resources of this type are not served")
        raise RequestRefused(404, "not-found", "nothing is served at this address")


def _names(pattern: tuple[str, ...], segments: tuple[str, ...]) -> dict[str, str] | None:
    names = {}
    for expected, segment in zip(pattern, segments, strict=True):
        if expected.startswith("{"):
            # A resource type begins with a capital, an operation with $: neither is an id.
            if not segment or segment.startswith(("$", "_")) or (expected == "{type}" and not segment[:1].isupper()):
                return None
            names[expected[1:-1]] = segment
        elif expected != segment:
            return None
    return names
