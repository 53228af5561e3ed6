"""The encryption keys of a gateway: which rows stand under which, rotating them, dropping one no row uses."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, Final

from gateway.bootstrap.parts import key_file_of, keys_of, utc_now
from gateway.errors import GatewayError, KeysMissing
from gateway.ports import AuditEvent, Store
from gateway.services.rotate import Rotation, reseal
from gateway.settings import Settings
from gateway.settings.keyfile import SETTLED_AFTER, activate_key, add_key, drop_keys, is_settled, prepared_key

_NOTICED_AFTER: Final = 2.5
"""Seconds after which every running process has noticed a new active key: what it wrote before is encrypted anew."""


def key_lines(settings: Settings, store: Store) -> list[dict[str, Any]]:
    """Return a line per encryption key: its name, what it is for now, and how many rows stand under it."""
    keys = keys_of(settings)
    next_key = prepared_key(key_file_of(settings))
    with store.begin(write=False) as tx:
        rows = tx.sealing.keys_in_use()
    states = dict.fromkeys(keys.encryption, "old") | {next_key: "prepared", keys.active: "active"}
    names = [*keys.encryption, *(name for name in sorted(rows) if name not in keys.encryption)]
    return [{"key": name, "state": states.get(name, "not in the file"), "rows": rows.get(name, 0)} for name in names]


def prepare_key(settings: Settings) -> str:
    """Add a key that the next rotation makes active, unless there is one; return its name."""
    path = key_file_of(settings)
    keys_of(settings)
    return prepared_key(path) or add_key(path)


def rotate(
    settings: Settings,
    store: Store,
    actor: str,
    *,
    resume: bool,
    stop: Callable[[], bool],
    progress: Callable[[int], None],
) -> Rotation:
    """Make a new key active (the prepared one, if there is one) and encrypt every row under it.

    With ``resume`` no key is made: what an interrupted rotation left, or a process that learnt late, is done. Raises
    ``KeysMissing`` when rows stand under a key that is not in the file.
    """
    for line in key_lines(settings, store):
        if line["state"] == "not in the file":
            what = f"{line['rows']} rows are encrypted under key {line['key']}, which it does not hold"
            raise KeysMissing(f"{key_file_of(settings)}: {what}; this is not the newest key file")
    if not resume:
        _activate(settings, store, actor)
    noticed = time.monotonic() + _NOTICED_AFTER
    first = reseal(store, stop, progress)
    while time.monotonic() < noticed and not stop():
        time.sleep(0.05)  # other processes look at the key file by the clock, and say nothing of it
    late = reseal(store, stop, lambda rows: progress(first.rows + rows))
    return Rotation(first.rows + late.rows, late.unreadable or first.unreadable, late.finished)


def _activate(settings: Settings, store: Store, actor: str) -> None:
    name = prepare_key(settings)
    store.take_keys(replace(keys_of(settings), active=name))  # refuses a name that stood for another key
    activate_key(key_file_of(settings), name)
    with store.begin() as tx:
        tx.audit.write([AuditEvent(utc_now(), "keys-rotated", actor, f"key/{name}")])


def drop_unused(settings: Settings, store: Store, names: Iterable[str], actor: str) -> None:
    """Take keys out of the key file. Raises ``GatewayError`` naming the one that is needed, and why; then all stay."""
    path, names = key_file_of(settings), list(names)
    lines = {line["key"]: line for line in key_lines(settings, store) if line["state"] != "not in the file"}
    for name in names:
        if name not in lines:
            raise GatewayError(f"{path}: there is no encryption key {name!r}; there are: {', '.join(lines)}")
        if lines[name]["state"] == "active":
            raise GatewayError(f"key {name} is the active one: rotate first (gateway keys rotate)")
        if lines[name]["rows"]:
            raise GatewayError(f"key {name} is in use by {lines[name]['rows']} rows: gateway keys rotate --resume")
    if not is_settled(path):
        raise GatewayError(
            f"{path} was changed less than {SETTLED_AFTER:.0f} seconds ago: a running process may still "
            "encrypt under the key that was active before; try again in a minute"
        )
    drop_keys(path, names)
    now = utc_now()
    with store.begin() as tx:
        tx.audit.write([AuditEvent(now, "key-dropped", actor, f"key/{name}") for name in names])
