"""Messages and lanes: handed out in order, to one worker at a time, and settled."""

import os
from contextlib import ExitStack

import pytest

from gateway.errors import StaleClaim
from gateway.model.message import Became, MessageState
from gateway.model.translation import Gap
from gateway.ports import LaneClaim, MessageFilter
from tests.contracts.stores import DAY, MINUTE, NOW, SECOND, incoming


def receive(store, *lanes, **changed):
    offset = len(ids_of(store, MessageFilter(limit=1000)))
    batch = [incoming(f"M{offset + place}", lane=lane, **changed) for place, lane in enumerate(lanes)]
    return [one.id for one in store.receive(batch)]


def ids_of(store, wanted):
    with store.begin(write=False) as tx:
        return [message.id for message in tx.messages.find(wanted)]


def claim(store, owner, now=NOW, limit=64):
    with store.begin() as tx:
        return tx.lanes.claim(owner, now, MINUTE, limit)


def test_a_worker_gets_no_more_than_fits_into_memory_and_one_message_at_least(store):
    first, second = (row.id for row in store.receive([incoming(str(n), raw=os.urandom(18 << 20)) for n in (1, 2)]))

    with store.begin(write=False) as tx:
        assert [message.id for message in tx.messages.waiting([LaneClaim(7, 1)], 10)] == [first]
    with store.begin() as tx:
        tx.messages.settle([Became(first, MessageState.FAILED)], NOW)
        assert [message.id for message in tx.messages.waiting([LaneClaim(7, 1)], 10)] == [second]


def test_a_worker_gets_the_oldest_messages_of_its_lanes_in_order(store):
    a, b, c, d, e = receive(store, 3, 5, 9, 3, 5)
    with store.begin(write=False) as tx:
        waiting = tx.messages.waiting([LaneClaim(3, 1), LaneClaim(5, 1)], 3)
        assert [message.id for message in waiting] == [a, b, d]
        assert waiting[0].raw.startswith(b"MSH|")
        assert [message.id for message in tx.messages.waiting([LaneClaim(9, 1)], 10)] == [c]
        assert tx.messages.waiting([], 10) == []
    assert e > d


def test_what_is_in_work_already_is_not_handed_out_again(store):
    a, b, c, d = receive(store, 3, 5, 3, 5)
    with store.begin(write=False) as tx:
        waiting = tx.messages.waiting([LaneClaim(3, 1), LaneClaim(5, 1)], 1, besides={a, b})
        assert [message.id for message in waiting] == [c]
        assert tx.messages.waiting([LaneClaim(3, 1), LaneClaim(5, 1)], 9, besides={a, b, c, d}) == []


def test_a_settled_message_no_longer_waits(store):
    first, second = receive(store, 3, 3)
    with store.begin() as tx:
        tx.messages.settle([Became(first, MessageState.FAILED, place="OBX-5", reason="not a number")], NOW)
        assert [message.id for message in tx.messages.waiting([LaneClaim(3, 1)], 10)] == [second]
        settled = tx.messages.get(first)
    assert (settled.state, settled.place, settled.reason) == (MessageState.FAILED, "OBX-5", "not a number")
    assert settled.settled_at == NOW


def test_restored_messages_wait_again(store):
    first, second, _ = receive(store, 3, 3, 3)
    with store.begin() as tx:
        tx.messages.settle([Became(first, MessageState.TRANSLATED)], NOW)
        tx.messages.settle([Became(second, MessageState.FAILED, place="PID-3", reason="empty")], NOW)
        assert tx.messages.restore([first, second, 999]) == 2
        back = tx.messages.get(second)
    assert (back.state, back.place, back.reason, back.settled_at) == (MessageState.STORED, "", "", None)


def test_an_unknown_message_is_none(store):
    with store.begin(write=False) as tx:
        assert tx.messages.get(12345) is None


def test_messages_are_found_newest_first_by_what_is_asked(store):
    a, b = receive(store, 1, 2)
    (c,) = receive(store, 1, feed="adt", received_at=NOW + DAY)
    with store.begin() as tx:
        tx.messages.settle([Became(b, MessageState.FAILED)], NOW)

    assert ids_of(store, MessageFilter()) == [c, b, a]
    assert ids_of(store, MessageFilter(feed="lab")) == [b, a]
    assert ids_of(store, MessageFilter(state=MessageState.FAILED)) == [b]
    assert ids_of(store, MessageFilter(control_id="M0")) == [a]
    assert ids_of(store, MessageFilter(since=NOW + SECOND)) == [c]
    assert ids_of(store, MessageFilter(until=NOW + SECOND)) == [b, a]
    assert ids_of(store, MessageFilter(before=c, limit=1)) == [b]
    with store.begin(write=False) as tx:
        assert {message.raw for message in tx.messages.find(MessageFilter())} == {b""}


def test_the_messages_of_a_gap_are_known(store):
    first, _, third = receive(store, 1, 1, 1)
    gap = Gap("code", "OBX-3", "HGB")
    with store.begin() as tx:
        tx.worklist.record_gaps([("lab", first, gap), ("lab", third, gap)], NOW)
        line = tx.worklist.gaps()[0]
        assert tx.messages.with_gap(line.id) == [first, third]


# --- lanes ----------------------------------------------------------------------------------------------------------


def test_only_lanes_with_waiting_messages_are_claimed_oldest_first(store):
    assert claim(store, "w1") == []
    receive(store, 9, 4, 9, 0)
    assert [one.lane for one in claim(store, "w1")] == [9, 4, 0]


def test_a_claimed_lane_is_nobody_elses_until_its_lease_ends(store):
    receive(store, 4, 5)
    mine = claim(store, "w1", limit=1)
    assert [one.lane for one in claim(store, "w2")] == [5]
    assert claim(store, "w2", NOW + SECOND) == claim(store, "w2", NOW + SECOND)
    assert {one.lane for one in claim(store, "w3", NOW + MINUTE)} == {4}
    assert mine[0].lane == 4


def test_the_epoch_grows_only_when_a_lane_changes_hands(store):
    receive(store, 4)
    (first,) = claim(store, "w1")
    assert claim(store, "w1", NOW + SECOND) == [first]
    (second,) = claim(store, "w2", NOW + 2 * MINUTE)
    assert second.epoch > first.epoch


def test_a_worker_given_up_for_dead_cannot_write(store):
    receive(store, 4, 5)
    mine = claim(store, "w1")
    with store.begin() as tx:
        tx.lanes.confirm(mine, NOW)
    taken = claim(store, "w2", NOW + 2 * MINUTE, limit=1)

    def finish():
        with store.begin() as tx:
            tx.messages.settle([Became(1, MessageState.TRANSLATED)], NOW)
            tx.lanes.confirm(mine, NOW + 2 * MINUTE)

    with pytest.raises(StaleClaim):
        finish()
    with store.begin() as tx:
        tx.lanes.confirm(taken, NOW + 2 * MINUTE)
        assert tx.messages.find(MessageFilter(state=MessageState.TRANSLATED)) == []


def test_a_lease_that_ran_out_still_holds_while_nobody_took_the_lane(store):
    receive(store, 4)
    mine = claim(store, "w1")
    with store.begin() as tx:
        tx.lanes.confirm(mine, NOW + DAY)


def test_a_renewed_lane_is_nobody_elses_for_another_lease(store):
    receive(store, 4)
    mine = claim(store, "w1")
    with store.begin() as tx:
        tx.lanes.renew("w1", mine, NOW + 3 * MINUTE)
    assert claim(store, "w2", NOW + 2 * MINUTE) == []
    (theirs,) = claim(store, "w2", NOW + 4 * MINUTE)
    with pytest.raises(StaleClaim), store.begin() as tx:
        tx.lanes.renew("w1", mine, NOW + 9 * MINUTE)
    with store.begin() as tx:
        tx.lanes.confirm([theirs], NOW)


def test_a_lane_given_back_is_free_at_once(store):
    receive(store, 4)
    mine = claim(store, "w1")
    with store.begin() as tx:
        tx.lanes.give_back("w1", mine)
    with pytest.raises(StaleClaim), store.begin() as tx:
        tx.lanes.confirm(mine, NOW)
    assert [one.lane for one in claim(store, "w2", NOW + SECOND)] == [4]


def test_giving_back_does_not_free_what_somebody_else_holds(store):
    receive(store, 4)
    mine = claim(store, "w1")
    theirs = claim(store, "w2", NOW + 2 * MINUTE)
    with store.begin() as tx:
        tx.lanes.give_back("w1", mine)
    with store.begin() as tx:
        tx.lanes.confirm(theirs, NOW + 2 * MINUTE)


def test_two_workers_claiming_at_once_share_no_lane(database):
    one = database.open()
    receive(one, *range(20))
    with ExitStack() as both:
        first = both.enter_context(one.begin())
        mine = first.lanes.claim("w1", NOW, MINUTE, 12)
        if database.is_sqlite:  # one writer at a time
            both.close()
        other = one if database.is_sqlite else database.open()
        theirs = both.enter_context(other.begin()).lanes.claim("w2", NOW, MINUTE, 64)
    assert len(mine) == 12
    assert {claim.lane for claim in mine}.isdisjoint(claim.lane for claim in theirs)
    assert len(theirs) == 8


def test_what_waits_is_counted_per_feed(store):
    receive(store, 1, 2)
    receive(store, 3, feed="adt", received_at=NOW - DAY)
    first = ids_of(store, MessageFilter(feed="lab"))[0]
    with store.begin() as tx:
        tx.messages.settle([Became(first, MessageState.TRANSLATED)], NOW)
        assert [(line.name, line.waiting, line.oldest) for line in tx.feed_queues()] == [
            ("adt", 1, NOW - DAY),
            ("lab", 1, NOW),
        ]
