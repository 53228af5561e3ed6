"""R5 of a PlanDefinition, whose actions are nested (http://hl7.org/fhir/R5/plandefinition.html, "R4 Differences")."""

from __future__ import annotations

from typing import Any, Final

from gateway.fhir.r5_steps import Change, Object, Step, alter, each, edited, rename, to_code


def _one_concept(concepts: list[Object]) -> Object:
    if len(concepts) == 1:
        return concepts[0]
    codings = [coding for one in concepts for coding in one.get("coding", ())]
    joined: Object = {"coding": codings} if codings else {}
    text = next((one["text"] for one in concepts if "text" in one), "")
    return {**joined, "text": text} if text else joined


def _timing(it: Object) -> None:
    if "timingDateTime" in it:
        it["timingTiming"] = {"event": [it.pop("timingDateTime")]}
    if "_timingDateTime" in it:
        it["timingTiming"] = {**it.get("timingTiming", {}), "_event": [it.pop("_timingDateTime")]}
    if "timingPeriod" in it:
        it["timingTiming"] = {"repeat": {"boundsPeriod": it.pop("timingPeriod")}}


def _timing_back(it: Object) -> None:
    timing = it.get("timingTiming", {})
    if timing.keys() <= {"event", "_event"} and len(timing.get("event", [0])) == 1 and timing:
        it |= {"timingDateTime": timing["event"][0]} if "event" in timing else {}
        it |= {"_timingDateTime": timing["_event"][0]} if "_event" in timing else {}
        del it["timingTiming"]
    elif timing.keys() == {"repeat"} and timing["repeat"].keys() == {"boundsPeriod"}:
        it["timingPeriod"] = it.pop("timingTiming")["repeat"]["boundsPeriod"]


_NEEDED: Final = Change(lambda needed: {"requirement": needed}, lambda it: it["requirement"])
_WHO: Final = to_code("type", {"related-person": "relatedperson"}, {"relatedperson": "related-person"})


def _action(action: Object) -> Any:
    return _ACTION.there(action)


def _action_back(action: Object) -> Any:
    return _ACTION.back(action)


_ACTIONS: Final = each(Change(_action, _action_back))
_ACTION: Final[Change] = edited(
    alter("code", Change(_one_concept, lambda it: [it])),
    Step(_timing, _timing_back),
    alter("participant", each(edited(_WHO))),
    alter("relatedAction", each(edited(rename("actionId", "targetId")))),
    alter("input", each(_NEEDED)),
    alter("output", each(_NEEDED)),
    alter("action", _ACTIONS),
)

PLAN_DEFINITION: Final[tuple[Step, ...]] = (alter("action", _ACTIONS),)
