"""What reading answers costs at its worst: hostile texts, each through the loop's part and the worker's part.

    python -m tests.bench.hostile_answers --texts 10000 --seed 0

Prints the slowest of each: processor seconds of the event loop (submit or take) and seconds until the worker had answered.
"""

from __future__ import annotations

import argparse
import random
import time

from pruner.answers.reader import AnswerReader
from pruner.answers.readings import Reading
from pruner.records.traces import TraceKey
from tests.unit.test_answer_keys import hostile


def main() -> None:
    parser = argparse.ArgumentParser(description="Read hostile texts.")
    parser.add_argument("--texts", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--graded", type=int, default=20, help="every so many are graded too, by math-verify")
    arguments = parser.parse_args()
    draw = random.Random(arguments.seed)
    loop_s, worker_s, answered = [], [], 0
    with AnswerReader("math", [r"answer is (\S+)"], 1.5) as reader:
        reader.submit(Reading(TraceKey("warm", 0), answer="x+1", gold="2"))
        while not reader.take():
            reader.wait(1.0)
        for number in range(arguments.texts):
            text = hostile(draw).encode(errors="replace").decode()
            is_boxed = draw.random() < 0.5
            reading = Reading(
                TraceKey("p", number),
                text=rf"so \boxed{{{text}}}" if is_boxed else None,
                answer=None if is_boxed else text,
                gold=draw.choice(["5", r"\frac{1}{2}", "x+1"]) if number % arguments.graded == 0 else None,
            )
            started, before = time.perf_counter(), time.thread_time()
            reader.submit(reading)
            inside = time.thread_time() - before
            while True:
                before = time.thread_time()
                found = reader.take()
                inside = max(inside, time.thread_time() - before)
                if found:
                    break
                reader.wait(0.5)
            answered += found[0].answer is not None
            loop_s.append(inside)
            worker_s.append(time.perf_counter() - started)
    print(f"{arguments.texts:,} texts, {answered:,} with an answer")
    for name, values in (("loop", loop_s), ("worker", worker_s)):
        values.sort()
        print(
            f"{name}: median {values[len(values) // 2]:.4f} s, 99 % {values[int(0.99 * len(values))]:.4f} s, most {values[-1]:.3f} s"
        )


if __name__ == "__main__":
    main()
