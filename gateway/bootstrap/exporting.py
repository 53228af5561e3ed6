"""Bulk exports and operations, put together from settings: their routes, and who writes exports."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING

from gateway.bootstrap.parts import utc_now

if TYPE_CHECKING:
    from gateway.api.fhir.exchange import Rule
    from gateway.api.fhir.reading import Shelf
    from gateway.model.keys import Keys
    from gateway.ports import Answer, Store
    from gateway.release.policy import Policy
    from gateway.services.exporting import Exporter
    from gateway.settings import Settings


def exporting_rules(settings: Settings, shelf: Shelf, keys: Keys, note: Callable[[Answer], None]) -> list[Rule]:
    """Return the routes of bulk exports and operations, and put our own terminology on the shelf.

    ``note`` keeps what a file discloses.
    """
    from gateway.api.fhir.bulk import Counter, bulk_rules
    from gateway.api.fhir.operations import operation_rules
    from gateway.api.fhir.terminology import terminology_rules, terminology_sources
    from gateway.bootstrap.terminology import terminology_of
    from gateway.services.export import ExportDesk, ExportLimits

    wanted = settings.gateway.fhir
    limits = ExportLimits(timedelta(hours=wanted.export_hours), wanted.exports_at_once, wanted.exports_kept)
    desk = ExportDesk(shelf.store, shelf.sight, utc_now, limits)
    bulk = bulk_rules(Counter(desk, shelf.sight.policy, note, utc_now, keys.identity))
    terminology = terminology_of(settings)
    shelf.sources.update(terminology_sources(terminology))
    return [*bulk, *operation_rules(shelf, wanted.small_cells), *terminology_rules(terminology)]


def exporter_of(store: Store, policy: Policy, owner: str) -> Exporter:
    """Return who writes the exports of this process."""
    from gateway.services.concerns import Concerns
    from gateway.services.enrolments import Enrolments
    from gateway.services.exporting import Exporter
    from gateway.services.pull import Sight

    return Exporter(store, Sight(policy, Enrolments(policy), Concerns()), utc_now, owner)
