"""The configuration of a deployment: the example unit's, with ports, addresses and times of the tests."""

from __future__ import annotations

import base64
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

from tests.story import KEYS

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Limits:
    """What some deployments set otherwise. Two attempts fit into a lease of delivering."""

    lease_seconds: float = 20.0
    deadline_seconds: float = 9.0
    translate: str = ""


_TEMPLATE = """
name = "A unit of the tests"

[translate]
lease_seconds = 5.0
{limits.translate}

[relay]
interval_seconds = 0.1
republish_seconds = 2.0
receipt_seconds = 2.0

[deliver]
lease_seconds = {limits.lease_seconds}

[audit]
seal_seconds = 0.5

[log]
format = "json"
level = "debug"
"""
GATEWAY_TOML = _TEMPLATE.format(limits=Limits())


def write_config(config, limits, ports, addresses):
    """Make a copy of the example unit's configuration one of the tests: ``addresses`` are of recipients."""
    (config / "gateway.toml").write_text(_TEMPLATE.format(limits=limits))
    for path in (config / "sites").glob("*.toml"):
        path.write_text(path.read_text().replace('kind = "folder"', 'kind = "folder"\nlook_seconds = 0.1'))
    give_ports(config, ports)
    for id, address in addresses.items():
        path = config / "recipients" / f"{id}.toml"
        lines = f'address = "{address}"\ndeadline_seconds = {limits.deadline_seconds}'
        path.write_text(re.sub(r'^address = ".*"$', lines, path.read_text(), flags=re.M))


def give_ports(config, ports):
    """Let the feeds of a configuration listen to free ports."""
    for path in (config / "sites").glob("*.toml"):
        path.write_text(re.sub(r"^port = \d+$", lambda _: f"port = {ports.pop()}", path.read_text(), flags=re.M))


def clean_environment():
    """The environment without anything that would configure a gateway."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}
    return kept | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}


def write_keys(path):
    """Write the key file of the expected year: the ids it makes are the same everywhere."""
    permanent = {name: _encoded(getattr(KEYS, name)) for name in ("identity", "index", "pseudonym", "audit")}
    encryption = {name: _encoded(key) for name, key in KEYS.encryption.items()}
    path.write_text(json.dumps(permanent | {"encryption": encryption, "active": KEYS.active}))
    path.chmod(0o600)
    return path


def _encoded(key):
    return base64.b64encode(key).decode()
