"""What the fictional year comes to: the newest version of everything, and what each recipient holds."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from fixtures.story import Played, story
from gateway.fhir import codec
from gateway.fhir.checks import check
from gateway.ports import MessageFilter
from gateway.services.reconcile import Unit, reconcile
from tests.contracts.deliveries import HandClock
from tests.story import (
    EXPECTED_RECEIVED,
    EXPECTED_STATE,
    RECEIVED_AT,
    Year,
    normalised,
    play,
    settings,
    state_of,
    text_of,
)

HOLDS = [
    ("conflict", "MSH-10 was received before with other content"),
    ("implausible", "effective time in the future"),
    ("implausible", "effective time in the future"),
    ("implausible", "method missing"),
    ("implausible", "number with two readings"),
    ("implausible", "unit does not fit the code"),
    ("implausible", "unit does not fit the code"),
    ("implausible", "unit missing"),
    ("regression", "a provisional result came after the final one"),
]
GAPS = {
    ("adt", "table", "NNITA"),
    ("ankara", "code", "SEDIM"),
    ("ankara", "unit", "mm/saat"),
    ("lis", "code", "DTRASF"),
    ("lis", "code", "VES"),
    ("lis", "unit", "ADAE"),
    ("lis", "unit", "CD8AS"),
    ("lis", "unit", "G/l"),
    ("research", "code", "NFL"),
}


@pytest.fixture(scope="module")
def year(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Year]:
    played = play(settings(tmp_path_factory.mktemp("year")))
    yield played
    played.store.close()


def _expected(path: Path, found: dict[str, Any], *, update: bool) -> Any:
    if update:
        path.write_text(text_of(found), "utf-8")
    return codec.decode(path.read_bytes())


def test_after_the_year_the_store_holds_the_expected_resources(year: Year, update: bool) -> None:
    found = state_of(year.store)
    assert found == _expected(EXPECTED_STATE, found, update=update)


def test_after_the_year_each_recipient_holds_what_it_may_and_nothing_else(year: Year, update: bool) -> None:
    found = {
        f"{recipient} {reference}": resource
        for recipient, held in sorted(year.received.items())
        for reference, resource in normalised(held).items()
    }
    for resource in found.values():
        check(resource)
    assert found == _expected(EXPECTED_RECEIVED, found, update=update)


def test_a_clock_that_is_set_back_time_and_again_changes_nothing_of_the_year(year: Year, tmp_path: Path) -> None:
    clock = HandClock(RECEIVED_AT + timedelta(days=2))

    def played() -> Iterator[Played]:
        for number, message in enumerate(story()):
            clock.advance(hours=-1 if number % 10 == 5 else 0, seconds=1)
            yield message

    other = play(settings(tmp_path), messages=played(), clock=clock)

    assert state_of(other.store) == state_of(year.store)
    assert {id: normalised(held) for id, held in other.received.items()} == {
        id: normalised(held) for id, held in year.received.items()
    }
    assert other.answers == year.answers
    other.store.close()


def _held(year: Year, recipient: str, resource_type: str) -> list[dict[str, Any]]:
    return [body for reference, body in year.received[recipient].items() if reference.startswith(f"{resource_type}/")]


def test_nothing_drawn_or_reported_after_a_withdrawal_left_though_the_subject_was_merged_before(year: Year) -> None:
    times = [body.get("effectiveDateTime", "") for body in _held(year, "edc", "Observation")]
    assert "2026-04-15T08:30:00+02:00" in times, "before the withdrawal, under the number that was given up"
    assert not {"2026-05-07T08:15:00+02:00", "2026-05-18T08:00:00+02:00"} & set(times)


def test_data_older_than_the_look_back_and_younger_than_the_end_stay_inside(year: Year) -> None:
    times = {body.get("effectiveDateTime", "")[:10] for body in _held(year, "edc", "Observation")}
    assert {"2025-09-08", "2025-09-15", "2025-10-01"} <= times, "before the consents, within the look-back"
    assert not {"2025-07-28", "2026-08-20"} & times


def test_a_recipient_without_look_back_has_nothing_from_before_the_consent(year: Year) -> None:
    times = {body.get("effectiveDateTime", "") for body in _held(year, "registry", "Observation")} - {""}
    assert times
    assert min(times) > "2025-09-22"


def test_a_corrected_subject_number_is_corrected_everywhere(year: Year) -> None:
    for recipient in ("edc", "ctms"):
        numbers = [one["value"] for body in _held(year, recipient, "Patient") for one in body.get("identifier", ())]
        assert "BTH-007" in numbers
        assert "BTH-07" not in numbers


def test_the_subject_registered_by_mistake_was_taken_back_wherever_it_had_arrived(year: Year) -> None:
    for recipient in ("ctms", "edc", "registry"):
        statuses = [body["status"] for body in _held(year, recipient, "ResearchSubject")]
        assert statuses.count("not-registered") == 1
        assert [body for body in _held(year, recipient, "Patient") if body.get("active") is False]


def test_a_held_value_never_left_and_its_correction_did(year: Year) -> None:
    values = [
        body["valueQuantity"]["value"]
        for body in _held(year, "edc", "Observation")
        if body.get("effectiveDateTime") == "2026-02-10T08:30:00+01:00" and "valueQuantity" in body
    ]
    assert sorted(str(value) for value in values) == ["1420", "9.8"], (
        "98 is implausible, 7.2 bears a unit that is not known"
    )


def test_what_must_not_be_known_outside_is_held_by_nobody(year: Year) -> None:
    kept = {
        reference: codec.encode(body).decode() for held in year.received.values() for reference, body in held.items()
    }
    everything = "\n".join(kept.values())
    for secret in (
        "ARM-A",
        "FERRÈ",
        "Nicol",
        "0047122",
        "NCL22D03",
        "ROSSETTI",
        "0047101",
        "0371 5550142",
        "2062-05-21",
    ):
        assert secret not in everything
    assert "10000000146" not in text_of(state_of(year.store)), "a number that is never stored"


def test_blinded_recipients_hold_no_result_at_all(year: Year) -> None:
    assert {reference.partition("/")[0] for reference in year.received["ctms"]} == {
        "Consent", "Patient", "ResearchStudy", "ResearchSubject",
    }  # fmt: skip


def test_a_repeat_is_answered_alike_and_a_conflict_is_not_taken(year: Year) -> None:
    assert year.answers["033.lis.the-same-again"] == "AA"
    assert year.answers["034.lis.same-number-other-content"] == "AE"
    assert {code for name, code in year.answers.items() if not name.startswith("034")} == {"AA"}


def test_what_a_person_must_look_at_is_listed(year: Year) -> None:
    with year.store.begin(write=False) as tx:
        holds = sorted((hold.kind, hold.reason) for hold in tx.worklist.holds())
        gaps = {(line.feed, line.gap.kind, line.gap.code) for line in tx.worklist.gaps()}
    assert holds == HOLDS
    assert gaps == GAPS


def test_after_the_year_nothing_is_lost_and_nothing_doubled(year: Year) -> None:
    found = reconcile(year.store, Unit({}, frozenset()))

    assert (found.lost, found.doubled) == ([], [])
    with year.store.begin(write=False) as tx:
        assert sum(line.received for line in found.feeds) == len(tx.messages.find(MessageFilter(limit=10_000)))
    assert {line.recipient for line in found.views if line.delivered} == set(year.received)


def test_after_the_year_each_attempt_says_why_it_might_leave(year: Year) -> None:
    with year.store.begin(write=False) as tx:
        carried = [(one.grounds, {entry.type for entry in one.manifest}) for _, one in tx.accounts.attempts()]

    assert carried
    assert all(grounds.startswith("file ") for grounds, _ in carried)
    assert all("ResearchSubject/" in grounds for grounds, types in carried if "Observation" in types)
