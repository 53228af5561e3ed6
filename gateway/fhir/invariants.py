"""The invariants of R4 4.0.1 we check, by type: data types and the resources the gateway writes or takes in.

Each line is the specification's key, its meaning in our words, and a test of a value whose elements are already known
to be well-formed. Invariants with more to them than a line have a function in ``invariants_more``.
"""

from __future__ import annotations

from typing import Any, Final

from gateway.fhir import invariants_more as more
from gateway.fhir.invariants_more import Invariant, Object, all_or_none, at_least_one, has_choice, not_both, rule, wants

UCUM: Final = "http://unitsofmeasure.org"


def _quantity_of_ucum(key: str) -> Invariant:
    return rule(
        key,
        "a value needs a code, and the system must be UCUM",
        lambda it: ("value" not in it or "code" in it) and it.get("system", UCUM) == UCUM,
    )


def _no_home(element: str, key: str) -> Invariant:
    def holds(it: Object) -> bool:
        return all(each.get("use") != "home" for each in it.get(element, ()))

    return rule(key, f"an organisation has no {element} of use home", holds)


def _questionnaire_item(it: Object) -> bool:
    kind = it.get("type")
    if kind == "group" and "item" not in it:
        return False
    return kind != "display" or not it.keys() & {"item", "code", "required", "repeats", "readOnly", "initial"}


INVARIANTS: Final[dict[str, tuple[Invariant, ...]]] = {
    # data types
    "Age": (
        _quantity_of_ucum("age-1"),
        rule("age-1", "an age is more than nothing", lambda it: it.get("value", 1) > 0),
    ),
    "Attachment": (wants("att-1", "data", "contentType"),),
    "ContactPoint": (wants("cpt-2", "value", "system"),),
    "Count": (_quantity_of_ucum("cnt-3"),),
    "Distance": (_quantity_of_ucum("dis-1"),),
    "Duration": (
        rule(
            "drt-1",
            "a code needs the system UCUM and a value",
            lambda it: "code" not in it or (it.get("system") == UCUM and "value" in it),
        ),
    ),
    "Expression": (at_least_one("exp-1", "expression", "reference"),),
    "Extension": (rule("ext-1", "either a value or extensions, and one of them", more.extension_is_one_thing),),
    "Period": (rule("per-1", "must not end before it starts", more.period_in_order),),
    "Quantity": (wants("qty-3", "code", "system"),),
    "Range": (
        rule("rng-2", "low must not be above high", more.range_in_order),
        rule("sqty-1", "low and high have no comparator", more.no_comparator("low", "high")),
    ),
    "Ratio": (rule("rat-1", "numerator and denominator come together", more.ratio_whole),),
    "SampledData": (rule("sqty-1", "the origin has no comparator", more.no_comparator("origin")),),
    "TimingRepeat": (
        wants("tim-1", "duration", "durationUnit"),
        wants("tim-2", "period", "periodUnit"),
        rule("tim-4", "the duration must not be negative", lambda it: it.get("duration", 0) >= 0),
        rule("tim-5", "the period must not be negative", lambda it: it.get("period", 0) >= 0),
        wants("tim-6", "periodMax", "period"),
        wants("tim-7", "durationMax", "duration"),
        wants("tim-8", "countMax", "count"),
        rule(
            "tim-9",
            "an offset needs an event, and none of the meals themselves",
            lambda it: "offset" not in it or ("when" in it and not {"C", "CM", "CD", "CV"} & set(it["when"])),
        ),
        not_both("tim-10", "timeOfDay", "when"),
    ),
    "TriggerDefinition": (not_both("trd-1", "data", "timing"), wants("trd-2", "condition", "data")),
    "DataRequirementCodeFilter": (
        rule("drq-1", "either a path or a search parameter", lambda it: ("path" in it) != ("searchParam" in it)),
    ),
    "DataRequirementDateFilter": (
        rule("drq-2", "either a path or a search parameter", lambda it: ("path" in it) != ("searchParam" in it)),
    ),
    # resources
    "AllergyIntolerance": (
        rule("ait-1", "needs a clinicalStatus unless entered in error", more.allergy_has_status),
        rule("ait-2", "has no clinicalStatus when entered in error", more.no_status_in_error),
    ),
    "Appointment": (
        all_or_none("app-2", "start", "end"),
        rule(
            "app-3",
            "needs a start unless proposed, cancelled or waitlisted",
            lambda it: "start" in it or it.get("status") in {"proposed", "cancelled", "waitlist"},
        ),
        rule(
            "app-4",
            "cancelationReason is for cancelled or no-show",
            lambda it: "cancelationReason" not in it or it.get("status") in {"no-show", "cancelled"},
        ),
    ),
    "AppointmentParticipant": (at_least_one("app-1", "type", "actor"),),
    "AppointmentResponse": (at_least_one("apr-1", "participantType", "actor"),),
    "AuditEventEntity": (not_both("sev-1", "name", "query"),),
    "Bundle": more.BUNDLE,
    "BundleEntry": (
        at_least_one("bdl-5", "resource", "request", "response"),
        rule("bdl-8", "fullUrl names no version", lambda it: "/_history/" not in it.get("fullUrl", "")),
    ),
    "CapabilityStatement": (
        at_least_one("cpb-1", "rest", "messaging", "document"),
        at_least_one("cpb-2", "description", "software", "implementation"),
        rule(
            "cpb-14",
            "an instance needs implementation",
            lambda it: it.get("kind") != "instance" or "implementation" in it,
        ),
    ),
    "CarePlanActivity": (not_both("cpl-3", "detail", "reference"),),
    "CompositionSection": (
        at_least_one("cmp-1", "text", "entry", "section"),
        not_both("cmp-2", "emptyReason", "entry"),
    ),
    "ConceptMapGroupElementTarget": (
        rule(
            "cmd-1",
            "narrower and inexact need a comment",
            lambda it: "comment" in it or it.get("equivalence") not in {"narrower", "inexact"},
        ),
    ),
    "ConceptMapGroupUnmapped": (
        rule("cmd-2", "fixed needs a code", lambda it: it.get("mode") != "fixed" or "code" in it),
        rule("cmd-3", "other-map needs a url", lambda it: it.get("mode") != "other-map" or "url" in it),
    ),
    "Condition": (
        rule("con-4", "abated needs clinicalStatus inactive, remission or resolved", more.abated_is_not_active),
        rule("con-5", "has no clinicalStatus when entered in error", more.no_status_in_error),
    ),
    "ConditionEvidence": (at_least_one("con-2", "code", "detail"),),
    "ConditionStage": (at_least_one("con-1", "summary", "assessment"),),
    "Consent": (at_least_one("ppc-1", "policy", "policyRule"),),
    "FamilyMemberHistory": (
        rule("fhs-1", "either age or born", lambda it: not (has_choice(it, "age") and has_choice(it, "born"))),
        rule("fhs-2", "estimatedAge needs an age", lambda it: "estimatedAge" not in it or has_choice(it, "age")),
    ),
    "GoalTarget": (
        rule("gol-1", "a detail needs a measure", lambda it: "measure" in it or not has_choice(it, "detail")),
    ),
    "Group": (
        rule("grp-1", "only an actual group has members", lambda it: "member" not in it or it["actual"] is True),
    ),
    "ImmunizationEducation": (at_least_one("imm-1", "documentType", "reference"),),
    "InsurancePlan": (at_least_one("ipn-1", "identifier", "name"),),
    "Linkage": (rule("lnk-1", "links at least two items", lambda it: len(it["item"]) > 1),),
    "List": (
        not_both("lst-1", "emptyReason", "entry"),
        rule("lst-2", "deleted is for a list of changes", more.list_entries("deleted", "changes")),
        rule("lst-3", "a date is for a working list", more.list_entries("date", "working")),
    ),
    "MedicationAdministrationDosage": (
        rule("mad-1", "needs a dose or a rate", lambda it: "dose" in it or has_choice(it, "rate")),
    ),
    "Observation": (
        rule("obs-6", "has no value when it says why there is none", more.value_or_absence),
        rule("obs-7", "has no value when a component has the same code", more.component_codes_differ),
    ),
    "ObservationReferenceRange": (
        at_least_one("obs-3", "low", "high", "text"),
        rule("sqty-1", "low and high have no comparator", more.no_comparator("low", "high")),
    ),
    "Organization": (
        at_least_one("org-1", "identifier", "name"),
        _no_home("address", "org-2"),
        _no_home("telecom", "org-3"),
    ),
    "ParametersParameter": (rule("inv-1", "has a value, a resource or parts, and one of them", more.parameter_is_one),),
    "PatientContact": (at_least_one("pat-1", "name", "telecom", "address", "organization"),),
    "Questionnaire": (rule("que-2", "each linkId stands once", more.link_ids_differ),),
    "QuestionnaireItem": (
        rule("que-1, 3, 6, 8, 9", "a group has items; a display has nothing else", _questionnaire_item),
        rule("que-8", "a group has no initial value", lambda it: it.get("type") != "group" or "initial" not in it),
        not_both("que-4", "answerOption", "answerValueSet"),
        not_both("que-11", "answerOption", "initial"),
        rule(
            "que-12",
            "more than two conditions need enableBehavior",
            lambda it: len(it.get("enableWhen", ())) <= 2 or "enableBehavior" in it,
        ),
        rule(
            "que-13",
            "one initial value unless it repeats",
            lambda it: it.get("repeats") or len(it.get("initial", ())) < 2,
        ),
    ),
    "QuestionnaireItemEnableWhen": (
        rule("que-7", "exists wants a boolean", lambda it: it.get("operator") != "exists" or "answerBoolean" in it),
    ),
    "QuestionnaireResponseItem": (not_both("qrs-1", "answer", "item"),),
    "RequestGroupAction": (
        rule("rqg-1", "either a resource or actions", lambda it: ("resource" in it) != ("action" in it)),
    ),
    "ServiceRequest": (wants("prr-1", "orderDetail", "code"),),
    "Task": (rule("inv-1", "must not be modified before it was authored", more.task_in_order),),
    "ValueSetComposeInclude": (
        at_least_one("vsd-1", "valueSet", "system"),
        wants("vsd-2", "concept", "system"),
        wants("vsd-2", "filter", "system"),
        not_both("vsd-3", "concept", "filter"),
    ),
}


def invariants_of(types: list[Any]) -> tuple[Invariant, ...]:
    """Return the invariants of a model and of what it derives from (Age is a Quantity)."""
    return tuple(each for model in types for each in INVARIANTS.get(model.__name__, ()))
