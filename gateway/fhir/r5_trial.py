"""R5 of what a trial is made of: ResearchStudy, ResearchSubject, Consent.

====================================  ====================================================================
R4                                    R5
====================================  ====================================================================
ResearchStudy.status                  progressStatus[] with its state, actual; status is of the publication
ResearchStudy.arm                     comparisonGroup, linkId made of the arm's name; its id stays its id
ResearchStudy.sponsor, contact …      associatedParty with a role; the telecom of a contact in extensions
ResearchStudy.enrollment              recruitment.actualGroup, the first
ResearchSubject.status                progress[] with its subjectState; status is of the record
ResearchSubject.assignedArm           assignedComparisonGroup, the linkId made of the name
Consent.provision.type                decision; provisions are exceptions to it and to one another
====================================  ====================================================================
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from gateway.fhir.r5_steps import (
    CONCEPT,
    LISTED,
    Change,
    Object,
    Step,
    alter,
    coded,
    drop,
    each,
    edited,
    rename,
    to_code,
    tuck,
)

PROGRESS: Final = "http://hl7.org/fhir/research-study-status"
SUBJECT_STATE: Final = "http://terminology.hl7.org/CodeSystem/research-subject-state"
PARTY: Final = "http://hl7.org/fhir/research-study-party-role"

_PUBLICATION: Final = {"withdrawn": "retired", "disapproved": "retired", "in-review": "draft"}
_RECORD: Final = dict.fromkeys(("ineligible", "not-registered", "off-study", "withdrawn"), "retired")
_OTHER: Final = {"permit": "deny", "deny": "permit"}


def link_id(name: str) -> str:
    """Return the ``linkId`` an arm's name makes: R5 wants an id where R4 has a name.

    >>> link_id("Gene therapy, low dose")
    'gene-therapy-low-dose'
    """
    return re.sub(r"[^a-z0-9.]+", "-", name.lower()).strip("-")[:64] or "arm"


# --- studies ----------------------------------------------------------------------------------------------------------


def _study_status(it: Object) -> None:
    state = it.get("status")
    if state is None:
        return
    progress: Object = {"state": coded(PROGRESS).there(state), "actual": True}
    if "period" in it:
        progress["period"] = it["period"]
    it["status"] = _PUBLICATION.get(state, "active")
    it["progressStatus"] = [progress]


def _study_status_back(it: Object) -> None:
    if "progressStatus" in it:
        it["status"] = coded("").back(it.pop("progressStatus")[-1]["state"])


_CONTACT: Final = edited(tuck("telecom", "ResearchStudy.contact.telecom", "valueContactPoint"))
_SINGLE: Final = {"sponsor": "sponsor", "primary-investigator": "principalInvestigator"}


def _parties(it: Object) -> None:
    found = [
        {"role": coded(PARTY).there(role), "party": it.pop(element)}
        for role, element in _SINGLE.items()
        if element in it
    ]
    general = coded(PARTY).there("general-contact")
    found += [{"role": general, **_CONTACT.there(contact)} for contact in it.pop("contact", ())]
    if found:
        it["associatedParty"] = found


def _parties_back(it: Object) -> None:
    contacts = []
    for party in it.pop("associatedParty", ()):
        rest = {name: value for name, value in party.items() if name != "role"}
        element = _SINGLE.get(coded("").back(party["role"]))
        if element:
            it[element] = rest["party"]
        else:
            contacts.append(_CONTACT.back(rest))
    if contacts:
        it["contact"] = contacts


def _arm(arm: Object) -> Object:
    return {"linkId": link_id(arm.get("name", "")), **arm}


def _arm_back(group: Object) -> Object:
    return {name: value for name, value in group.items() if name != "linkId"}


RESEARCH_STUDY: Final[tuple[Step, ...]] = (
    Step(_study_status, _study_status_back),
    rename("category", "classifier"),
    alter("focus", each(CONCEPT)),
    Step(_parties, _parties_back),
    rename("location", "region"),
    rename("enrollment", "recruitment", Change(lambda it: {"actualGroup": it[0]}, lambda it: [it["actualGroup"]])),
    rename("reasonStopped", "whyStopped"),
    rename("arm", "comparisonGroup", each(Change(_arm, _arm_back))),
)


# --- subjects ---------------------------------------------------------------------------------------------------------


def _subject_status(it: Object) -> None:
    state = it.get("status")
    if state is None:
        return
    progress: Object = {"subjectState": coded(SUBJECT_STATE).there(state)}
    if start := it.get("period", {}).get("start"):
        progress["startDate"] = start
    it["status"] = _RECORD.get(state, "active")
    it["progress"] = [progress]


def _subject_status_back(it: Object) -> None:
    if "progress" in it:
        it["status"] = states(it.pop("progress"))[-1]


def states(progress: Sequence[Object]) -> list[str]:
    """Return the states that the progress of a ResearchSubject (R5) tells, in its order."""
    codings = [coding for one in progress for coding in one.get("subjectState", {}).get("coding", ())[:1]]
    return [str(coding["code"]) for coding in codings if "code" in coding]


def with_past(subject: Object, states: Sequence[str]) -> Object:
    """Return a ResearchSubject (R5) whose progress begins with earlier states, oldest first.

    The day on which it began taking part is that of the first state; when the others began nobody said.

    >>> subject = {"progress": [{"subjectState": {}, "startDate": "2026-03-01"}]}
    >>> [(one["subjectState"]["coding"][0]["code"], one.get("startDate"))
    ...  for one in with_past(subject, ["screening"])["progress"][:1]]
    [('screening', '2026-03-01')]
    """
    if not states:
        return subject
    now = dict(subject["progress"][0])
    past: list[Object] = [{"subjectState": coded(SUBJECT_STATE).there(state)} for state in states]
    if "startDate" in now:
        past[0]["startDate"] = now.pop("startDate")
    return {**subject, "progress": [*past, now, *subject["progress"][1:]]}


_ARM: Final = Change(link_id, lambda value: value, primitive=True)
RESEARCH_SUBJECT: Final[tuple[Step, ...]] = (
    Step(_subject_status, _subject_status_back),
    rename("individual", "subject"),
    rename("assignedArm", "assignedComparisonGroup", _ARM),
    rename("actualArm", "actualComparisonGroup", _ARM),
    alter("consent", LISTED),
)


# --- consents ---------------------------------------------------------------------------------------------------------


def _scope(it: Object) -> None:
    if "scope" in it:
        it["category"] = [*it.get("category", ()), it.pop("scope")]


def _scope_back(it: Object) -> None:
    *others, scope = it.pop("category")
    it["scope"] = scope
    if others:
        it["category"] = others


def _decision(it: Object) -> None:
    """Lift the root provision's type to ``decision``; drop the provision when it said nothing else."""
    provision = it.pop("provision", None)
    if provision is None:
        return
    if "type" in provision:
        it["decision"] = provision["type"]
    if rest := _PROVISION.there(provision):
        it["provision"] = [rest]


def _decision_back(it: Object) -> None:
    """Make the root provision: it does what was decided, what is nested in it the other, in turn."""
    decision = it.pop("decision", "")
    provisions = it.pop("provision", [])
    provision = _typed(_PROVISION.back(LISTED.back(provisions)), decision) if provisions else {}
    if provision or decision:
        it["provision"] = {"type": decision, **provision} if decision else provision


def _typed(provision: Object, decision: str) -> Object:
    nested = [_typed(one, _OTHER.get(decision, "")) for one in provision.get("provision", ())]
    made = {**provision, "provision": nested} if nested else provision
    return {"type": decision, **made} if decision else made


def _nested(provision: Object) -> Object | None:
    return _PROVISION.there(provision) or None


def _nested_back(provision: Object) -> Any:
    return _PROVISION.back(provision)


_PROVISION: Final[Change] = edited(
    drop("type"), rename("class", "resourceType"), alter("provision", each(Change(_nested, _nested_back)))
)


def _policy_basis(policies: list[Object]) -> Object | None:
    return next(({"url": policy["uri"]} for policy in policies if "uri" in policy), None)


_POLICY: Final = Change(_policy_basis, lambda it: [{"uri": it["url"]}])
_DAY: Final = Change(lambda text: text.partition("T")[0], lambda text: text, primitive=True)

CONSENT: Final[tuple[Step, ...]] = (
    to_code("status", {"proposed": "draft", "rejected": "not-done"}, {"not-done": "rejected"}),
    Step(_scope, _scope_back),
    rename("patient", "subject"),
    rename("dateTime", "date", _DAY),
    rename("performer", "grantor"),
    rename("organization", "manager"),
    rename("policyRule", "regulatoryBasis", LISTED),
    rename("policy", "policyBasis", _POLICY),
    alter("sourceAttachment", LISTED),
    alter("sourceReference", LISTED),
    alter("verification", each(edited(alter("verificationDate", LISTED)))),
    Step(_decision, _decision_back),
)
