"""The key file: made once, kept outside the database and outside the configuration folder."""

from __future__ import annotations

import base64
import binascii
import json
import os
import secrets
from pathlib import Path
from typing import Any

from gateway.errors import KeysMissing
from gateway.model.keys import Keys

_PERMANENT = ("identity", "index", "pseudonym", "audit")


def create_keys(path: Path) -> Keys:
    """Write a new key file (mode 0600) and return its keys. Raises ``FileExistsError`` when one is there."""
    content: dict[str, Any] = {name: _fresh() for name in _PERMANENT}
    content |= {"encryption": {"k1": _fresh()}, "active": "k1"}
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        json.dump(content, file, indent=2)
        file.write("\n")
    return read_keys(path)


def read_keys(path: Path) -> Keys:
    """Return the keys of a file. Raises ``KeysMissing`` saying which key is missing or malformed, never its value."""
    try:
        content = json.loads(path.read_text("ascii"))
    except FileNotFoundError:
        raise KeysMissing(f"{path}: no key file; make one with: gateway keys create {path}") from None
    except (OSError, ValueError) as error:
        raise KeysMissing(f"{path}: cannot be read as a key file ({type(error).__name__})") from None
    encryption = {name: _key(path, content.get("encryption", {}), name) for name in content.get("encryption", {})}
    if content.get("active") not in encryption:
        raise KeysMissing(f"{path}: 'active' names no key of 'encryption'")
    permanent = {name: _key(path, content, name) for name in _PERMANENT}
    return Keys(**permanent, encryption=encryption, active=content["active"])


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
