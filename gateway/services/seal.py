"""Sealing the audit trail in batches, by one process at a time, beside the work (ARCHITECTURE, decision 18).

Nothing is sealed while a row of its range can still come or change. What was sealed last is told to the log and
written to a file: a chain whose end was cut off still fits, and only what is known outside the database shows it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Final

import structlog

from gateway.errors import StoreError, VersionConflict
from gateway.ports import Clock, Draft, Horizon, Seal, Store

log = structlog.get_logger()

LEASE: Final = "audit seal"
ANCHOR: Final = "audit-anchor.json"
"""The file in the data folder that names the newest seal this machine has made."""

_PAUSE_SECONDS: Final = 0.2
_LAST_SECONDS: Final = 2.0
"""How long a process that is to end goes on sealing."""


@dataclass(frozen=True, slots=True)
class Anchor:
    """A seal as it is known outside the database: its number and its HMAC in hexadecimal."""

    number: int
    mac: str
    source: str = ""

    def fits(self, seal: Seal | None) -> bool:
        """Whether the chain still holds the seal."""
        return seal is not None and seal.mac.hex() == self.mac


def read_anchor(file: Path) -> Anchor | None:
    """Return the seal that a file names; None where there is no file. Raises ``StoreError`` when it names none."""
    try:
        content = json.loads(file.read_text("ascii"))
        return Anchor(int(content["seal"]), str(content["mac"]), str(file))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise StoreError(f"{file}: cannot be read as the audit trail's anchor ({type(error).__name__})") from None


def write_anchor(file: Path, seal: Seal) -> None:
    """Name the newest seal in a file, in one step."""
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(".part")
    part.write_text(json.dumps({"seal": seal.number, "at": seal.at.isoformat(), "mac": seal.mac.hex()}) + "\n", "ascii")
    part.replace(file)


@dataclass(frozen=True, slots=True)
class SealSettings:
    """How often is sealed, for how long the lease is taken, how many rows one seal holds at most."""

    interval: timedelta = timedelta(seconds=60)
    lease: timedelta = timedelta(minutes=3)
    batch: int = 2000


@dataclass
class Sealer:
    """Seals what has been written. One instance per process; of several, the one with the lease works.

    ``gather`` is called before: it brings in lines that wait outside the database.
    """

    store: Store
    clock: Clock
    owner: str
    anchor: Path
    settings: SealSettings = field(default_factory=SealSettings)
    gather: Callable[[], object] = lambda: None
    _horizon: Horizon | None = None

    def run(self, stop: Callable[[], bool]) -> None:
        """Seal every ``interval`` until ``stop()``, and once more then. Raises ``StoreError``; it may be run again."""
        due = 0.0
        while not stop():
            if time.monotonic() >= due and self.step(stop) is not None:
                due = time.monotonic() + self.settings.interval.total_seconds()
            time.sleep(_PAUSE_SECONDS)
        ends = time.monotonic() + _LAST_SECONDS
        self.step(lambda: time.monotonic() > ends)
        with self.store.begin() as tx:
            tx.leases.give_back(LEASE, self.owner)

    def step(self, stop: Callable[[], bool] = lambda: False) -> int | None:
        """Seal what was written until the last look; return how many seals that took.

        None: a transaction that was writing then has not ended, so look again soon. 0: nothing was written, or another
        process holds the lease.
        """
        with self.store.begin() as tx:
            if not tx.leases.claim(LEASE, self.owner, self.clock(), self.settings.lease):
                self._horizon = None
                return 0
        self.gather()
        with self.store.begin(write=False) as tx:
            self._horizon = self._horizon or tx.seals.horizon()
            if not tx.seals.passed(self._horizon):
                return None
        horizon, self._horizon = self._horizon, None
        made = self._seal_up_to(horizon, stop)
        if made:
            log.info("the audit trail was sealed", seal=made[-1].number, mac=made[-1].mac.hex(), rows=_rows(made))
            self._keep(made)
        return len(made)

    def _seal_up_to(self, horizon: Horizon, stop: Callable[[], bool]) -> list[Seal]:
        made: list[Seal] = []
        while not stop():
            with self.store.begin(write=False) as tx:
                draft = tx.seals.draft(horizon, self.settings.batch)
            seal = self._add(draft) if draft else None
            if seal is None:
                break
            made.append(seal)
        return made

    def _add(self, draft: Draft) -> Seal | None:
        """Chain a draft; None when the lease went to another process, which sealed these rows."""
        try:
            with self.store.begin() as tx:
                held = tx.leases.claim(LEASE, self.owner, self.clock(), self.settings.lease)
                return tx.seals.add(draft, self.clock()) if held else None
        except VersionConflict:
            return None

    def _keep(self, made: list[Seal]) -> None:
        """Name the newest seal outside the database, unless what is named there is gone: then that must stay seen."""
        known = read_anchor(self.anchor)
        if known is not None and known.number < made[0].number:
            with self.store.begin(write=False) as tx:
                before = tx.seals.get(known.number)
            if not known.fits(before):
                log.error("the audit trail was cut or written anew: run `gateway audit verify`", anchor=known.number)
                return
        elif known is not None:
            log.error("the audit trail was cut: run `gateway audit verify`", anchor=known.number)
            return
        try:
            write_anchor(self.anchor, made[-1])
        except OSError as error:
            log.warning("the newest seal cannot be written beside the data", file=str(self.anchor), why=error.strerror)


def _rows(made: list[Seal]) -> int:
    return sum(seal.rows for seal in made)
