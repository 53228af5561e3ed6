"""R5 of what a trial is made of: ResearchStudy, ResearchSubject, Consent, PlanDefinition.

====================================  ====================================================================
R4                                    R5
====================================  ====================================================================
ResearchStudy.status                  progressStatus[] with its state, actual; status is of the publication
ResearchStudy.arm                     comparisonGroup, linkId from the arm's id, else from its name
ResearchStudy.sponsor, contact …      associatedParty with a role; a contact keeps its name only
ResearchStudy.enrollment              recruitment.actualGroup, the first
ResearchSubject.status                progress[] with its subjectState; status is of the record
ResearchSubject.assignedArm           assignedComparisonGroup, the linkId made of the name
Consent.provision.type                decision; provisions carry no type of their own any more
====================================  ====================================================================
"""

from __future__ import annotations

import re
from typing import Any, Final

from gateway.fhir.r5_steps import (
    Object,
    Step,
    alter,
    coded,
    concept,
    drop,
    each,
    edited,
    join,
    listed,
    rename,
    to_code,
)

PROGRESS: Final = "http://hl7.org/fhir/research-study-status"
SUBJECT_STATE: Final = "http://terminology.hl7.org/CodeSystem/research-subject-state"
PARTY: Final = "http://hl7.org/fhir/research-study-party-role"

_PUBLICATION: Final = {"withdrawn": "retired", "disapproved": "retired", "in-review": "draft"}
_RECORD: Final = dict.fromkeys(("ineligible", "not-registered", "off-study", "withdrawn"), "retired")


def link_id(name: str) -> str:
    """Return the ``linkId`` an arm's name makes: R5 wants an id where R4 has a name.

    >>> link_id("Gene therapy, low dose")
    'gene-therapy-low-dose'
    """
    return re.sub(r"[^a-z0-9.]+", "-", name.lower()).strip("-")[:64] or "arm"


def _study_status(it: Object) -> None:
    state = it.get("status")
    if state is None:
        return
    progress: Object = {"state": coded(PROGRESS)(state), "actual": True}
    if "period" in it:
        progress["period"] = it["period"]
    it["status"] = _PUBLICATION.get(state, "active")
    it["progressStatus"] = [progress]


def _party(role: str) -> Any:
    return lambda value: {"role": coded(PARTY)(role), "party": value}


def _contact(contact: Object) -> Object:
    party: Object = {"role": coded(PARTY)("general-contact")}
    if "name" in contact:
        party["name"] = contact["name"]
    return party


def _arm(arm: Object) -> Object:
    group = {"linkId": arm.get("id") or link_id(arm["name"])}
    return {**group, **{key: value for key, value in arm.items() if key != "id"}}


def _subject_status(it: Object) -> None:
    state = it.get("status")
    if state is None:
        return
    progress: Object = {"subjectState": coded(SUBJECT_STATE)(state)}
    if start := it.get("period", {}).get("start"):
        progress["startDate"] = start
    it["status"] = _RECORD.get(state, "active")
    it["progress"] = [progress]


def _decision(it: Object) -> None:
    """Lift the root provision's type to ``decision``; drop the provision when it said nothing else."""
    provision = it.pop("provision", None)
    if provision is None:
        return
    if "type" in provision:
        it["decision"] = provision["type"]
    if rest := _provision(provision):
        it["provision"] = [rest]


def _provision(provision: Object) -> Object:
    change = edited(drop("type"), rename("class", "resourceType"), rename("provision", "provision", each(_provision)))
    return change(provision)


def _policy_basis(policies: list[Object]) -> Object | None:
    return next(({"url": policy["uri"]} for policy in policies if "uri" in policy), None)


def _action(action: Object) -> Object:
    return _ACTION(action)


def _one_concept(concepts: list[Object]) -> Object:
    codings = [coding for each_ in concepts for coding in each_.get("coding", ())]
    joined: Object = {"coding": codings} if codings else {}
    text = next((each_["text"] for each_ in concepts if "text" in each_), "")
    return {**joined, "text": text} if text else joined


def _artifact(it: Object) -> None:
    """``url`` of a RelatedArtifact goes into its document."""
    url = it.pop("url", None)
    if url is not None:
        it["document"] = {"url": url, **it.get("document", {})}


def _document(document: Object) -> Object:
    return edited(_artifact)(document)


ARTIFACTS: Final[Step] = alter("relatedArtifact", each(_document))

RESEARCH_STUDY: Final[tuple[Step, ...]] = (
    _study_status,
    rename("category", "classifier"),
    alter("focus", each(concept)),
    join(
        "associatedParty",
        ("sponsor", _party("sponsor")),
        ("principalInvestigator", _party("primary-investigator")),
        ("contact", _contact),
    ),
    rename("location", "region"),
    rename("enrollment", "recruitment", lambda groups: {"actualGroup": groups[0]}),
    rename("reasonStopped", "whyStopped"),
    rename("arm", "comparisonGroup", each(_arm)),
    ARTIFACTS,
)

RESEARCH_SUBJECT: Final[tuple[Step, ...]] = (
    _subject_status,
    rename("individual", "subject"),
    rename("assignedArm", "assignedComparisonGroup", link_id),
    rename("actualArm", "actualComparisonGroup", link_id),
    drop("assignedArm", "actualArm"),
    alter("consent", listed),
)

CONSENT: Final[tuple[Step, ...]] = (
    to_code("status", {"proposed": "draft", "rejected": "not-done"}),
    join("category", ("scope", lambda value: value)),
    rename("patient", "subject"),
    rename("dateTime", "date", lambda text: text.partition("T")[0]),
    rename("performer", "grantor"),
    rename("organization", "manager"),
    rename("policyRule", "regulatoryBasis", listed),
    rename("policy", "policyBasis", _policy_basis),
    alter("sourceAttachment", listed),
    alter("sourceReference", listed),
    alter("verification", each(edited(alter("verificationDate", listed)))),
    _decision,
)

_ACTION: Final = edited(
    alter("code", _one_concept),
    rename("timingDateTime", "timingTiming", lambda moment: {"event": [moment]}),
    rename("timingPeriod", "timingTiming", lambda period: {"repeat": {"boundsPeriod": period}}),
    alter("participant", each(edited(to_code("type", {"related-person": "relatedperson"})))),
    alter("relatedAction", each(edited(rename("actionId", "targetId")))),
    alter("input", each(lambda needed: {"requirement": needed})),
    alter("output", each(lambda needed: {"requirement": needed})),
    alter("documentation", each(_document)),
    alter("action", each(_action)),
)

PLAN_DEFINITION: Final[tuple[Step, ...]] = (
    ARTIFACTS,
    alter("goal", each(edited(alter("documentation", each(_document))))),
    alter("action", each(_action)),
)
