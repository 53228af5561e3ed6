"""``make bench``: every figure on one line, and in ``bench-results.jsonl``.

``python -m tests.bench [NAME …]`` runs the named ones only: start, intake, translate, whole, api, growth, export.
"""

from __future__ import annotations

import sys

from tests.bench import api, export, growth, intake, start, translate, whole

BENCHMARKS = {
    "start": start.main,
    "intake": intake.main,
    "translate": translate.main,
    "whole": whole.main,
    "api": api.main,
    "growth": growth.main,
    "export": export.main,
}
LONG = ("api", "growth", "export")
"""Half an hour, and 25 GB of disk: only when it is named."""


def main():
    """Run the benchmarks named on the command line, or all."""
    for name in sys.argv[1:] or [name for name in BENCHMARKS if name not in LONG]:
        BENCHMARKS[name]()


if __name__ == "__main__":
    main()
