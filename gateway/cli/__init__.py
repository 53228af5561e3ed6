"""The ``gateway`` command. Each module adds its commands to ``app``; what is not asked for is not loaded."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Final

from gateway.cli.base import app
from gateway.errors import GatewayError

__all__ = ["app", "load", "main"]

_MODULES: Final = ("backup", "check", "clients", "inspect", "keys", "operate", "run", "send", "translate")
_HOMES: Final = {"serve": ("run",), "demo": ("run",)}
"""Commands whose start somebody waits for, and where they are."""


def load(command: str = "") -> None:
    """Add a command to ``app``; without one, or with one that need not start fast, all of them."""
    for module in _HOMES.get(command, _MODULES):
        import_module(f"gateway.cli.{module}")


def main() -> None:
    """Run the command line; an error of ours is one line on stderr and exit status 1."""
    try:
        load(next((word for word in sys.argv[1:] if not word.startswith("-")), ""))
        app()
    except GatewayError as error:
        sys.stderr.write(f"gateway: {error}\n")
        sys.exit(1)
