"""Writing by trial offices, put together: who commits, and the routes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from gateway.bootstrap.parts import utc_now

if TYPE_CHECKING:
    from gateway.api.fhir.exchange import Rule
    from gateway.api.fhir.reading import Shelf
    from gateway.model.keys import Keys


def rules_of_writing(shelf: Shelf, keys: Keys, reading: Sequence[Rule]) -> list[Rule]:
    """Return the routes of writing and ``$validate``. ``reading``: what answers a Bundle's reads."""
    from gateway.api.fhir.batching import Reader
    from gateway.api.fhir.validating import validating_rules
    from gateway.api.fhir.writing import writing_rules
    from gateway.services.commit import Office
    from gateway.services.plan import Planner

    planner = Planner(shelf.sight.policy, utc_now)
    office = Office(shelf.store, shelf.sight, planner, keys.identity, utc_now)
    validating = validating_rules(office, shelf.types)
    return [*writing_rules(office, Reader([*reading, *validating])), *validating]
