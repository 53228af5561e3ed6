"""What must hold whatever a record and a recipient's file say, retractions included."""

import json
import re
from dataclasses import replace
from datetime import timedelta

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from gateway.fhir import codec
from gateway.fhir.checks import check, validate
from gateway.model.names import LOINC, OBSERVATION_CODES, SITE_SYSTEM, SOURCE_VALUE, SUBJECT_NUMBER, UCUM
from gateway.model.recipient import Recipient, ReleaseRule
from gateway.model.study import Consent, Subject
from gateway.release.decision import Let
from gateway.release.elements import paths
from gateway.release.identity import NAMED_ONLY
from gateway.release.policy import ELEMENTS, Policy
from gateway.release.release import Releasing, release
from gateway.release.retraction import retraction
from tests.releasing import KEYS, MLD, NOON, SIGNED, WAS, uid, version

UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
MARK = "Zqxw"
"""In every text of a generated record that a person could have written."""

words = st.builds(lambda n: f"{MARK}{n} said so", st.integers(0, 99))
moments = st.integers(-60, 40).map(lambda days: (SIGNED + timedelta(days=days)).isoformat())
kinds = st.sampled_from(["fhir_server", "webhook", "amqp"])


def concept(system=LOINC, codes=("718-7", "777-3", "6690-2")):
    coding = st.fixed_dictionaries(
        {"system": st.just(system), "code": st.sampled_from(codes)}, optional={"display": words}
    )
    local = st.fixed_dictionaries({"system": st.just(f"{SITE_SYSTEM}/lab/code/L"), "code": words, "display": words})
    return st.fixed_dictionaries(
        {"coding": st.tuples(coding, local).map(list) | coding.map(lambda one: [one])}, optional={"text": words}
    )


def link(kind, id):
    return st.fixed_dictionaries(
        {"reference": st.just(f"{kind}/{uid(id)}")},
        optional={"display": words, "identifier": st.fixed_dictionaries({"value": words})},
    )


identifiers = st.lists(
    st.fixed_dictionaries({"system": st.just("urn:oid:1.2.3"), "value": words}), min_size=1, max_size=2
)
quantities = st.fixed_dictionaries(
    {"value": st.integers(1, 99)},
    optional={
        "unit": words,
        "system": st.just(UCUM),
        "code": st.just("g/L"),
        "extension": words.map(lambda text: [{"url": SOURCE_VALUE, "valueString": text}]),
    },
)
annotations = words.map(lambda text: [{"text": text, "authorString": text}])
codes = concept() | concept(OBSERVATION_CODES, ("GT-VCN-PBMC", "GT-ARSA-PBMC", "GT-CHIM"))

RECORD = {
    "Observation": st.fixed_dictionaries(
        {
            "status": st.sampled_from(["final", "corrected", "entered-in-error"]),
            "code": codes,
            "subject": link("Patient", "patient"),
            "effectiveDateTime": moments,
        },
        optional={
            "identifier": identifiers,
            "category": concept().map(lambda one: [one]),
            "encounter": link("Encounter", "encounter"),
            "specimen": link("Specimen", "specimen"),
            "performer": st.lists(link("Practitioner", "doctor") | link("Organization", "lab"), min_size=1, max_size=2),
            "note": annotations,
            "interpretation": concept().map(lambda one: [one]),
            "referenceRange": st.fixed_dictionaries({"low": quantities}, optional={"text": words}).map(lambda r: [r]),
            "text": st.just({"status": "generated", "div": f'<div xmlns="http://www.w3.org/1999/xhtml">{MARK}</div>'}),
        },
    ).flatmap(
        lambda body: st.one_of(
            quantities.map(lambda value: body | {"valueQuantity": value}),
            concept().map(lambda value: body | {"valueCodeableConcept": value}),
            words.map(lambda value: body | {"valueString": value}),
        )
    ),
    "Encounter": st.fixed_dictionaries(
        {
            "status": st.just("finished"),
            "class": st.fixed_dictionaries(
                {"system": st.just("http://terminology.hl7.org/CodeSystem/v3-ActCode"), "code": st.just("IMP")},
                optional={"display": words},
            ),
            "subject": link("Patient", "patient"),
            "period": moments.map(lambda start: {"start": start}),
        },
        optional={
            "identifier": identifiers,
            "participant": link("Practitioner", "doctor").map(lambda one: [{"individual": one}]),
            "reasonCode": concept().map(lambda one: [one]),
            "hospitalization": words.map(lambda value: {"preAdmissionIdentifier": {"value": value}}),
        },
    ),
    "Specimen": st.fixed_dictionaries(
        {"subject": link("Patient", "patient"), "type": concept(), "collection": moments.map(
            lambda at: {"collectedDateTime": at, "collector": {"reference": f"Practitioner/{uid('doctor')}"}}
        )},
        optional={"identifier": identifiers, "note": annotations},
    ),
    "DiagnosticReport": st.fixed_dictionaries(
        {"status": st.just("final"), "code": codes, "subject": link("Patient", "patient"),
         "effectiveDateTime": moments},
        optional={"identifier": identifiers, "conclusion": words, "result": link("Observation", "result").map(
            lambda one: [one])},
    ),
    "Patient": st.fixed_dictionaries(
        {"name": words.map(lambda name: [{"family": name, "text": name}])},
        optional={
            "identifier": identifiers,
            "gender": st.sampled_from(["female", "male"]),
            "birthDate": st.dates().map(lambda day: f"{day.year:04}-03-14"),
            "address": words.map(lambda city: [{"city": city}]),
            "telecom": words.map(lambda number: [{"system": "phone", "value": number}]),
            "contact": words.map(lambda name: [{"name": {"family": name}}]),
        },
    ),
    "ResearchSubject": st.fixed_dictionaries(
        {
            "status": st.just("on-study"),
            "study": st.just({"reference": f"ResearchStudy/{MLD.resource}"}),
            "individual": link("Patient", "patient"),
        },
        optional={"identifier": identifiers, "assignedArm": st.just("ARM-TREATED")},
    ),
    "Provenance": st.fixed_dictionaries(
        {
            "target": link("Observation", "result").map(lambda one: [one]),
            "recorded": st.just("2026-03-10T12:00:00Z"),
            "agent": link("Organization", "lab").map(lambda one: [{"who": one}]),
        },
        optional={"entity": words.map(
            lambda value: [{"role": "source", "what": {"identifier": {"value": value}}}]
        )},
    ),
}  # fmt: skip

TEXTS = {"text", "conclusion", "valueString", "assignedArm", "actualArm", "contained", "reasonStopped", "objective"}


@st.composite
def rules(draw, kind):
    """Any allow-list of a type, the elements that are names or free text left out."""
    choice = sorted(ELEMENTS[kind] - NAMED_ONLY - TEXTS) + (["identifier"] if kind == "Patient" else [])
    listed = draw(st.sets(st.sampled_from(choice)) | st.just(set(choice)))
    required = {"Observation": {"status", "code", "subject"}, "Encounter": {"status", "class", "subject"},
                "DiagnosticReport": {"status", "code"}, "ResearchSubject": {"status", "study", "individual"},
                "Provenance": {"target", "recorded", "agent"}}  # fmt: skip
    if draw(st.integers(0, 3)):
        listed |= required.get(kind, set())
    return ReleaseRule(tuple(sorted(listed)))


@st.composite
def files(draw, **fixed):
    types = sorted(RECORD.keys() - draw(st.sets(st.sampled_from(sorted(RECORD)), max_size=2)))
    release = {kind: draw(rules(kind)) for kind in types}
    release |= {"ResearchStudy": ReleaseRule(("status",)), "Organization": ReleaseRule(("active", "name"))}
    values = {
        "identity": "pseudonymous",
        "blinded": draw(st.booleans()),
        "look_back": timedelta(days=draw(st.integers(0, 30))),
    }
    return Recipient(id="edc", kind=draw(kinds), studies=("mld", "was"), release=release, **(values | fixed))


@st.composite
def subjects(draw, study=MLD):
    consent = st.builds(
        Consent,
        st.booleans(),
        st.none() | st.just(SIGNED) | st.just(NOON + timedelta(days=1)),
        st.frozensets(st.sampled_from(["CLINTRCH", "TREAT"])),
        st.none() | st.just(NOON - timedelta(days=1)),
    )
    status = draw(st.sampled_from(["on-study", "on-study", "follow-up", "withdrawn", "candidate", "not-registered"]))
    consents = tuple(draw(st.lists(consent, max_size=2)))
    return Subject(study.id, uid("patient"), uid("own"), status, f"{study.id}-7", SIGNED, None, consents)


GOOD = Consent(True, SIGNED, frozenset({"CLINTRCH"}), status="active")


def enrolled(study=MLD):
    return Subject(study.id, uid("patient"), uid("own"), "on-study", f"{study.id}-7", SIGNED, None, (GOOD,))


@st.composite
def records(draw):
    kind = draw(st.sampled_from(sorted(RECORD)))
    id = {"Patient": uid("patient"), "ResearchSubject": uid("own")}.get(kind, uid("result"))
    return {"resourceType": kind, "id": id} | draw(RECORD[kind])


def rights_of(file, study=MLD):
    policy = Policy([file], [MLD, WAS], KEYS.pseudonym)
    return next(rights for rights in policy.of_study(study.id))


fast = settings(max_examples=80)


@given(records(), files(), subjects())
@fast
def test_nothing_leaves_of_a_patient_who_is_not_a_subject_under_active_consent(body, file, subject):
    decision = release(version(body), rights_of(file), subject, NOON)

    if isinstance(decision, Let):
        covering = [c for c in subject.consents if c.active and "CLINTRCH" in c.purposes]
        assert subject.status in file.statuses
        assert any(c.ends_at is None and (c.given_at is None or c.given_at <= NOON) for c in covering)
        when = version(body).date
        if when is not None:
            assert min(c.given_at for c in covering if c.given_at) - file.look_back <= when
    assert not isinstance(release(version(body), rights_of(file), None, NOON), Let)
    assert not isinstance(release(version(body, uid("other")), rights_of(file), enrolled(), NOON), Let)


@given(records(), files())
@fast
def test_no_element_leaves_that_the_file_does_not_list_and_what_leaves_is_valid(body, file):
    decision = release(version(body), rights_of(file), enrolled(), NOON)

    if isinstance(decision, Let):
        check(decision.body)
        listed = file.release[body["resourceType"]].elements
        for path, _ in paths(decision.body):
            inherent = path in ("resourceType", "id") or path.startswith("meta.security.")
            assert inherent or any(path == each or path.startswith(f"{each}.") for each in listed), path


def spoiled(body, path, value):
    """Return a body with another value where a path ends; as it was where the body has no such place."""
    if not isinstance(body, dict) or path[0] not in body:
        return body
    if len(path) == 1:
        return {name: item for name, item in body.items() if name != path[0]} | ({path[0]: value} if value else {})
    inner = body[path[0]]
    changed = [spoiled(one, path[1:], value) for one in inner] if isinstance(inner, list) else None
    return body | {path[0]: spoiled(inner, path[1:], value) if changed is None else changed}


places = st.sampled_from([
    ("status",), ("code",), ("code", "coding"), ("code", "coding", "system"), ("code", "coding", "code"),
    ("valueQuantity", "value"), ("valueQuantity", "system"), ("valueQuantity", "code"), ("valueString",),
    ("effectiveDateTime",), ("subject", "reference"), ("referenceRange", "low"), ("agent", "who"), ("birthDate",),
    ("identifier", "value"), ("specimen", "reference"), ("gender",), ("period", "start"), ("collection",),
])  # fmt: skip
wrongs = st.sampled_from(
    [None, "", " ", "nonsense", 0, 12, True, "2026-02-30", [], {}, [{}], {"reference": 7}, {"coding": [{}]}, "#here"]
)


@given(records(), files(), st.booleans(), places, wrongs)
@settings(fast, max_examples=150, phases=(Phase.generate,))
def test_what_full_validation_rejects_never_leaves_whatever_was_stored(body, file, identified, place, wrong):
    file = replace(file, identity="identified", kind="fhir_server") if identified else file
    stored = spoiled(body, place, wrong)
    decision = release(version(body).but(body=codec.encode(stored)), rights_of(file), enrolled(), NOON)

    if isinstance(decision, Let):
        validate(decision.body)


@given(st.lists(records(), min_size=2, max_size=12), files(), st.lists(st.booleans(), min_size=1, max_size=5))
@fast
def test_what_leaves_does_not_depend_on_what_was_decided_before(bodies, file, reachable):
    rights = rights_of(file)
    releasing = Releasing(rights, NOON)
    for number, body in enumerate(bodies):
        follow = reachable[number % len(reachable)]
        together = releasing.release(version(body), enrolled(), lambda _, follow=follow: follow)
        alone = release(version(body), rights_of(file), enrolled(), NOON, reachable=lambda _, follow=follow: follow)
        assert together == alone


@given(records(), files())
@fast
def test_no_word_of_a_person_and_no_internal_id_leaves_a_pseudonymous_view(body, file):
    rights = rights_of(file)
    decision = release(version(body), rights, enrolled(), NOON)
    sent = [retraction(version(body), rights)[1]] + ([decision.body] if isinstance(decision, Let) else [])

    internal = set(UUID.findall(json.dumps(codec.encode(body).decode()))) | {MLD.resource, uid("patient")}
    for each in sent:
        text = codec.encode(each).decode()
        assert MARK not in text
        assert not internal & set(UUID.findall(text))
        assert body.get("birthDate", MARK) not in text  # of a pseudonymous Patient the year alone leaves


@given(records(), files(blinded=True))
@fast
def test_nothing_that_reveals_an_arm_leaves_a_blinded_view(body, file):
    file = replace(
        file, release=file.release | {"ResearchSubject": ReleaseRule(("status", "study", "individual", "assignedArm"))}
    )
    decision = release(version(body), rights_of(file), enrolled(), NOON)

    if isinstance(decision, Let):
        text = codec.encode(decision.body).decode()
        assert not re.search("GT-VCN|GT-CHIM|ARM-TREATED|assignedArm", text)


@given(st.lists(records(), min_size=1, max_size=4), files())
@fast
def test_two_studies_views_of_one_patient_share_no_id_to_join_them_by(bodies, file):
    joined = []
    for study in (MLD, WAS):
        rights = rights_of(file, study)
        tokens = set()
        for body in bodies:
            stored = version(body)
            decision = release(stored, rights, enrolled(study), NOON)
            tokens |= _tokens(retraction(stored, rights)[1])
            tokens |= _tokens(decision.body) if isinstance(decision, Let) else set()
        joined.append(tokens)

    assert not joined[0] & joined[1]


def _tokens(body):
    """Ids, references and identifiers of a body."""
    found = set(UUID.findall(codec.encode(body).decode()))
    return found | {value for path, value in paths(body) if path.endswith("identifier.value")} | {
        value for path, value in paths(body) if str(value).startswith(SUBJECT_NUMBER)
    }  # fmt: skip
