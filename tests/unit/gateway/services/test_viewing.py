"""Who looked at a person's data is noted before anything is shown."""

import json

import pytest

from gateway.errors import StoreError
from gateway.ports import AuditEvent
from gateway.services.viewing import note_view, take_in
from tests.releasing import NOON, recipient, world

LOOK = AuditEvent(NOON, "viewed", "anna (root at the command line)", "message/12", "as it came")


@pytest.fixture
def store(tmp_path):
    with world(tmp_path, recipient()) as made:
        yield made.store


def lines(store):
    with store.begin(write=False) as tx:
        return tx.audit.find(action="viewed")


def test_a_look_beside_an_embedded_gateway_waits_for_it(store, tmp_path):
    note_view(store, tmp_path / "inbox", LOOK)
    assert lines(store) == []

    assert take_in(store, tmp_path / "inbox") == 1

    assert lines(store) == [LOOK]
    assert take_in(store, tmp_path / "inbox") == 0


def test_a_look_where_others_write_too_is_a_line_at_once(store):
    note_view(store, None, LOOK)

    assert lines(store) == [LOOK]


def test_what_cannot_be_noted_is_not_shown(store, tmp_path):
    (tmp_path / "inbox").write_text("no folder")

    with pytest.raises(StoreError, match="nothing is shown"):
        note_view(store, tmp_path / "inbox", LOOK)


def test_a_spoilt_line_is_noted_as_such_and_stops_no_other(store, tmp_path):
    note_view(store, tmp_path / "inbox", LOOK)
    (tmp_path / "inbox" / "0.json").write_text(json.dumps({"at": "yesterday"}))

    assert take_in(store, tmp_path / "inbox") == 2

    assert {line.detail for line in lines(store)} == {"as it came", "a line in the inbox could not be read"}
