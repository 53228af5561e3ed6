"""Manifests come back as they were packed, and stay small."""

from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from gateway.model.delivery import ChangeKind, ManifestEntry
from gateway.store.manifest import find, pack, unpack

ids = st.integers(0, 2**128 - 1).map(lambda number: str(UUID(int=number)))
types = st.sampled_from(["Observation", "Patient", "ResearchSubject", "VisionPrescription", "Basic"])
entries = st.builds(ManifestEntry, types, ids, st.integers(1, 2**32 - 1), st.sampled_from(ChangeKind))


@given(st.lists(entries, max_size=20))
def test_entries_come_back_as_they_were(carried):
    assert list(unpack(pack(carried))) == carried


alike = st.sampled_from(["00" * 16, "01" * 16, "00" * 15 + "01", "01" + "00" * 15]).map(lambda text: str(UUID(text)))


@given(
    st.lists(st.builds(ManifestEntry, types, alike | ids, st.integers(1, 2**24), st.sampled_from(ChangeKind))), alike
)
def test_the_last_entry_of_a_resource_is_found_whatever_bytes_look_like_its_id(carried, wanted):
    last = next((entry for entry in reversed(carried) if entry.resource == wanted), None)
    assert find(pack(carried), UUID(wanted).bytes) == last


def test_an_entry_takes_22_bytes():
    entry = ManifestEntry("Observation", str(UUID(int=7)), 1, ChangeKind.CREATED)
    assert len(pack([entry] * 500)) == 500 * 22
