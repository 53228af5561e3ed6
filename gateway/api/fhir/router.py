"""Every route of the FHIR API."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from gateway.api.fhir.capability import capability_rules
from gateway.api.fhir.exchange import Rule
from gateway.api.fhir.reading import Shelf, reading_rules
from gateway.api.fhir.searching import searching_rules


def fhir_rules(shelf: Shelf, more: Iterable[Rule], started_at: datetime) -> list[Rule]:
    """Return the rules of reading and searching, ``more`` of them, and the statement that tells of them all."""
    rules = [*reading_rules(shelf), *searching_rules(shelf), *more]
    return [*rules, *capability_rules(rules, started_at)]
