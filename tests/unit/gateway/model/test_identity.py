"""Ids never change: whoever has the key computes the same one by the book."""

import hmac
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from gateway.model.identity import resource_id


@given(key=st.binary(min_size=1, max_size=100), names=st.lists(st.text(st.characters(codec="utf-8")), min_size=1))
def test_an_id_is_the_hmac_of_the_names(key, names):
    digest = hmac.new(key, "\x1f".join(["Patient", *names]).encode(), "sha256").digest()
    assert resource_id(key, "Patient", *names) == str(UUID(bytes=digest[:16], version=5))
