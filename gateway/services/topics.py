"""The SubscriptionTopics: of what clients can ask to be told, and what of a stored change is an event of one.

What happened is read off the released forms: a change that a view may not see, or that changes nothing in what it sees,
is none (FHIR R5, SubscriptionTopic; R5 Subscriptions Backport IG 1.1).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from gateway.errors import RequestRefused
from gateway.fhir.search.query import Query, parse
from gateway.model.names import BASE
from gateway.model.subscription import ENTITLED, Criterion, Terms, Trigger
from gateway.release.policy import Rights
from gateway.services.limits import NOWHERE

STUDY: Final = "study"
"""The filter that names a study: the client's views are of studies, whatever the type."""


@dataclass(frozen=True, slots=True)
class Topic:
    """What can be asked for. ``filters``: by type of resource, the search parameters an event can be limited by.

    ``on_status``: an event is a status that is another; else each new or corrected version.
    """

    id: str
    title: str
    description: str
    filters: Mapping[str, tuple[str, ...]]
    on_status: bool

    @property
    def url(self) -> str:
        """The canonical URL."""
        return f"{BASE}/SubscriptionTopic/{self.id}"

    @property
    def types(self) -> tuple[str, ...]:
        """The types of which its events speak."""
        return tuple(self.filters)


SUBJECT_STATUS: Final = Topic(
    "subject-status",
    "Status of a subject changed",
    "A ResearchSubject is new to the client, or its status (R5: its subject state) is another than before.",
    {"ResearchSubject": (STUDY, "patient", "individual", "status")},
    on_status=True,
)
OBSERVATION: Final = Topic(
    "observation",
    "New or corrected observation",
    "An Observation is new, or something in what the client sees of it is another than before.",
    {"Observation": (STUDY, "patient", "subject", "code", "status", "category")},
    on_status=False,
)
REFERRAL_STATUS: Final = Topic(
    "referral-status",
    "Status of a referral changed",
    "A ServiceRequest or Task of a referral is new to the client, or its status is another than before.",
    {"ServiceRequest": (STUDY, "patient", "subject", "code", "status"), "Task": (STUDY, "patient", "code", "status")},
    on_status=True,
)
TOPICS: Final = {topic.url: topic for topic in (SUBJECT_STATUS, OBSERVATION, REFERRAL_STATUS)}


def topic_of(url: str) -> Topic:
    """Return the topic of a canonical URL, with or without a version. Raises ``RequestRefused`` (422)."""
    found = TOPICS.get(url.partition("|")[0])
    if found is None:
        what = f"there is no such topic; there are: {', '.join(TOPICS)}"
        raise RequestRefused(422, "not-supported", what, ("Subscription.topic",))
    return found


def check_criteria(topic: Topic, criteria: Iterable[Criterion], base: str) -> None:
    """Raise ``RequestRefused`` (422) when events of a topic cannot be limited so."""
    for one in criteria:
        allowed = topic.filters.get(one.type)
        if allowed is None:
            _refuse(f"{one.type or 'nothing'} is no type of this topic, but: {', '.join(topic.types)}")
        for name, value in one.pairs:
            if name.partition(":")[0].partition(".")[0] not in (allowed or ()) or "." in name:
                _refuse(f"events of {one.type} are limited by: {', '.join(allowed or ())}")
            if not value or name.startswith(f"{STUDY}:"):
                _refuse(f"{name} has no value, or a modifier that it does not take")
        try:
            _query(one, base)
        except RequestRefused as error:
            _refuse(error.what)


def _refuse(what: str) -> None:
    raise RequestRefused(422, "value", f"filter: {what}", ("Subscription.filterBy",))


@lru_cache(maxsize=1024)
def _query(criterion: Criterion, base: str) -> Query:
    """Return the search a criterion is, the study left out. Released forms are compared as R4."""
    pairs = [(name, value) for name, value in criterion.pairs if name.partition(":")[0] != STUDY]
    return parse("R4", criterion.type, pairs, base=base)


# --- what is an event -----------------------------------------------------------------------------------------------


def listened_for(terms: Terms) -> dict[str, tuple[Query, ...]]:
    """Return by type what an event of a subscription fulfils: a version whose query ``may`` not is surely none."""
    topic = TOPICS.get(terms.topic)
    found: dict[str, tuple[Query, ...]] = dict.fromkeys(topic.types, ()) if topic else {}
    for one in terms.criteria:
        if one.type in found:
            found[one.type] = (*found[one.type], _query(one, terms.base))
    return found


def happens(topic: Topic, trigger: Trigger, before: dict[str, Any] | None, after: dict[str, Any]) -> bool:
    """Whether what a view sees now is an event. ``before``: the version before this one, as it would see it today."""
    if before is None or trigger.cause == ENTITLED:
        return True
    if topic.on_status:
        return before.get("status") != after.get("status")
    return {**before, "meta": None} != {**after, "meta": None}


def fits(terms: Terms, rights: Rights, body: dict[str, Any]) -> bool:
    """Whether a released R4 form fulfils every condition on its type."""
    mine = [one for one in terms.criteria if one.type == body["resourceType"]]
    return all(
        _query(one, terms.base).matches(body, NOWHERE)
        and all(_names_study(value, rights, terms.base) for name, value in one.pairs if name == STUDY)
        for one in mine
    )


def _names_study(text: str, rights: Rights, base: str) -> bool:
    """Whether one of the alternatives is the view's study: a reference to its ResearchStudy, or an identifier."""
    id = rights.public_id(rights.study.resource)
    known = {id, f"ResearchStudy/{id}", f"{base}/ResearchStudy/{id}"}
    for system, value in rights.study.identifiers:
        known |= {value, f"{system}|{value}", f"|{value}"}
    return any(one in known for one in text.split(","))


# --- as resources ---------------------------------------------------------------------------------------------------


def topic_resource(topic: Topic) -> dict[str, Any]:
    """Return a topic as an R5 SubscriptionTopic."""
    status = "status.exists() and %previous.status != %current.status"
    triggers = []
    for type in topic.types:
        trigger: dict[str, Any] = {"resource": type, "supportedInteraction": ["create", "update"]}
        if topic.on_status:
            trigger["fhirPathCriteria"] = f"%previous.empty() or ({status})"
        triggers.append(trigger)
    return {
        "resourceType": "SubscriptionTopic",
        "id": topic.id,
        "meta": {"versionId": "1"},
        "url": topic.url,
        "version": "1.0.0",
        "name": topic.title.title().replace(" ", ""),
        "title": topic.title,
        "status": "active",
        "experimental": False,
        "description": topic.description,
        "resourceTrigger": triggers,
        "canFilterBy": [
            {"description": _FILTERS.get(name, f"search parameter {name}"), "resource": type, "filterParameter": name}
            for type, names in topic.filters.items()
            for name in names
        ],
        "notificationShape": [{"resource": type} for type in topic.types],
    }


_FILTERS: Final = {
    STUDY: "the study: a reference to its ResearchStudy, or an identifier of it",
    "status": "the status, in the words of FHIR R4",
}
_R5: Final = "http://hl7.org/fhir/5.0/StructureDefinition/extension-SubscriptionTopic"


def topic_basic(topic: Topic) -> dict[str, Any]:
    """Return a topic as R4 can say it: a Basic with the elements of R5 as extensions (Backport IG 1.1, topics)."""
    told = topic_resource(topic)
    values = [("url", "valueUri"), ("version", "valueString"), ("name", "valueString"), ("title", "valueString")]
    values += [("status", "valueCode"), ("description", "valueMarkdown")]
    extensions: list[dict[str, Any]] = [{"url": f"{_R5}.{name}", value: told[name]} for name, value in values]
    extensions += [
        {"url": f"{_R5}.resourceTrigger", "extension": [{"url": "resource", "valueUri": type}]} for type in topic.types
    ]
    for one in told["canFilterBy"]:
        parts = [{"url": name, "valueUri" if name == "resource" else "valueString": text} for name, text in one.items()]
        extensions.append({"url": f"{_R5}.canFilterBy", "extension": parts})
    return {
        "resourceType": "Basic",
        "id": topic.id,
        "meta": {"versionId": "1"},
        "extension": extensions,
        "code": {"coding": [{"system": "http://hl7.org/fhir/fhir-types", "code": "SubscriptionTopic"}]},
    }
