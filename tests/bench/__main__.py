"""``make bench``: every figure on one line, and in ``bench-results.jsonl``.

``python -m tests.bench [NAME …]`` runs the named ones only: start, intake, translate, whole.
"""

from __future__ import annotations

import sys

from tests.bench import intake, start, translate, whole

BENCHMARKS = {"start": start.main, "intake": intake.main, "translate": translate.main, "whole": whole.main}


def main():
    """Run the benchmarks named on the command line, or all."""
    names = sys.argv[1:] or list(BENCHMARKS)
    for name in names:
        BENCHMARKS[name]()


if __name__ == "__main__":
    main()
