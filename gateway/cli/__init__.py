"""The ``gateway`` command. Each module adds its commands to ``app``; importing them is cheap, running one is not."""

from __future__ import annotations

import sys

from gateway.cli import backup, check, inspect, keys, operate, run, send, translate
from gateway.cli.base import app
from gateway.errors import GatewayError

__all__ = ["app", "backup", "check", "inspect", "keys", "main", "operate", "run", "send", "translate"]


def main() -> None:
    """Run the command line; an error of ours is one line on stderr and exit status 1."""
    try:
        app()
    except GatewayError as error:
        sys.stderr.write(f"gateway: {error}\n")
        sys.exit(1)
