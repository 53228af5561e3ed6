"""Manifests come back as they were packed, and stay small."""

from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from gateway.model.delivery import ChangeKind, ManifestEntry
from gateway.store.manifest import pack, unpack

ids = st.integers(0, 2**128 - 1).map(lambda number: str(UUID(int=number)))
types = st.sampled_from(["Observation", "Patient", "ResearchSubject", "VisionPrescription", "Basic"])
entries = st.builds(ManifestEntry, types, ids, st.integers(1, 2**32 - 1), st.sampled_from(ChangeKind))


@given(st.lists(entries, max_size=20))
def test_entries_come_back_as_they_were(carried):
    assert list(unpack(pack(carried))) == carried


def test_an_entry_takes_22_bytes():
    entry = ManifestEntry("Observation", str(UUID(int=7)), 1, ChangeKind.CREATED)
    assert len(pack([entry] * 500)) == 500 * 22
