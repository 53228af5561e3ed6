"""The compiled rules of one type, and how they are applied to a value."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gateway.fhir.invariants_more import Invariant
from gateway.fhir.rules import Broken, Rule, Scope

_MOST_KNOWN = 512
"""Sets of elements remembered for a type: what a site sends comes in a few dozen, what comes from outside may not."""


class Shape:
    """The compiled rules of one type.

    Cheap to make: ``read`` fills it when the first value comes, as importing a model costs milliseconds. ``name`` is
    the model's. ``rules`` are by element, ``shadows`` by ``_element`` (the extensions of a primitive); ``of_names`` are
    the tests of the whole that ask only which elements are there, ``invariants`` the others. Elements that were found
    together once need no such test again: ``known`` maps them, in their order, to their rules. ``items`` are the rules
    of single items, ``pointers`` the elements that are References.
    """

    __slots__ = (
        *("invariants", "items", "known", "name", "of_names", "pointers", "read", "ready", "resource", "rules"),
        "shadows",
    )

    def __init__(self, name: str, read: Callable[[Shape], None]) -> None:
        self.name = name
        self.read = read
        self.ready = False
        self.resource = False
        self.rules: dict[str, Rule] = {}
        self.items: dict[str, Rule] = {}
        self.pointers: set[str] = set()
        self.shadows: dict[str, Rule] = {}
        self.of_names: tuple[Invariant, ...] = ()
        self.invariants: tuple[Invariant, ...] = ()
        self.known: dict[tuple[str, ...], tuple[Rule, ...]] = {}

    @property
    def after(self) -> tuple[Invariant, ...]:
        """The tests of the whole: what is required, what excludes what, the invariants."""
        if not self.ready:
            self.read(self)
        return self.of_names + self.invariants

    def check(self, value: Any, scope: Scope) -> None:
        """Raise ``Broken`` when ``value`` is not of this shape."""
        if not isinstance(value, dict):
            raise Broken("must be an object")
        names = tuple(value)
        known = self.known.get(names)
        if known is None:
            self._check_first(names, value, scope)
        else:
            self._check_known(names, known, value, scope)
        for test in self.invariants:
            test(value)

    def _check_known(
        self, names: tuple[str, ...], rules: tuple[Rule, ...], value: dict[str, Any], scope: Scope
    ) -> None:
        name = ""
        try:
            for name, rule, item in zip(names, rules, value.values(), strict=True):  # noqa: B007 - the path names it
                rule(item, scope)
        except Broken as broken:
            broken.steps.append(name)
            raise
        if scope.nulls:
            self._rest(value, scope)

    def _check_first(self, names: tuple[str, ...], value: dict[str, Any], scope: Scope) -> None:
        """Check elements not met together before, and which they are."""
        key = ""
        try:
            for key, item in value.items():
                rule = self.rules.get(key) or self._rare(key, value)
                rule(item, scope)
        except Broken as broken:
            broken.steps.append(str(key))
            raise
        self._rest(value, scope)
        for test in self.of_names:
            test(value)
        if len(self.known) < _MOST_KNOWN and self.rules.keys() >= set(names):
            self.known[names] = tuple([self.rules[name] for name in names])

    def element(self, name: str) -> Rule:
        """Return the rule of an element by its name alone. Raises ``Broken`` when there is none."""
        if not self.ready:
            self.read(self)
        rule = self.rules.get(name)
        if rule is None:
            raise Broken(f"is no element of {self.name}")
        return rule

    def _rare(self, key: str, value: dict[str, Any]) -> Rule:
        """Return the rule of ``_name``, or of any element when this is the first value of the shape."""
        if not self.ready:
            self.read(self)
            if key in self.rules:
                return self.rules[key]
        if key not in self.shadows:
            raise Broken(f"is no element of {self.name}")
        other = value.get(key[1:])
        if isinstance(other, list) and isinstance(value[key], list) and len(other) != len(value[key]):
            raise Broken(f"must be as long as {key[1:]}")
        return self.shadows[key]

    def _rest(self, value: dict[str, Any], scope: Scope) -> None:
        """Check what concerns few: emptiness (ele-1) and nulls."""
        if not value:
            raise Broken("is empty")
        if len(value) == 1 and "id" in value and not self.resource:
            raise Broken("has nothing but an id (ele-1)")
        if scope.nulls:
            scope.nulls -= _nulls(value)


def needs(elements: frozenset[str]) -> Invariant:
    """Return the test that each of ``elements`` is there; an extension may stand for a primitive one."""

    def test(value: dict[str, Any]) -> None:
        if not value.keys() >= elements:
            for element in sorted(elements - value.keys()):
                if "_" + element not in value:
                    raise Broken("is required", element)

    return test


def at_most_one(group: frozenset[str]) -> Invariant:
    """Return the test that one type of a choice is there at most; ``_valueX`` belongs to ``valueX``."""

    def test(value: dict[str, Any]) -> None:
        if len(hits := group & value.keys()) > 1:
            names = sorted({hit.removeprefix("_") for hit in hits})
            if len(names) > 1:
                raise Broken(f"only one of {' and '.join(names)} may be there")

    return test


def at_least_one(element: str, group: frozenset[str]) -> Invariant:
    """Return the test that one type of a required choice is there."""

    def test(value: dict[str, Any]) -> None:
        if group.isdisjoint(value):
            raise Broken("is required", element)

    return test


def _nulls(value: dict[str, Any]) -> int:
    """Return how many nulls the lists of ``value`` hold; raise ``Broken`` for one without an extension in its place."""
    count = 0
    for key, items in value.items():
        if key.startswith("_") or not isinstance(items, list):
            continue
        extensions = value.get("_" + key, ())
        for index, item in enumerate(items):
            if item is None:
                count += 1
                if index >= len(extensions) or extensions[index] is None:
                    raise Broken("is null", key, f"[{index}]")
    return count


def many(rule: Rule) -> Rule:
    """Return the rule of a list whose items follow ``rule``."""

    def check(values: Any, scope: Scope) -> None:
        if not isinstance(values, list):
            raise Broken("must be a list")
        if not values:
            raise Broken("is an empty list")
        index = 0
        try:
            for value in values:
                rule(value, scope)
                index += 1
        except Broken as broken:
            broken.steps.append(f"[{index}]")
            raise

    return check


def many_or_null(rule: Rule) -> Rule:
    """Return the rule of a list of primitives: a null stands for a value that has only an extension."""

    def check(value: Any, scope: Scope) -> None:
        if value is None:
            scope.nulls += 1
        else:
            rule(value, scope)

    return many(check)


def shadow_list(rule: Rule) -> Rule:
    """Return the rule of ``_name`` where ``name`` is a list: nulls stand for values without an extension."""

    def check(value: Any, scope: Scope) -> None:
        if value is not None:
            rule(value, scope)

    listed = many(check)

    def checked(values: Any, scope: Scope) -> None:
        listed(values, scope)
        if all(value is None for value in values):
            raise Broken("holds nothing but nulls")

    return checked
