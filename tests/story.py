"""The fictional year of ``fixtures/messages``, played message by message, and what it must come to.

``play`` runs the gateway's own services in this thread on a real store: nothing listens and nothing waits. After each
message everything due is delivered before the next comes in, which is what makes what a recipient ends up with
certain: what it got before a withdrawal stays, what was not sent by then never leaves. Other ways of playing (a demo,
processes on servers) come to the same when they wait likewise, and compare through ``state_of`` and ``normalised``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from fixtures.story import Played, story
from gateway.bootstrap.parts import handles, open_store, policy_of, translator_factory
from gateway.fhir import codec
from gateway.model.delivery import Accepted, ChangeKind, Outcome, Package
from gateway.model.keys import Keys
from gateway.ports import Clock, Store
from gateway.services.deliver import Deliver
from gateway.services.package import Packager
from gateway.services.plan import Planner
from gateway.services.pool import InlineTranslator
from gateway.services.prepare import StudyResources, prepare
from gateway.services.receive import Intake
from gateway.services.translate import Translate
from gateway.settings import Settings, load
from tests.contracts.waiting import PATIENCE

ROOT: Final = Path(__file__).parent.parent
MESSAGES: Final = ROOT / "fixtures" / "messages"
CONFIG: Final = ROOT / "fixtures" / "config"
EXPECTED_STATE: Final = MESSAGES / "expected-state.json"
EXPECTED_RECEIVED: Final = MESSAGES / "expected-received.json"

KEYS: Final = Keys(
    identity=b"identity key of the tests' story",
    index=b"index key of the tests' story...",
    pseudonym=b"pseudonym key of the tests story",
    audit=b"audit key of the tests' story...",
    encryption={"k1": b"encryption key of the tests year"},
    active="k1",
)
"""Ids depend on them, so whoever compares with the expected files runs with these."""

RECEIVED_AT: Final = datetime(2026, 10, 1, tzinfo=UTC)
"""When the messages arrive, as far as the expected files are concerned: after the last of them was sent."""

Resources = dict[str, dict[str, Any]]
"""``Type/id`` -> resource."""


@dataclass
class Holder:
    """A recipient that takes everything and keeps the newest of it. Implements ``ports.RecipientAdapter``."""

    resources: Resources = field(default_factory=dict)

    def deliver(self, package: Package) -> Outcome:
        """Keep what a package carries."""
        for entry in package.entries:
            if entry.kind is ChangeKind.RETRACTED and entry.text == b"{}":
                self.resources.pop(entry.reference, None)
            else:
                self.resources[entry.reference] = codec.decode(entry.text)
        return Accepted()

    def close(self) -> None:
        """Nothing to let go of."""


@dataclass
class Year:
    """What playing the year came to. ``answers``: message -> MSA-1; ``received``: recipient -> what it holds."""

    store: Store
    answers: dict[str, str] = field(default_factory=dict)
    holders: dict[str, Holder] = field(default_factory=dict)

    @property
    def received(self) -> dict[str, Resources]:
        """What each recipient holds: recipient id -> ``Type/id`` -> resource."""
        return {id: holder.resources for id, holder in self.holders.items()}


def settings(data: Path) -> Settings:
    """Return the example unit's settings with an SQLite database in ``data``."""
    made = load(CONFIG, {"GATEWAY_DATA": str(data)})
    made.require_valid()
    return made


def _clock() -> datetime:
    return RECEIVED_AT


def play(unit: Settings, *, keys: Keys = KEYS, messages: Iterable[Played] | None = None, clock: Clock = _clock) -> Year:
    """Play messages (default: the whole year) through a store that is made; close ``year.store`` afterwards."""
    store = open_store(unit, keys)
    store.upgrade()
    year = Year(store, holders={id: Holder() for id in unit.receivers})
    steps = _Steps(unit, keys, store, year.holders, clock)
    steps.prepare()
    steps.deliver()
    intake = Intake(store, clock, handles=handles)
    intake.start()
    with closing(_Stopping(intake)):
        for message in story() if messages is None else messages:
            answer = intake.receive(unit.feeds[message.feed], message.raw).result(PATIENCE)
            year.answers[message.name] = answer.code
            steps.translate.run()
            steps.deliver()
    return year


def take_in(unit: Settings, messages: Iterable[Played], *, keys: Keys = KEYS) -> Store:
    """Receive messages, then translate them all; nothing is delivered. Returns the store; close it."""
    store = open_store(unit, keys)
    store.upgrade()
    steps = _Steps(unit, keys, store, {})
    steps.prepare()
    intake = Intake(store, _clock, handles=handles)
    intake.start()
    with closing(_Stopping(intake)):
        for answer in [intake.receive(unit.feeds[message.feed], message.raw) for message in messages]:
            answer.result(PATIENCE)
    steps.translate.run()
    return store


def translate_again(unit: Settings, store: Store, *, keys: Keys = KEYS) -> None:
    """Translate what waits in a store."""
    _Steps(unit, keys, store, {}).translate.run()


@dataclass
class _Stopping:
    intake: Intake

    def close(self) -> None:
        self.intake.stop()


class _Steps:
    """The services that come after intake, run when told to."""

    def __init__(
        self, unit: Settings, keys: Keys, store: Store, holders: Mapping[str, Holder], clock: Clock = _clock
    ) -> None:
        self._clock = clock
        self._unit = unit
        self._keys = keys
        self._store = store
        policy = policy_of(unit, keys)
        self._planner = Planner(policy, clock)
        self.translate = Translate(
            store,
            InlineTranslator(translator_factory(unit, keys)),
            self._planner,
            sites=list(unit.sites),
            clock=clock,
            owner="story",
        )
        self._attempt = Deliver(store, unit.receivers, holders, Packager(store, policy), clock, "story")

    def prepare(self) -> None:
        """Bring studies and code maps into the database."""
        prepare(
            self._store,
            studies=[
                StudyResources(study.id, tuple(item for item in (study.research_study, study.plan) if item))
                for study in self._unit.studies.values()
            ],
            codes={site.id: site.codes for site in self._unit.sites.values()},
            id_key=self._keys.identity,
            now=self._clock(),
            planner=self._planner,
        )

    def deliver(self) -> None:
        """Make attempts until nothing is due."""
        while due := self._due():
            for delivery in due:
                self._attempt(delivery)

    def _due(self) -> list[int]:
        with self._store.begin(write=False) as tx:
            return [each.id for each in tx.deliveries.due(self._clock(), 1000, timedelta(0))]


def state_of(store: Store) -> Resources:
    """Return the newest version of every resource of a store, normalised."""
    with store.begin(write=False) as tx:
        patients = {"", *(version.patient for version in tx.resources.of_type("Patient"))}
        versions = [version for patient in patients for version in tx.resources.of_patient(patient)]
    return normalised({version.reference: codec.decode(version.body) for version in versions})


def normalised(resources: Mapping[str, dict[str, Any]]) -> Resources:
    """Return resources in the order of their references, without what says when they were stored."""
    return {reference: _timeless(resources[reference]) for reference in sorted(resources)}


def text_of(resources: Mapping[str, Any]) -> str:
    """Return a JSON object with a line for each member, numbers as they are."""
    lines = [f"{codec.encode(name).decode()}: {codec.encode(value).decode()}" for name, value in resources.items()]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _timeless(resource: dict[str, Any]) -> dict[str, Any]:
    kept = dict(resource)
    if kept["resourceType"] == "Provenance":
        kept.pop("recorded", None)
    meta = {name: value for name, value in kept.pop("meta", {}).items() if name not in {"lastUpdated", "versionId"}}
    return {**kept, "meta": meta} if meta else kept
