"""Cursors and attempts: planned, claimed by one, settled, taken back and replayed."""

import threading
from contextlib import ExitStack
from dataclasses import replace

import pytest

from gateway.errors import StaleClaim, StoreError
from gateway.model.delivery import BACKFILL, ChangeKind, DeliveryState, ManifestEntry, View
from gateway.ports import Breaker, Saved
from gateway.store.holdings import EVERY
from tests.contracts.stores import MINUTE, NOW, SECOND, VIEW, attempt, uid

ANNA, BRUNO = uid(900), uid(901)
IDLE, DUE, SENDING, DEAD = DeliveryState.IDLE, DeliveryState.DUE, DeliveryState.SENDING, DeliveryState.DEAD
LOOKS = 300
"""How often a thread looks while another writes."""


def plan(store, upto=10, patient=ANNA, view=VIEW, now=NOW):
    with store.begin() as tx:
        tx.deliveries.plan({(view, patient): upto}, now)
        return tx.deliveries.of_view(view, patient)


def due(store, now=NOW, limit=100, republish_after=30 * SECOND):
    with store.begin() as tx:
        return tx.deliveries.due(now, limit, republish_after)


def claim(store, delivery, owner="w1", now=NOW):
    with store.begin() as tx:
        return tx.deliveries.claim(delivery.id, owner, now, MINUTE)


def save(store, delivery, made=None, owner="w1"):
    with store.begin() as tx:
        tx.deliveries.save(delivery, made, owner)
        return tx.deliveries.get(delivery.id)


def settled(delivery, **changed):
    """Return the cursor as a successful attempt leaves it."""
    upto = delivery.planned if delivery.window is None else delivery.window
    done = {"state": IDLE, "sent": upto, "window": None, "number": delivery.number + 1, "lease_until": None}
    return replace(delivery, **(done | changed))


def replay(store, delivery, from_change=None, now=NOW):
    with store.begin() as tx:
        tx.deliveries.replay(delivery.id, now, from_change=from_change)
        return tx.deliveries.get(delivery.id)


def test_a_planned_cursor_is_due_at_once(store):
    cursor = plan(store)
    assert (cursor.view, cursor.patient, cursor.state, cursor.due_at) == (VIEW, ANNA, DUE, NOW)
    assert (cursor.sent, cursor.planned, cursor.window, cursor.attempts) == (0, 10, None, 0)
    assert due(store) == [cursor]


def test_planning_raises_and_never_lowers(store):
    plan(store, 10)
    assert plan(store, 7).planned == 10
    assert plan(store, 12, now=NOW + MINUTE).planned == 12
    assert due(store)[0].due_at == NOW


def test_many_cursors_are_planned_in_one_call(store):
    wanted = {(VIEW, uid(number)): number for number in range(1, 400)} | {
        (VIEW, ""): 5,
        (View("ctms", "mld-01"), ANNA): 3,
    }
    with store.begin() as tx:
        tx.deliveries.plan(wanted, NOW)
        tx.deliveries.plan({}, NOW)
        assert tx.deliveries.of_view(VIEW, "").planned == 5
        assert tx.deliveries.of_view(VIEW, uid(17)).planned == 17
        assert tx.deliveries.of_view(VIEW, uid(777)) is None
    assert len(due(store, limit=1000)) == len(wanted)


def test_what_is_due_comes_oldest_first_and_not_before_its_time(store):
    late, early = plan(store, patient=ANNA, now=NOW + SECOND), plan(store, patient=BRUNO)
    future = plan(store, view=View("ctms", "mld-01"), now=NOW + MINUTE)
    assert due(store, NOW + SECOND) == [early, late]
    assert due(store, NOW + SECOND, limit=1) == [early]
    assert due(store, NOW + MINUTE) == [early, late, future]
    assert due(store, NOW - SECOND) == []


def test_the_backlog_of_one_recipient_does_not_crowd_out_another(store):
    backlog = [plan(store, patient=uid(number)) for number in range(1, 21)]
    new = plan(store, view=View("ctms", "mld-01"), now=NOW + SECOND)
    assert due(store, NOW + SECOND, limit=6) == [*backlog[:5], new]
    assert due(store, NOW + SECOND, limit=21) == [*backlog, new]


def test_a_published_cursor_is_published_again_only_after_a_while(store):
    cursor = plan(store)
    with store.begin() as tx:
        tx.deliveries.published([cursor.id], NOW)
    assert due(store, NOW + 29 * SECOND) == []
    assert due(store, NOW + 30 * SECOND) == [cursor]


def test_an_open_breaker_holds_back_its_recipient_alone(store):
    mine, other = plan(store), plan(store, view=View("ctms", "mld-01"))
    with store.begin() as tx:
        tx.breakers.set(Breaker("edc", 3, NOW + MINUTE, "HTTP 401"))
    assert due(store) == [other]
    assert due(store, NOW + MINUTE) == [mine, other]


def test_one_worker_claims_a_cursor(store):
    cursor = plan(store)
    mine = claim(store, cursor)
    assert (mine.state, mine.lease_until) == (SENDING, NOW + MINUTE)
    assert claim(store, cursor, "w2") is None
    assert claim(store, cursor) is None
    assert due(store) == []


def test_of_two_workers_claiming_at_once_one_gets_it(database):
    one = database.open()
    cursor = plan(one)
    with ExitStack() as both:
        mine = both.enter_context(one.begin()).deliveries.claim(cursor.id, "w1", NOW, MINUTE)
        both.close()
        other = one if database.is_sqlite else database.open()
        theirs = both.enter_context(other.begin()).deliveries.claim(cursor.id, "w2", NOW, MINUTE)
    assert mine is not None
    assert theirs is None


@pytest.mark.parametrize("state", [IDLE, DEAD])
def test_what_is_not_due_is_not_claimed(store, state):
    cursor = plan(store)
    assert claim(store, cursor, now=NOW - SECOND) is None
    save(store, settled(claim(store, cursor), state=state))
    assert claim(store, cursor) is None
    with store.begin() as tx:
        assert tx.deliveries.claim(12345, "w1", NOW, MINUTE) is None


def test_a_settled_cursor_owes_nothing_until_planned_again(store):
    after = save(store, settled(claim(store, plan(store, 10))), attempt(1))
    assert (after.state, after.sent, after.lease_until) == (IDLE, 10, None)
    assert plan(store, 10, now=NOW + MINUTE).state is IDLE
    again = plan(store, 11, now=NOW + MINUTE)
    assert (again.state, again.due_at) == (DUE, NOW + MINUTE)
    assert due(store, NOW + MINUTE) == [again]


def test_a_cursor_waiting_for_a_retry_keeps_its_time_and_is_published_anew(store):
    cursor = plan(store, 10)
    with store.begin() as tx:
        tx.deliveries.published([cursor.id], NOW)
    mine = claim(store, cursor)
    retry = replace(mine, state=DUE, attempts=1, due_at=NOW + 5 * SECOND, first_failed_at=NOW, detail="HTTP 429")
    assert save(store, retry, attempt(cursor.id, "deferred")) == replace(retry, lease_until=None)
    later = plan(store, 12, now=NOW + SECOND)
    assert (later.due_at, later.attempts, later.planned) == (NOW + 5 * SECOND, 1, 12)
    assert due(store, NOW + 5 * SECOND) == [later]


def test_a_dead_cursor_stays_dead_until_it_is_replayed(store):
    cursor = plan(store, 10)
    save(store, replace(claim(store, cursor), state=DEAD, attempts=9, detail="HTTP 422"), attempt(cursor.id, "refused"))
    assert plan(store, 12).state is DEAD
    again = replay(store, cursor, now=NOW + MINUTE)
    assert (again.state, again.sent, again.attempts, again.due_at) == (DUE, 0, 0, NOW + MINUTE)
    assert again.planned == 12


def test_what_is_planned_during_an_attempt_is_due_when_it_settles(store):
    mine = claim(store, plan(store, 10))
    plan(store, 15, now=NOW + SECOND)
    after = save(store, settled(mine), attempt(mine.id))
    assert (after.state, after.sent, after.planned, after.due_at) == (DUE, 10, 15, NOW + SECOND)


def test_only_the_holder_of_the_lease_may_save(store):
    cursor = plan(store)
    mine = claim(store, cursor)
    with pytest.raises(StaleClaim):
        save(store, settled(mine), attempt(mine.id), owner="w2")
    save(store, settled(mine), attempt(mine.id))
    with pytest.raises(StaleClaim):
        save(store, settled(mine), attempt(mine.id))
    with store.begin() as tx:
        assert len(tx.deliveries.attempts(cursor.id)) == 1


def test_an_expired_lease_is_settled_as_unknown_with_its_window_and_number(store):
    cursor = plan(store, 10)
    claim(store, cursor)
    plan(store, 20)
    with store.begin() as tx:
        assert tx.deliveries.expire(NOW + 59 * SECOND) == 0
        assert tx.deliveries.expire(NOW + MINUTE) == 1
        after = tx.deliveries.get(cursor.id)
        (made,) = tx.deliveries.attempts(cursor.id)
    assert (after.state, after.window, after.number, after.planned) == (DUE, 10, cursor.number, 20)
    assert (after.attempts, after.due_at, after.first_failed_at) == (1, NOW + MINUTE, NOW + MINUTE)
    assert (made.outcome, made.upto, made.started_at, made.detail) == ("unknown", 10, NOW, "interrupted")
    with pytest.raises(StaleClaim):
        save(store, settled(cursor), attempt(cursor.id))


def test_what_a_dead_owner_held_is_taken_back_at_once(store):
    mine, other = plan(store), plan(store, patient=BRUNO)
    claim(store, mine, "w1")
    claim(store, other, "w2")
    with store.begin() as tx:
        assert tx.deliveries.expire(NOW, "w1") == 1
        assert tx.deliveries.get(mine.id).state is DUE
        assert tx.deliveries.get(other.id).state is SENDING


def test_an_attempt_noted_before_it_is_made_counts_as_unknown_when_the_worker_dies(store):
    cursor = plan(store, 10)
    mine = claim(store, cursor)
    kept = save(store, replace(mine, window=8), attempt(mine.id, "unknown", 1, upto=8))
    assert (kept.state, kept.window, kept.lease_until) == (SENDING, 8, mine.lease_until)
    with store.begin() as tx:
        tx.deliveries.expire(NOW + MINUTE)
        assert tx.deliveries.get(cursor.id).window == 8
        assert [(one.outcome, len(one.manifest)) for one in tx.deliveries.attempts(cursor.id)] == [("unknown", 1)]
        assert set(tx.deliveries.held([cursor.id])[cursor.id].entries) == {uid(1)}


def test_an_attempt_noted_before_it_is_made_becomes_the_settled_one(store):
    cursor = plan(store, 10)
    mine = save(store, claim(store, cursor), attempt(cursor.id, "unknown", 1))
    save(store, settled(mine), attempt(cursor.id, "accepted", 1))
    with store.begin() as tx:
        assert [one.outcome for one in tx.deliveries.attempts(cursor.id)] == ["accepted"]


def test_attempts_come_oldest_first_and_a_limit_keeps_the_newest(store):
    cursor = plan(store)
    for number in (1, 2, 3):
        mine = claim(store, cursor)
        save(store, replace(mine, state=DUE), attempt(cursor.id, "deferred", number=number))
    with store.begin() as tx:
        assert [one.number for one in tx.deliveries.attempts(cursor.id)] == [1, 2, 3]
        assert [one.number for one in tx.deliveries.attempts(cursor.id, 2)] == [2, 3]


def test_an_attempt_comes_back_with_everything_it_carried(store):
    cursor = plan(store)
    manifest = (
        ManifestEntry("Observation", uid(1), 4_000_000_000, ChangeKind.CREATED),
        ManifestEntry("Patient", uid(2), 2, ChangeKind.RETRACTED),
        ManifestEntry("VisionPrescription", uid(3), 1, ChangeKind.UPDATED),
    )
    made = attempt(cursor.id, "accepted", detail="HTTP 200", manifest=manifest, number=7)
    save(store, settled(claim(store, cursor)), made)
    with store.begin(write=False) as tx:
        assert tx.deliveries.attempts(cursor.id) == [made]


def test_a_view_holds_what_accepted_and_unknown_attempts_carried(store):
    cursor = plan(store)
    gone = ManifestEntry("Observation", uid(1), 2, ChangeKind.RETRACTED)
    made = [
        attempt(cursor.id, "accepted", 1, 2),
        attempt(cursor.id, "refused", 3),
        attempt(cursor.id, "deferred", 4),
        attempt(cursor.id, "unknown", 5),
        replace(attempt(cursor.id, "accepted"), manifest=(gone,)),
    ]
    for one in made:
        save(store, replace(claim(store, cursor), state=DUE), one)
    with store.begin(write=False) as tx:
        held = tx.deliveries.held([cursor.id])[cursor.id].entries
        assert set(held) == {uid(1), uid(2), uid(5)}
        assert held[uid(1)] == gone
        assert tx.deliveries.held([cursor.id])[cursor.id].unsure == {uid(5)}
        assert tx.deliveries.held([12345])[12345].entries == {}
        assert tx.deliveries.held([12345])[12345].unsure == set()


def test_what_a_view_holds_after_many_attempts_is_what_each_of_them_left(store):
    """Snapshots are taken on the way; what was unsure then may have become certain, or been taken back."""
    cursor = plan(store)
    outcomes = ("accepted", "unknown", "accepted", "deferred", "refused")
    held, unsure = {}, set()
    for number in range(1, 2 * EVERY + 10):
        outcome, kind = outcomes[number % 5], list(ChangeKind)[number % 3]
        carried = tuple(ManifestEntry("Observation", uid(number * step % 37), number, kind) for step in (1, 5))
        made = replace(attempt(cursor.id, outcome, number=number), manifest=carried)
        save(store, replace(claim(store, cursor), state=DUE, number=number + 1), made)
        if outcome in ("accepted", "unknown"):
            held |= {entry.resource: entry for entry in carried}
            ids = {entry.resource for entry in carried}
            unsure = unsure | ids if outcome == "unknown" else unsure - ids
        if number % 16 == 0 or number > 2 * EVERY:
            with store.begin(write=False) as tx:
                found = tx.deliveries.held([cursor.id])[cursor.id]
                for id in (uid(number * 5 % 37), uid(number), uid(999)):
                    assert found.find(id) == ((held[id], id not in unsure) if id in held else None)
                assert found.entries == held
                assert tx.deliveries.held([cursor.id])[cursor.id].unsure == unsure


def test_a_replay_begins_again_under_a_new_delivery_id(store):
    cursor = plan(store, 10)
    done = save(store, settled(claim(store, cursor)), attempt(cursor.id))
    again = replay(store, cursor, 0, NOW + MINUTE)
    assert (again.state, again.sent, again.planned, again.due_at, again.attempts) == (DUE, 0, 10, NOW + MINUTE, 0)
    assert again.delivery_id != done.delivery_id
    assert due(store, NOW + MINUTE) == [again]


def test_a_replay_never_skips_what_is_owed(store):
    cursor = plan(store, 10)
    assert replay(store, cursor, 8).sent == 0


def test_a_replay_during_an_attempt_begins_when_that_is_settled(store):
    cursor = plan(store, 10)
    save(store, settled(claim(store, cursor)), attempt(cursor.id))
    plan(store, 20)
    mine = claim(store, cursor)
    assert replay(store, cursor, 5).state is SENDING
    after = save(store, settled(mine), attempt(cursor.id))
    assert (after.state, after.sent, after.planned) == (DUE, 5, 20)
    assert save(store, settled(claim(store, cursor, now=NOW + MINUTE)), None).state is IDLE


def test_a_backfill_waits_until_a_window_that_may_have_arrived_is_settled(store):
    cursor = plan(store, 10)
    mine = claim(store, cursor)
    save(store, replace(mine, state=DUE, window=10, attempts=1), attempt(cursor.id, "unknown"))
    waiting = replay(store, cursor, BACKFILL)
    assert (waiting.state, waiting.window, waiting.number) == (DUE, 10, mine.number)
    after = save(store, settled(claim(store, cursor)), attempt(cursor.id))
    assert (after.state, after.sent, after.window) == (DUE, BACKFILL, None)


def test_a_replay_of_everything_covers_a_backfill(store):
    cursor = plan(store, 10)
    save(store, settled(claim(store, cursor)), attempt(cursor.id))
    assert replay(store, cursor, BACKFILL).sent == BACKFILL
    assert replay(store, cursor, 0).sent == 0
    assert replay(store, cursor, BACKFILL).sent == 0


def test_replaying_an_unknown_cursor_does_nothing(store):
    with store.begin() as tx:
        tx.deliveries.replay(12345, NOW)
        assert tx.deliveries.find() == []


def test_cursors_are_found_newest_first(store):
    a, b = plan(store), plan(store, patient=BRUNO)
    c = plan(store, view=View("ctms", "mld-01"))
    save(store, settled(claim(store, b)), None)
    with store.begin(write=False) as tx:
        find = tx.deliveries.find
        assert [one.id for one in find()] == [c.id, b.id, a.id]
        assert [one.id for one in find(recipient="edc")] == [b.id, a.id]
        assert [one.id for one in find(state="idle")] == [b.id]
        assert [one.id for one in find(before=c.id, limit=1)] == [b.id]


def test_the_shared_resources_a_view_holds_are_remembered(store):
    other = View("edc", "mld-02")
    with store.begin() as tx:
        tx.deliveries.hold_shared(VIEW, {uid(1): 5, uid(2): 6})
        tx.deliveries.hold_shared(VIEW, {uid(1): 9, uid(2): 3})
        tx.deliveries.hold_shared(other, {uid(1): 1})
        tx.deliveries.hold_shared(other, {})
    with store.begin(write=False) as tx:
        assert tx.deliveries.shared_held(VIEW) == {uid(1): 9, uid(2): 6}
        assert tx.deliveries.shared_held(other) == {uid(1): 1}


def test_refused_entries_are_listed_for_a_person(store):
    cursor = plan(store)
    with store.begin() as tx:
        tx.deliveries.refuse_entries(cursor.id, [("Observation/x", "HTTP 422"), ("Patient/y", "HTTP 400")], NOW)
        tx.deliveries.refuse_entries(cursor.id, [], NOW)
        assert tx.deliveries.refused(cursor.id) == [("Observation/x", "HTTP 422"), ("Patient/y", "HTTP 400")]
        assert tx.deliveries.refused(12345) == []


def test_what_is_owed_is_counted_per_recipient(store):
    plan(store, now=NOW + SECOND)
    claim(store, plan(store, patient=BRUNO))
    save(store, replace(claim(store, plan(store, patient=uid(3))), state=DEAD), None)
    save(store, settled(claim(store, plan(store, view=View("ctms", "mld-01")))), None)
    with store.begin(write=False) as tx:
        lines = [(line.name, line.waiting, line.oldest, line.dead) for line in tx.recipient_queues()]
    assert lines == [("edc", 2, NOW, 1)]


def test_what_is_owed_is_counted_whatever_becomes_of_it_meanwhile(store):
    cursor, over = plan(store, 1), threading.Event()

    def pay():
        upto = 1
        while not over.is_set():
            claimed = claim(store, cursor)
            plan(store, upto := upto + 1)
            save(store, settled(claimed, due_at=NOW))

    payer = threading.Thread(target=pay)
    payer.start()
    try:
        for _ in range(LOOKS):
            with store.begin(write=False) as tx:
                assert [line.waiting for line in tx.recipient_queues()] == [1]
    finally:
        over.set()
        payer.join()


def claim_many(store, deliveries, owner="w1", now=NOW):
    with store.begin() as tx:
        return tx.deliveries.claim_many([one.id for one in deliveries], owner, now, MINUTE)


def save_many(store, saved, owner="w1", announced_at=None):
    with store.begin() as tx:
        return tx.deliveries.save_many(saved, owner, announced_at)


def test_a_group_is_claimed_in_the_order_asked_and_what_is_not_due_left_out(store):
    first, second, third = (plan(store, patient=uid(number)) for number in (3, 2, 1))
    claim(store, second, "w2")
    later = plan(store, patient=BRUNO, now=NOW + MINUTE)
    mine = claim_many(store, [third, later, second, first, third])
    assert [(one.id, one.state, one.lease_until) for one in mine] == [
        (third.id, SENDING, NOW + MINUTE),
        (first.id, SENDING, NOW + MINUTE),
    ]
    assert claim_many(store, []) == []


def test_a_group_is_saved_together_and_whoever_lost_its_lease_is_left_out(store):
    mine = claim_many(store, [plan(store, patient=uid(number)) for number in (1, 2, 3)])
    with store.begin() as tx:
        tx.deliveries.expire(NOW + MINUTE)
    lost = claim(store, mine[1], "w2", NOW + MINUTE)
    again = claim_many(store, [mine[0], mine[2]], now=NOW + MINUTE)
    stands = save_many(store, [Saved(settled(one), attempt(one.id)) for one in (again[0], lost, again[1])])
    assert set(stands) == {mine[0].id, mine[2].id}
    with store.begin(write=False) as tx:
        assert stands == {id: tx.deliveries.get(id) for id in stands}
        assert tx.deliveries.get(lost.id).state is SENDING
        assert [one.outcome for one in tx.deliveries.attempts(mine[0].id)] == ["unknown", "accepted"]
        assert [one.outcome for one in tx.deliveries.attempts(lost.id)] == ["unknown"]


def test_attempts_of_a_group_that_carried_what_was_noted_keep_its_manifest(store):
    mine = claim_many(store, [plan(store, patient=uid(number)) for number in (1, 2)])
    noted = [attempt(one.id, "unknown", number) for number, one in enumerate(mine, 1)]
    save_many(store, [Saved(one, note) for one, note in zip(mine, noted, strict=True)])
    came = [attempt(mine[0].id, "accepted"), attempt(mine[1].id, "accepted", 7)]
    save_many(store, [Saved(settled(mine[0]), came[0], as_noted=True), Saved(settled(mine[1]), came[1])])
    with store.begin(write=False) as tx:
        assert set(tx.deliveries.held([mine[0].id])[mine[0].id].entries) == {uid(1)}
        assert set(tx.deliveries.held([mine[1].id])[mine[1].id].entries) == {uid(7)}
        assert [one.outcome for one in tx.deliveries.attempts(mine[0].id)] == ["accepted"]


def test_what_is_due_again_when_it_settles_counts_as_woken_by_whoever_settles_it(store):
    owing, failing = claim_many(store, [plan(store, 10), plan(store, 10, BRUNO)])
    plan(store, 15)
    retry = replace(failing, state=DUE, attempts=1, due_at=NOW)
    stands = save_many(store, [Saved(settled(owing), attempt(owing.id)), Saved(retry, None)], announced_at=NOW + SECOND)
    assert (stands[owing.id].state, stands[owing.id].due_at) == (DUE, NOW + SECOND)
    assert [one.id for one in due(store, NOW + SECOND)] == [failing.id]
    assert {one.id for one in due(store, NOW + MINUTE)} == {owing.id, failing.id}


def test_planning_and_claiming_the_same_cursors_at_once_never_wait_in_a_ring(database):
    one = database.open()
    other = one if database.is_sqlite else database.open()
    cursors = [plan(one, patient=uid(number)) for number in range(40, 0, -1)]
    troubles = []

    def planning():
        try:
            for upto in range(11, 31):
                with other.begin() as tx:
                    tx.deliveries.plan({(VIEW, uid(number)): upto for number in range(1, 41)}, NOW)
        except StoreError as error:
            troubles.append(error)

    thread = threading.Thread(target=planning)
    thread.start()
    for _ in range(20):
        mine = claim_many(one, cursors)
        save_many(one, [Saved(replace(each, state=DUE), None) for each in reversed(mine)])
    thread.join()
    assert troubles == []
