"""A page token is its client's own, says nothing, and cannot be made up."""

from __future__ import annotations

from base64 import urlsafe_b64decode

import pytest

from gateway.errors import RequestRefused
from gateway.services.page_tokens import Page, PageTokens, Position

PAGE = Page("R4", "Patient", (("name", "Rossetti"),), Position("edc", "mld", "patient", "resource", (b"digest",)))


def test_a_token_says_to_its_client_what_it_was_made_of() -> None:
    tokens = PageTokens(b"k" * 32)
    assert tokens.page("edc", tokens.token("edc", PAGE)) == PAGE


def test_a_token_holds_no_word_of_the_search_and_is_another_each_time() -> None:
    tokens = PageTokens(b"k" * 32)
    one, other = tokens.token("edc", PAGE), tokens.token("edc", PAGE)
    assert one != other
    assert b"Rossetti" not in urlsafe_b64decode(one + "==")


@pytest.mark.parametrize(
    "spoil", [lambda it: it[:-2], lambda it: "A" + it[1:], lambda it: "", lambda it: "é", lambda it: it * 2]
)
def test_what_was_not_made_for_the_client_is_refused(spoil) -> None:
    tokens = PageTokens(b"k" * 32)
    token = tokens.token("edc", PAGE)
    for client, text in (("other", token), ("edc", spoil(token))):
        with pytest.raises(RequestRefused) as refused:
            tokens.page(client, text)
        assert (refused.value.status, refused.value.code) == (400, "value")
    with pytest.raises(RequestRefused):
        PageTokens(b"o" * 32).page("edc", token)
