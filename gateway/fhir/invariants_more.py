"""How invariants are written, and those that need more than a line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, Final

from gateway.fhir.rules import Broken

Object = dict[str, Any]
Invariant = Callable[[Object], None]
Holds = Callable[[Object], bool]


def rule(key: str, words: str, holds: Holds) -> Invariant:
    """Return an invariant that raises ``Broken`` with ``words`` where ``holds`` does not."""
    what = f"{words} ({key})"

    def invariant(it: Object) -> None:
        if not holds(it):
            raise Broken(what)

    return invariant


def wants(key: str, element: str, other: str) -> Invariant:
    """``element`` may stand only beside ``other``."""
    return rule(key, f"{element} needs {other}", lambda it: element not in it or other in it)


def not_both(key: str, one: str, other: str) -> Invariant:
    """``one`` and ``other`` exclude each other."""
    return rule(key, f"not both {one} and {other}", lambda it: one not in it or other not in it)


def all_or_none(key: str, one: str, other: str) -> Invariant:
    """``one`` and ``other`` come together."""
    return rule(key, f"{one} and {other} come together", lambda it: (one in it) == (other in it))


def at_least_one(key: str, *elements: str) -> Invariant:
    """One of ``elements`` must be there."""
    wanted = frozenset(elements)
    return rule(key, f"needs {' or '.join(elements)}", lambda it: not wanted.isdisjoint(it))


def has_choice(it: Object, name: str) -> bool:
    """Tell whether ``name[x]`` is there, with whatever type."""
    return any(
        key.removeprefix("_").startswith(name) and key.removeprefix("_")[len(name) :][:1].isupper() for key in it
    )


def extension_is_one_thing(it: Object) -> bool:
    """ext-1: beside ``url`` and ``id`` there are extensions or one value."""
    nested = "extension" in it
    return (len(it) - nested > ("url" in it) + ("id" in it) + ("_url" in it)) != nested


# --- order ------------------------------------------------------------------------------------------------------------


def in_order(first: str, second: str) -> bool:
    """Tell whether ``first`` is not after ``second``; with too little precision to tell, it is not.

    >>> in_order("2024-05", "2024-05-01"), in_order("2024-06", "2024-05-31")
    (True, False)
    >>> in_order("2024-05-01T10:00:00+02:00", "2024-05-01T09:00:00Z")
    True
    """
    if "T" in first and "T" in second:
        return _moment(first) <= _moment(second)
    shared = min(len(first.partition("T")[0]), len(second.partition("T")[0]))
    return first[:shared] <= second[:shared]


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text.replace(":60", ":59"))


def period_in_order(it: Object) -> bool:
    """per-1."""
    return "start" not in it or "end" not in it or in_order(it["start"], it["end"])


def task_in_order(it: Object) -> bool:
    """inv-1 of Task."""
    return "authoredOn" not in it or "lastModified" not in it or in_order(it["authoredOn"], it["lastModified"])


def range_in_order(it: Object) -> bool:
    """rng-2; quantities of different units are not compared."""
    low, high = it.get("low", {}), it.get("high", {})
    if "value" not in low or "value" not in high:
        return True
    if (low.get("code"), low.get("unit")) != (high.get("code"), high.get("unit")):
        return True
    return bool(low["value"] <= high["value"])


def no_comparator(*elements: str) -> Holds:
    """Return a test that none of the SimpleQuantity ``elements`` has a comparator."""
    return lambda it: all("comparator" not in it.get(element, ()) for element in elements)


def ratio_whole(it: Object) -> bool:
    """rat-1: both or, with an extension, neither."""
    if "numerator" in it or "denominator" in it:
        return "numerator" in it and "denominator" in it
    return "extension" in it


# --- resources --------------------------------------------------------------------------------------------------------


def codings(concept: Object | None) -> set[tuple[str, str]]:
    """Return (system, code) of each coding of a CodeableConcept."""
    return {(each.get("system", ""), each.get("code", "")) for each in (concept or {}).get("coding", ())}


def value_or_absence(it: Object) -> bool:
    """obs-6."""
    return "dataAbsentReason" not in it or not has_choice(it, "value")


def component_codes_differ(it: Object) -> bool:
    """obs-7; codings are the same when system and code are."""
    if "component" not in it or not has_choice(it, "value"):
        return True
    own = codings(it.get("code"))
    return not any(own & codings(component.get("code")) for component in it["component"])


def _in_error(it: Object) -> bool:
    return any(code == "entered-in-error" for _, code in codings(it.get("verificationStatus")))


def allergy_has_status(it: Object) -> bool:
    """ait-1."""
    return "clinicalStatus" in it or _in_error(it)


def no_status_in_error(it: Object) -> bool:
    """ait-2, con-5."""
    return "clinicalStatus" not in it or not _in_error(it)


def abated_is_not_active(it: Object) -> bool:
    """con-4."""
    if not has_choice(it, "abatement"):
        return True
    return any(code in {"resolved", "remission", "inactive"} for _, code in codings(it.get("clinicalStatus")))


def list_entries(element: str, mode: str) -> Holds:
    """Return a test that entries of a List have ``element`` only in ``mode``."""
    return lambda it: it.get("mode") == mode or all(element not in entry for entry in it.get("entry", ()))


def parameter_is_one(it: Object) -> bool:
    """inv-1 of Parameters."""
    return ("part" in it) + ("resource" in it) + has_choice(it, "value") == 1


def link_ids_differ(it: Object) -> bool:
    """que-2."""
    ids = list(_link_ids(it))
    return len(ids) == len(set(ids))


def _link_ids(it: Object) -> Iterator[str]:
    for item in it.get("item", ()):
        if "linkId" in item:
            yield item["linkId"]
        yield from _link_ids(item)


# --- Bundle -----------------------------------------------------------------------------------------------------------

_REQUESTED: Final = frozenset({"batch", "transaction", "history"})
_ANSWERED: Final = frozenset({"batch-response", "transaction-response", "history"})


def _every_entry(element: str, kinds: frozenset[str]) -> Holds:
    return lambda it: all((element in entry) == (it["type"] in kinds) for entry in it.get("entry", ()))


def _full_urls_differ(it: Object) -> bool:
    if it["type"] == "history":
        return True
    seen = set()
    for entry in it.get("entry", ()):
        if "fullUrl" in entry:
            version = entry.get("resource", {}).get("meta", {}).get("versionId", "")
            if (entry["fullUrl"], version) in seen:
                return False
            seen.add((entry["fullUrl"], version))
    return True


def _starts_with(kind: str, first: str) -> Holds:
    def holds(it: Object) -> bool:
        if it["type"] != kind:
            return True
        entry: Object = next(iter(it.get("entry", ())), {})
        return bool(entry.get("resource", {}).get("resourceType") == first)

    return holds


BUNDLE: Final[tuple[Invariant, ...]] = (
    rule(
        "bdl-1",
        "total is for searches and histories",
        lambda it: "total" not in it or it["type"] in {"searchset", "history"},
    ),
    rule(
        "bdl-2",
        "entry.search is for searches",
        lambda it: it["type"] == "searchset" or all("search" not in entry for entry in it.get("entry", ())),
    ),
    rule(
        "bdl-3", "batch, transaction and history entries have a request, no others", _every_entry("request", _REQUESTED)
    ),
    rule("bdl-4", "response and history entries have a response, no others", _every_entry("response", _ANSWERED)),
    rule("bdl-7", "each fullUrl stands once per version", _full_urls_differ),
    rule(
        "bdl-9",
        "a document needs an identifier",
        lambda it: it["type"] != "document" or {"system", "value"} <= it.get("identifier", {}).keys(),
    ),
    rule("bdl-10", "a document needs a timestamp", lambda it: it["type"] != "document" or "timestamp" in it),
    rule("bdl-11", "a document starts with a Composition", _starts_with("document", "Composition")),
    rule("bdl-12", "a message starts with a MessageHeader", _starts_with("message", "MessageHeader")),
)
