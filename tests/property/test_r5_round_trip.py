"""The R5 view is R5, and tells all that R4 said: whatever the resource, it comes back as it was."""

from __future__ import annotations

import pytest
from fhir.resources import get_fhir_model_class
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.fhir import codec
from gateway.fhir.from_r5 import from_r5
from gateway.fhir.r5 import to_r5
from gateway.release.kinds import REQUIRED
from tests.r4_resources import random_resource
from tests.r5_codes import faults


@pytest.mark.parametrize("kind", sorted(REQUIRED))
@settings(max_examples=100)
@given(seed=st.integers(0, 2**32))
def test_a_resource_is_valid_in_r5_and_comes_back_as_it_was(kind, seed):
    text = codec.encode(random_resource(kind, seed))

    shown = codec.encode(to_r5(codec.decode(text)))

    model = get_fhir_model_class(kind).model_validate(codec.decode(shown))
    assert list(faults(model, kind)) == []
    assert codec.decode(codec.encode(from_r5(codec.decode(shown)))) == codec.decode(text)
