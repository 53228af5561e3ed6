"""A transaction is done whole or not at all, whatever is in it and wherever it fails."""

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import RequestRefused
from tests.releasing import MLD, recipient, uid, world
from tests.writing import Desk, a_new_consent, body_of, enrolled, office_file

PLAN = {"resourceType": "PlanDefinition", "status": "draft"}
PATIENT, SUBJECT = uid("patient"), uid(f"subject mld {uid('patient')}")
CONSENT = uid(f"consent mld {PATIENT}")


def entry(method, url, resource=None, **request):
    return {"request": {"method": method, "url": url, **request}} | ({"resource": resource} if resource else {})


GOOD = {
    "plan": lambda desk, n: entry("POST", "PlanDefinition", PLAN | {"title": f"Plan {n}"}),
    "group": lambda desk, n: entry("POST", "Group", {
        "resourceType": "Group", "type": "person", "actual": True, "name": f"Group {n}",
        "member": [{"entity": {"reference": f"Patient/{PATIENT}"}}]}),
    "consent": lambda desk, n: entry("POST", "Consent", a_new_consent(PATIENT)),
    "subject": lambda desk, n: entry(
        "PUT", f"ResearchSubject/{SUBJECT}",
        desk.seen("ResearchSubject", SUBJECT) | {"period": {"start": f"2026-01-{n % 28 + 1:02}"}}),
    "study": lambda desk, n: entry(
        "PUT", f"ResearchStudy/{MLD.resource}", desk.seen("ResearchStudy", MLD.resource) | {"title": f"Title {n}"}),
    "part": lambda desk, n: entry("POST", "ResearchStudy", {
        "resourceType": "ResearchStudy", "status": "active", "title": f"Arm {n}",
        "partOf": [{"reference": f"ResearchStudy/{MLD.resource}"}]}),
    "forget": lambda desk, n: entry("DELETE", f"Consent/{CONSENT}"),
}  # fmt: skip
BAD = {
    "invalid": entry("POST", "PlanDefinition", PLAN | {"status": "bogus"}),
    "nowhere": entry("POST", "Consent", a_new_consent(uid("nobody"))),
    "stale": entry("PUT", f"ResearchStudy/{MLD.resource}", {"resourceType": "ResearchStudy"}, ifMatch='W/"99"'),
    "apart": entry("POST", "ResearchStudy", {"resourceType": "ResearchStudy", "status": "active"}),
    "configured": entry("DELETE", f"ResearchStudy/{MLD.resource}"),
    "missing": entry("DELETE", f"Group/{uid('nothing')}"),
    "type": entry("POST", "Patient", {"resourceType": "Patient"}),
    "method": entry("SPLICE", "Group/1"),
}


def stored(here):
    with here.store.begin(write=False) as tx:
        rows = [row for patient in ("", PATIENT) for row in tx.resources.of_patient(patient)]
        return {row.id: (row.version, row.gone) for row in rows}, len(tx.audit.find(limit=1000))


@given(
    st.lists(st.tuples(st.sampled_from(sorted(GOOD)), st.integers(0, 99)), max_size=5),
    st.none() | st.sampled_from(sorted(BAD)),
    st.integers(0, 5),
)
@settings(max_examples=60)
def test_all_entries_are_written_or_none(chosen, bad, place):
    once = {name: n for name, n in chosen if name in ("subject", "study", "forget")}
    names = [(name, n) for name, n in chosen if name not in once] + list(once.items())
    with tempfile.TemporaryDirectory() as folder, world(Path(folder), office_file(), recipient("edc")) as here:
        enrolled(here)
        desk = Desk(here)
        entries = [GOOD[name](desk, n) for name, n in names]
        if bad:
            entries.insert(place, BAD[bad])
        before = stored(here)
        try:
            answer = body_of(desk.send("POST", "", {"resourceType": "Bundle", "type": "transaction", "entry": entries}))
        except RequestRefused:
            assert bad
            assert stored(here) == before
            return
        assert not bad
        assert [one["response"]["status"][:1] for one in answer.get("entry", [])] == ["2"] * len(entries)
        after = stored(here)[0]
        assert len(after) - len(before[0]) >= sum(name in ("plan", "group", "consent", "part") for name, _ in names)
        assert after[CONSENT][1] == ("forget" in once)
