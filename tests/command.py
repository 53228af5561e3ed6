"""Running ``gateway`` commands in this process, as a shell would see them."""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
from dataclasses import dataclass
from unittest.mock import patch

from gateway.cli import main


@dataclass(frozen=True)
class Done:
    """What a command left: its exit status and what it wrote."""

    status: int
    out: str
    err: str

    @property
    def records(self):
        """The JSON lines of ``--json``."""
        return [json.loads(line) for line in self.out.splitlines()]


def gateway(*words, environment):
    """Run ``gateway WORDS`` with exactly this environment; logging stays that of the tests."""
    out, err = io.StringIO(), io.StringIO()
    arguments = ["gateway", *map(str, words)]
    with (
        patch.dict(os.environ, environment, clear=True),
        patch.object(sys, "argv", arguments),
        patch("gateway.cli.run.log_to_stderr"),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
            status = 0
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else int(bool(end.code))
    return Done(status, out.getvalue(), err.getvalue())
