"""The FHIR API, put together from settings: who may ask, what is served, where what is disclosed is noted."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from gateway.bootstrap.parts import utc_now

if TYPE_CHECKING:
    from fastapi import APIRouter

    from gateway.api.fhir.reading import Shelf
    from gateway.model.keys import Keys
    from gateway.ports import Store
    from gateway.release.policy import Policy
    from gateway.services.authorize import Authorizer
    from gateway.settings import Settings


def shelf_of(store: Store, policy: Policy, keys: Keys) -> Shelf:
    """Return what reading needs."""
    from gateway.api.fhir.reading import Shelf
    from gateway.services.concerns import Concerns
    from gateway.services.enrolments import Enrolments
    from gateway.services.page_tokens import PageTokens
    from gateway.services.pull import Sight
    from gateway.services.study_groups import study_groups

    groups = partial(study_groups, id_key=keys.identity)
    sight = Sight(policy, Enrolments(policy), Concerns())
    return Shelf(store, sight, PageTokens(keys.pseudonym), {"Group": groups})


def fhir_api(settings: Settings, store: Store, policy: Policy, keys: Keys, authorizer: Authorizer) -> APIRouter:
    """Return the routes of ``/fhir/r4`` and ``/fhir/r5``."""
    from gateway.api.fhir.auditing import auditing_rules
    from gateway.api.fhir.edge import Edge, fhir_router
    from gateway.api.fhir.reading import reading_rules
    from gateway.api.fhir.router import fhir_rules
    from gateway.api.fhir.searching import searching_rules
    from gateway.bootstrap.exporting import exporting_rules
    from gateway.bootstrap.notifying import subscribing_rules
    from gateway.bootstrap.writing import rules_of_writing
    from gateway.services.answer_log import AnswerLog

    shelf = shelf_of(store, policy, keys)
    wanted = settings.gateway.fhir
    answers = AnswerLog(store)
    edge = Edge(store, authorizer, answers.note, utc_now, wanted.base_url)
    more = [*auditing_rules(shelf), *exporting_rules(settings, shelf, keys, answers.note)]
    more += subscribing_rules(settings, shelf)
    more += rules_of_writing(shelf, keys, [*reading_rules(shelf), *searching_rules(shelf), *more])
    return fhir_router(edge, fhir_rules(shelf, more, utc_now()))
