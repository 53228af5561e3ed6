"""The key file: made once, kept outside the database and outside the configuration folder.

Its encryption keys rotate: a key is added, made active, and dropped when no row uses it any more. The other keys are
made once and stay. A change replaces the file in one step, so that whoever reads it sees the old or the new one.
"""

from __future__ import annotations

import base64
import binascii
import fcntl
import json
import os
import re
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from gateway.errors import KeysMissing
from gateway.model.keys import Keys

_PERMANENT = ("identity", "index", "pseudonym", "audit")
_NUMBERED: Final = re.compile(r"k(\d+)")
SETTLED_AFTER: Final = 60.0
"""Seconds after a change of the file until surely no process still encrypts under the key that was active before."""


class KeyFile:
    """One key file, as a running process reads it: again whenever it was replaced."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read: object = None

    def read(self) -> Keys:
        """Return its keys. Raises ``KeysMissing``."""
        self._read = _stamp(self.path)
        return read_keys(self.path)

    def changed(self) -> Keys | None:
        """Return its keys when it was replaced since it was read, else None. Raises ``KeysMissing``."""
        return self.read() if _stamp(self.path) != self._read else None


def create_keys(path: Path) -> Keys:
    """Write a new key file (mode 0600) and return its keys. Raises ``FileExistsError`` when one is there."""
    content: dict[str, Any] = {name: _fresh() for name in _PERMANENT}
    content |= {"encryption": {"k1": _fresh()}, "active": "k1"}
    path.parent.mkdir(parents=True, exist_ok=True)
    _write(path, content)
    return read_keys(path)


def add_key(path: Path) -> str:
    """Add an encryption key that is not active yet and return its name. Raises ``KeysMissing``."""
    added: list[str] = []

    def add(content: dict[str, Any]) -> None:
        numbers = [int(found[1]) for name in content["encryption"] if (found := _NUMBERED.fullmatch(name))]
        added.append(f"k{max(numbers, default=0) + 1}")
        content["encryption"][added[0]] = _fresh()

    _change(path, add)
    return added[0]


def activate_key(path: Path, name: str) -> Keys:
    """Make one of the encryption keys the active one and return all keys. Raises ``KeysMissing``."""
    return _change(path, lambda content: content.update(active=name))


def prepared_key(path: Path) -> str:
    """Return the key that was added after the active one, to be made active next; ``""`` when there is none."""
    keys = read_keys(path)
    names = list(keys.encryption)
    return names[-1] if names[-1] != keys.active else ""


def drop_keys(path: Path, names: Iterable[str]) -> Keys:
    """Take encryption keys out of the file and return those that stay. Raises ``KeysMissing``."""

    def drop(content: dict[str, Any]) -> None:
        for name in names:
            content["encryption"].pop(name)

    return _change(path, drop)


def is_settled(path: Path) -> bool:
    """Say whether the file was last changed so long ago that every running process encrypts under its active key."""
    return time.time() - path.stat().st_mtime >= SETTLED_AFTER


def readable_by_others(path: Path) -> bool:
    """Say whether others than the file's owner may read it (False when it is not there)."""
    return path.exists() and bool(path.stat().st_mode & 0o077)


def read_keys(path: Path) -> Keys:
    """Return the keys of a file. Raises ``KeysMissing`` saying which key is missing or malformed, never its value."""
    return _keys(path, _content(path))


def _keys(path: Path, content: dict[str, Any]) -> Keys:
    encryption = {name: _key(path, content.get("encryption", {}), name) for name in content.get("encryption", {})}
    if content.get("active") not in encryption:
        raise KeysMissing(f"{path}: 'active' names no key of 'encryption'")
    permanent = {name: _key(path, content, name) for name in _PERMANENT}
    return Keys(**permanent, encryption=encryption, active=content["active"])


def _content(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text("ascii"))
    except FileNotFoundError:
        raise KeysMissing(f"{path}: no key file; make one with: gateway keys create {path}") from None
    except (OSError, ValueError) as error:
        raise KeysMissing(f"{path}: cannot be read as a key file ({type(error).__name__})") from None
    if not isinstance(content, dict) or not isinstance(content.get("encryption", {}), dict):
        raise KeysMissing(f"{path}: is not a key file")
    return content


def _change(path: Path, change: Callable[[dict[str, Any]], None]) -> Keys:
    """Change a sound key file; two changes at once come one after the other."""
    with _alone(path):
        content = _content(path)
        _keys(path, content)
        change(content)
        keys = _keys(path, content)
        _replace(path, content)
    return keys


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Lock the folder: the file itself is another one after each change."""
    try:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise KeysMissing(f"{path}: its folder cannot be opened ({error.strerror})") from None
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _replace(path: Path, content: dict[str, Any]) -> None:
    """Put a new file in the place of the old one, for the same owner; a crash leaves either the old or the new one."""
    new = path.with_name(f".{path.name}.new")
    try:
        new.unlink(missing_ok=True)  # left by a crash: whoever holds the lock writes it anew
        _write(new, content)
        old = path.stat()
        if (old.st_uid, old.st_gid) != (os.geteuid(), os.getegid()):
            os.chown(new, old.st_uid, old.st_gid)
        new.replace(path)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        new.unlink(missing_ok=True)
        raise KeysMissing(
            f"{path}: cannot be replaced ({error.strerror}); run this as the file's owner, where its folder is writable"
        ) from None


def _write(path: Path, content: dict[str, Any]) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        json.dump(content, file, indent=2)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())


def _stamp(path: Path) -> object:
    """Return by what a file is told from the one that was there before."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def _fresh() -> str:
    return base64.b64encode(secrets.token_bytes(32)).decode("ascii")


def _key(path: Path, content: dict[str, Any], name: str) -> bytes:
    try:
        key = base64.b64decode(content[name], validate=True)
    except (KeyError, TypeError, binascii.Error):
        raise KeysMissing(f"{path}: key {name!r} is missing or is not base64") from None
    if len(key) != 32:
        raise KeysMissing(f"{path}: key {name!r} is not 32 bytes long")
    return key
