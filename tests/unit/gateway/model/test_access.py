"""Scopes: read as SMART writes them, never more granted than asked for and registered."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.model.access import INTERACTIONS, Caller, Scope, granted, scope_of, scopes_of, simplest

TYPES = ["Patient", "Observation", "ResearchSubject"]
FACTS = ["code=a", "category=laboratory", "status=final"]
"""What may hold for a resource."""

letters = st.sets(st.sampled_from(INTERACTIONS), min_size=1).map(
    lambda found: "".join(letter for letter in INTERACTIONS if letter in found)
)
queries = st.lists(st.sampled_from(FACTS), unique=True, max_size=3).map("&".join)
scopes = st.builds(Scope, st.sampled_from(["*", *TYPES]), letters, queries)
several = st.lists(scopes, max_size=4)


def allowed(scopes, type, interaction, facts):
    """Say whether one of the scopes allows it for a resource of which these facts hold."""
    return any(
        scope.allows(type, interaction) and set(filter(None, scope.query.split("&"))) <= facts for scope in scopes
    )


def every_case():
    for type in TYPES:
        for interaction in INTERACTIONS:
            for chosen in range(2 ** len(FACTS)):
                yield type, interaction, {fact for place, fact in enumerate(FACTS) if chosen >> place & 1}


@given(several, several)
def test_what_is_granted_is_exactly_what_is_asked_for_and_registered(asked, registered):
    result = granted(asked, registered)

    for case in every_case():
        assert allowed(result, *case) == (allowed(asked, *case) and allowed(registered, *case))


@given(several)
def test_simplest_scopes_allow_the_same(scopes):
    result = simplest(scopes)

    assert len(result) <= len(scopes)
    for case in every_case():
        assert allowed(result, *case) == allowed(scopes, *case)


@given(scopes)
def test_a_scope_is_read_again_as_it_is_written(scope):
    assert scope_of(str(scope)) == scope


@given(st.text(alphabet="system/*.crudsPatient?=&| read", max_size=40))
def test_no_text_makes_a_scope_that_is_written_otherwise(text):
    found = scope_of(text)

    assert found is None or scope_of(str(found)) == found


@pytest.mark.parametrize(
    "text",
    [
        "system/Observation.dsr",
        "system/Observation.rr",
        "system/Observation.reads",
        "system/observation.rs",
        "system/Observation.read?code=a",
        "system/Observation.rs?",
        "system/Observation.rs?code",
        "system/Observation.rs?code=a&",
        "system/Observation.rs?=a",
        'system/Observation.rs?code="a"',
        "system/Observation.rs#x",
        "system/**.rs",
        "system/.rs",
        "user/Observation.rs",
        "",
    ],
)
def test_what_smart_does_not_say_is_no_scope(text):
    assert scope_of(text) is None


def test_several_scopes_are_joined_where_they_speak_of_the_same():
    found = scopes_of("system/Observation.s system/Observation.r system/Patient.read")

    assert [str(scope) for scope in found] == ["system/Observation.rs", "system/Patient.rs"]


def test_one_word_that_is_no_scope_spoils_them_all():
    assert scopes_of("system/Patient.rs system/Patient.x") is None
    assert scopes_of("system/Patient.rs " * 400) is None


def test_a_caller_is_told_which_of_its_scopes_speak_of_an_interaction():
    narrow, wide = Scope("Observation", "rs", "code=a"), Scope("*", "r")
    caller = Caller("edc", (), (narrow, wide))

    assert caller.scopes_for("Observation", "r") == (narrow, wide)
    assert caller.scopes_for("Patient", "s") == ()
