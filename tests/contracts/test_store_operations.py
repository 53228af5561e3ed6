"""Gaps, holds, code maps, the audit trail, the outbox and the circuits."""

from dataclasses import replace
from datetime import date
from decimal import Decimal

import pytest

from gateway.model.site import CodeMapEntry
from gateway.model.translation import Gap
from gateway.ports import AuditEvent, Breaker, Event, Hold, Process, Unreceipted
from tests.contracts.stores import DAY, MINUTE, NOW, SECOND

HGB = Gap("code", "OBX-3", "HGB", system="L", unit="g/dl", text="Haemoglobin")
MAPPED = CodeMapEntry(
    code="HGB",
    codings=(("http://loinc.org", "718-7", "Hämoglobin"), ("urn:x", "y", "")),
    system="L",
    unit="g/dl",
    ucum="g/dL",
    assumed_unit="g/dl",
    low=Decimal("1.50"),
    high=Decimal("30"),
    method_required=True,
    valid_from=date(2026, 1, 1),
    valid_until=date(2026, 12, 31),
)


def record(store, message, *gaps, feed="lab", at=NOW):
    with store.begin() as tx:
        tx.worklist.record_gaps([(feed, message, gap) for gap in gaps], at)


def gaps(store, **asked):
    with store.begin(write=False) as tx:
        return tx.worklist.gaps(**asked)


def test_a_gap_is_listed_once_and_counted_once_per_message(store):
    record(store, 1, HGB, HGB)
    record(store, 1, HGB, at=NOW + DAY)
    record(store, 2, HGB, at=NOW + MINUTE)
    (line,) = gaps(store)
    assert (line.feed, line.gap, line.count) == ("lab", HGB, 2)
    assert (line.first_seen, line.last_seen, line.mapped_at) == (NOW, NOW + MINUTE, None)


@pytest.mark.parametrize(
    "other",
    [replace(HGB, unit="mmol/l"), replace(HGB, place="OBX-6"), replace(HGB, code="HB"), replace(HGB, kind="unit")],
)
def test_another_unit_place_code_or_kind_is_another_gap(store, other):
    record(store, 1, HGB, other)
    assert {line.gap for line in gaps(store)} == {HGB, other}


def test_another_feed_has_its_own_gap(store):
    record(store, 1, HGB)
    record(store, 2, HGB, feed="adt")
    assert sorted(line.feed for line in gaps(store)) == ["adt", "lab"]


def test_the_most_frequent_gap_comes_first(store):
    other = replace(HGB, code="NA")
    record(store, 1, HGB, other)
    record(store, 2, other)
    assert [(line.gap.code, line.count) for line in gaps(store)] == [("NA", 2), ("HGB", 1)]


def test_a_mapped_gap_leaves_the_list_and_returns_when_it_shows_again(store):
    record(store, 1, HGB)
    with store.begin() as tx:
        tx.worklist.close_gap(tx.worklist.gaps()[0].id, NOW)
    assert gaps(store) == []
    assert [line.mapped_at for line in gaps(store, open_only=False)] == [NOW]
    record(store, 2, HGB)
    assert [line.count for line in gaps(store)] == [2]


def test_recording_no_gap_lists_none(store):
    record(store, 1)
    assert gaps(store) == []


def test_the_same_hold_is_opened_once_and_stays_closed(store):
    hold = Hold("implausible", "above the bounds", message=3, resource="Observation/x", opened_at=NOW)
    with store.begin() as tx:
        first = tx.worklist.open_hold(hold)
        other = tx.worklist.open_hold(replace(hold, message=None))
        assert tx.worklist.open_hold(replace(hold, reason="again")) == first
        assert tx.worklist.holds() == [replace(hold, id=first), replace(hold, message=None, id=other)]
        tx.worklist.close_hold(first, NOW + DAY)
        assert tx.worklist.open_hold(hold) == first
        assert [one.id for one in tx.worklist.holds()] == [other]
        assert tx.worklist.holds(open_only=False)[0].closed_at == NOW + DAY


# --- code maps ------------------------------------------------------------------------------------------------------


def bring(store, *entries, site="milan"):
    with store.begin() as tx:
        return tx.codes.import_entries(site, entries, author="cli", reason="codes/milan.csv", at=NOW)


def test_an_entry_comes_back_exactly(store):
    bare = CodeMapEntry(code="NA", codings=())
    bring(store, MAPPED, bare)
    with store.begin(write=False) as tx:
        assert tx.codes.of_site("milan") == (MAPPED, bare)
        assert str(tx.codes.of_site("milan")[0].low) == "1.50"
        assert tx.codes.of_site("rome") == ()


def test_importing_the_same_rows_changes_nothing(store):
    assert bring(store) is False
    assert bring(store, MAPPED) is True
    with store.begin(write=False) as tx:
        revision = tx.codes.revision()
    assert bring(store, MAPPED) is False
    assert bring(store, MAPPED, site="rome") is True
    assert bring(store) is True
    with store.begin(write=False) as tx:
        assert tx.codes.of_site("milan") == ()
        assert tx.codes.of_site("rome") == (MAPPED,)
        assert tx.codes.revision() > revision


def test_a_persons_row_comes_first_and_outlives_the_next_import(store):
    mine, newer = replace(MAPPED, ucum="g/L"), replace(MAPPED, ucum="mmol/L")
    bring(store, MAPPED)
    with store.begin() as tx:
        before = tx.codes.revision()
        tx.codes.add("milan", mine, author="anna", reason="lab said so", at=NOW)
        assert tx.codes.revision() > before
        tx.codes.add("milan", newer, author="anna", reason="lab said otherwise", at=NOW)
    bring(store, replace(MAPPED, code="X"))
    with store.begin(write=False) as tx:
        assert tx.codes.of_site("milan") == (newer, mine, replace(MAPPED, code="X"))


# --- audit, outbox, breakers ----------------------------------------------------------------------------------------


def test_audit_events_are_found_newest_first(store):
    one = AuditEvent(NOW, "released", "deliver", "delivery/1", "accepted")
    two = AuditEvent(NOW + SECOND, "withheld", "deliver", "delivery/1", "consent")
    three = AuditEvent(NOW, "released", "deliver", "delivery/2")
    with store.begin() as tx:
        tx.audit.write([one, two])
        tx.audit.write([three])
        tx.audit.write([])
        assert tx.audit.find() == [three, two, one]
        assert tx.audit.find(subject="delivery/1") == [two, one]
        assert tx.audit.find(action="released", limit=1) == [three]


def test_an_event_waits_for_its_receipt(store):
    with store.begin() as tx:
        tx.outbox.add("reg", 1, Event("reg.mld-01.Observation.created", b"{}", "1-1-a"), NOW)
        tx.outbox.add("reg", 1, Event("other", b"other", "1-1-a"), NOW + DAY)
        tx.outbox.add("reg", 1, Event("reg.mld-01.Patient.created", b"[]", "1-1-b"), NOW + SECOND)
        tx.outbox.add("edc", 2, Event("k", b"", "2-1-a"), NOW)
        waiting = tx.outbox.unreceipted("reg", NOW + MINUTE, 10)
        assert waiting == [
            Unreceipted("1-1-a", 1, "reg.mld-01.Observation.created", b"{}"),
            Unreceipted("1-1-b", 1, "reg.mld-01.Patient.created", b"[]"),
        ]
        assert tx.outbox.unreceipted("reg", NOW + MINUTE, 1) == waiting[:1]
        assert tx.outbox.unreceipted("reg", NOW, 10) == []
        assert tx.outbox.receipt("reg", "1-1-a") is True
        assert tx.outbox.receipt("reg", "1-1-a") is False
        assert tx.outbox.receipt("edc", "1-1-b") is False
        assert tx.outbox.unreceipted("reg", NOW + MINUTE, 10) == waiting[1:]


def test_a_republished_event_waits_anew_but_grows_old_all_the_same(store):
    with store.begin() as tx:
        for name in ("a", "b"):
            tx.outbox.add("reg", 1, Event("k", name.encode(), name), NOW)
        tx.outbox.republished(["a"], NOW + DAY)
        assert [each.message_id for each in tx.outbox.unreceipted("reg", NOW + DAY, 10)] == ["b"]
        assert tx.outbox.prune("edc", NOW + DAY) == 0
        assert tx.outbox.prune("reg", NOW) == 0
        assert tx.outbox.prune("reg", NOW + SECOND) == 2


def test_a_circuit_is_closed_until_written(store):
    opened = Breaker("edc", 3, NOW + MINUTE, "HTTP 401")
    with store.begin() as tx:
        assert tx.breakers.get("edc") == Breaker("edc")
        tx.breakers.set(opened)
        assert tx.breakers.get("edc") == opened
        tx.breakers.set(Breaker("edc"))
        assert tx.breakers.get("edc") == Breaker("edc")


def test_a_process_is_listed_from_its_first_beat_until_it_leaves(store):
    with store.begin() as tx:
        tx.processes.beat(Process("host-1", ("listen", "translate"), NOW, NOW))
        tx.processes.beat(Process("host-2", ("deliver",), NOW, NOW))
    with store.begin() as tx:
        tx.processes.beat(Process("host-1", ("listen", "translate"), NOW, NOW + 10 * SECOND))
        tx.processes.leave("host-2")

    with store.begin(write=False) as tx:
        (running,) = tx.processes.list_all()
    assert (running.owner, running.roles) == ("host-1", ("listen", "translate"))
    assert running.seen_at == NOW + 10 * SECOND
