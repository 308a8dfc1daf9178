"""What reading answers costs: keys a second, and the share of a replay's time, with many distinct answers.

    python -m tests.bench.answers --answers 100000

Makes distinct answers of the kinds that models give, keys them on one core, then sends them through the reader that runs use, with and without
grading: how long that takes, and how much of it the event loop spends.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from itertools import islice

from pruner.answers import answer_key
from pruner.answers.reader import AnswerReader
from pruner.answers.readings import Reading
from pruner.records.traces import TraceKey

KINDS = (
    "{0}", r"\frac{{{0}}}{{7}}", "{0}.5", r"\sqrt{{{0}}}", "x^2+{0}x", r"{0}\pi", "({0}, {1})", r"{0}\text{{ cm}}", "x={0}", "{0}\\%",
    r"\{{{0},{1}\}}", "y={0}x+{1}", r"2^{{{1}}}+{0}", r"[{0},\infty)", r"\frac{{{0}}}{{\sqrt{{3}}}}", "{0},{1}",
)  # fmt: skip


def answers() -> Iterator[str]:
    """Yield distinct answers without end."""
    number = 2
    while True:
        for kind in KINDS:
            yield kind.format(number, number % 89 + 1)
        number += 1


def main() -> None:
    parser = argparse.ArgumentParser(description="Time the reading of answers.")
    parser.add_argument("--answers", type=int, default=100_000)
    parser.add_argument("--graded", type=int, default=2_000)
    arguments = parser.parse_args()
    texts = list(islice(answers(), arguments.answers))
    started = time.process_time()
    keys = {answer_key(text) for text in texts}
    took_s = time.process_time() - started
    print(f"{len(texts):,} answers, {len(keys):,} keys: {len(texts) / took_s:,.0f} keys a second on one core")
    for name, gold, chosen in (("keyed", None, texts), ("keyed and graded", r"\frac{1}{3}", texts[: arguments.graded])):
        wall_s, loop_s = read(chosen, gold)
        print(
            f"{name} through the reader: {len(chosen):,} in {wall_s:.1f} s, {len(chosen) / wall_s:,.0f} a second; "
            f"the loop's own part {loop_s:.2f} s, {1e6 * loop_s / len(chosen):.0f} us each"
        )


def read(texts: list[str], gold: str | None) -> tuple[float, float]:
    """Return the seconds that a reader takes for all, and those that the loop spends in it."""
    loop_s, left = 0.0, len(texts)
    with AnswerReader("math") as reader:
        reader.submit(Reading(TraceKey("warm", 0), answer="x+1", gold="2"))
        while not reader.take():
            reader.wait(1.0)
        started = time.perf_counter()
        for first in range(0, len(texts), 256):
            before = time.perf_counter()
            for number, text in enumerate(texts[first : first + 256]):
                reader.submit(Reading(TraceKey("p", first + number), answer=text, gold=gold))
            left -= len(reader.take())
            loop_s += time.perf_counter() - before
            while reader.num_waiting > 256:
                reader.wait(0.1)
                before = time.perf_counter()
                left -= len(reader.take())
                loop_s += time.perf_counter() - before
        while left:
            reader.wait(0.1)
            left -= len(reader.take())
        return time.perf_counter() - started, loop_s


if __name__ == "__main__":
    main()
