"""Changing clients beside a running gateway that owns the database (SQLite).

The command leaves the change in a folder, the gateway makes it within a moment and leaves its answer beside it, and the
command waits for that: when it ends the change holds, or nothing was changed. A change holds no secret, only its keyed
hash. Whoever may write into the folder may write into the database, which stands beside it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final
from uuid import uuid4

import msgspec
import structlog

from gateway.errors import GatewayError, StoreError
from gateway.ports import Store
from gateway.services.clients import Change, change_clients

log = structlog.get_logger()

INBOX: Final = "client-inbox"
"""The folder below the data folder."""

PATIENCE_SECONDS: Final = 15.0
_LOOK_SECONDS: Final = 0.2
_FORGOTTEN_SECONDS: Final = 3600.0


class _Said(msgspec.Struct, frozen=True):
    """The gateway's answer."""

    what: str
    refused: bool = False


def leave_change(inbox: Path, change: Change, patience: float = PATIENCE_SECONDS) -> str:
    """Leave a change for the gateway that owns the database and return what it says it did.

    Raises ``GatewayError`` when it refuses it; ``StoreError`` when it does not take it in: then nothing is changed.
    """
    name = str(uuid4())
    asked, answered = inbox / f"{name}.json", inbox / f"{name}.done"
    try:
        inbox.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write(asked, msgspec.json.encode(change))
        until = time.monotonic() + patience
        while not answered.exists():
            if time.monotonic() >= until and _withdrawn(asked):
                raise StoreError(f"{inbox}: the process that owns the database took nothing in; nothing is changed")
            time.sleep(0.02)  # another process answers, by a file alone
        said = msgspec.json.decode(answered.read_bytes(), type=_Said)
        answered.unlink()
    except OSError as error:
        raise StoreError(f"{inbox}: the change cannot be left there ({error.strerror})") from None
    if said.refused:
        raise GatewayError(said.what)
    return said.what


def take_changes_in(store: Store, inbox: Path, stop: Callable[[], bool]) -> None:
    """Make the changes that are left in the folder until ``stop()``. Raises ``StoreError``; it may be run again.

    A crash on the way makes a change again, which does it once.
    """
    inbox.mkdir(mode=0o700, parents=True, exist_ok=True)
    while not stop():
        for file in sorted(inbox.iterdir()):
            try:
                _take(store, file)
            except FileNotFoundError:
                log.debug("a change was withdrawn, or its answer was read", file=file.name)
        time.sleep(_LOOK_SECONDS)  # `stop` is a question, nothing to wait on


def _take(store: Store, file: Path) -> None:
    if file.suffix == ".json":
        _make(store, file.rename(file.with_suffix(".taken")))
    elif file.suffix == ".taken":
        _make(store, file)
    elif time.time() - file.stat().st_mtime > _FORGOTTEN_SECONDS:
        file.unlink()  # its command was ended before it read the answer


def _make(store: Store, file: Path) -> None:
    try:
        said = _Said(change_clients(store, msgspec.json.decode(file.read_bytes(), type=Change)))
    except StoreError:
        raise
    except GatewayError as error:
        said = _Said(str(error), refused=True)
    except (msgspec.MsgspecError, OSError):
        log.warning("a change of a client cannot be read", file=file.name)
        said = _Said("the change cannot be read: is the command of the gateway's own version?", refused=True)
    _write(file.with_suffix(".done"), msgspec.json.encode(said))
    file.unlink()


def _withdrawn(asked: Path) -> bool:
    """Take a change back, unless the gateway has begun with it."""
    try:
        asked.rename(asked.with_suffix(".gone"))
    except FileNotFoundError:
        return False
    asked.with_suffix(".gone").unlink()
    return True


def _write(path: Path, content: bytes) -> None:
    """Write a file that is there as a whole or not at all; who reads it may run under another account."""
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        os.fchmod(file.fileno(), 0o644)  # the folder itself is closed
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    part.rename(path)
