"""``make fuzz``: bad input without end, until something breaks or the time is over.

``python -m tests.fuzzing [--seconds N] [--seed N] [TARGET …]`` runs the named targets only, ``--replay FILE`` a case
that broke one. Such a case is written to ``fuzz-<target>-<digest>.bin`` and the exit status is 1.
"""

from __future__ import annotations

import argparse
import hashlib
import logging
import secrets
import signal
import sys
import time
import traceback
from collections import Counter
from pathlib import Path
from random import Random

import structlog

from tests.fuzzing.targets import TARGETS

TURN_SECONDS = 5
LONGEST_SECONDS = 20
"""Processor time after which a case counts as one that never ends."""


def main():
    """Run the targets in turn, some seconds each."""
    wanted = _arguments()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    signal.signal(signal.SIGPROF, _too_long)
    if wanted.replay:
        name = wanted.replay.name.split("-")[1]
        with TARGETS[name]() as target:
            return _survives(target, name, wanted.replay.read_bytes(), Random(0))
    _say(f"seed {wanted.seed}")
    done = Counter()
    until = time.monotonic() + wanted.seconds
    random = Random(wanted.seed)
    while time.monotonic() < until:
        for name in wanted.targets or TARGETS:
            with TARGETS[name]() as target:
                turn = min(until, time.monotonic() + TURN_SECONDS)
                while time.monotonic() < turn:
                    if _survives(target, name, target.case(random), random):
                        return 1
                    done[name] += target.size
    for name, count in done.items():
        _say(f"{name}: {count} cases, none broke it")
    return 0


def _arguments():
    parser = argparse.ArgumentParser(prog="make fuzz")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=secrets.randbits(32))
    parser.add_argument("--replay", type=Path)
    return parser.parse_args()


def _survives(target, name, case, random):
    """Try one case; return 0, or 1 when it broke the target (said, and written to a file)."""
    signal.setitimer(signal.ITIMER_PROF, LONGEST_SECONDS)
    try:
        target.run(case, random)
    except Exception:  # noqa: BLE001 (whatever it is, the case is kept)
        file = Path(f"fuzz-{name}-{hashlib.sha256(case).hexdigest()[:12]}.bin")
        file.write_bytes(case)
        traceback.print_exc()
        _say(f"{name}: broken by {file}; again with ARGS='--replay {file}'")
        return 1
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    return 0


def _say(line):
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _too_long(*_):
    raise TimeoutError("the case does not end")


if __name__ == "__main__":
    sys.exit(main())
