"""A long run of the fuzzer: `python -m tests.fuzz --examples 2000 --seed 7`. It prints what was tried and how it ended.

Every input must end with exit code 0 or 2: no traceback, no hang, one line on stderr for each fault. It ends with 1 if one does not.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
import traceback

from tests.fuzz.fuzzing import Outcomes, fuzz
from tests.fuzz.targets import TARGETS


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Try bad input of every kind.")
    parser.add_argument("--examples", type=int, default=200, help="of each target")
    parser.add_argument("--seed", type=int, default=None, help="default: a fresh one, which is printed")
    parser.add_argument("--only", help="a target by name")
    options = parser.parse_args()
    seed = random.randrange(2**32) if options.seed is None else options.seed
    print(f"seed {seed}, {options.examples} examples of each target")
    print(f"{'target':<26}{'tried':>8}{'exit 0':>8}{'exit 2':>8}{'other':>8}{'s':>8}")
    others = 0
    for target in TARGETS:
        if options.only not in (None, target.name):
            continue
        outcomes, started = Outcomes(), time.monotonic()
        try:
            fuzz(target, options.examples, outcomes, seed)
        except Exception:
            traceback.print_exc(limit=-6)
        others += outcomes.other
        took = time.monotonic() - started
        print(
            f"{target.name:<26}{outcomes.tried:>8}{outcomes.good:>8}{outcomes.refused:>8}{outcomes.other:>8}{took:>8.0f}",
            flush=True,
        )
    return int(others > 0)


if __name__ == "__main__":
    sys.exit(main())
