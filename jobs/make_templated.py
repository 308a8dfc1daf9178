"""Make the templated problem set: one- and two-step questions for training judges, disjoint from the demo set.

python -m jobs.make_templated        writes conf/problems/templated.parquet
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa

from pruner.problems.problem_set import read_problems, write_problems

FOLDER = Path(__file__).parent.parent / "conf" / "problems"
TARGET = FOLDER / "templated.parquet"
PER_TEMPLATE = 16
NAMES = ["Ada", "Bill", "Clara", "Dan", "Eva", "Finn", "Grace", "Hugo", "Ivy", "Jon", "Kate", "Luis", "Mona", "Ned"]
THINGS = ["apples", "books", "cards", "coins", "eggs", "hats", "keys", "nuts", "pens", "rings", "stones", "toys"]

Template = Callable[[str, str, int, int, int], tuple[str, int] | None]
"""From a name, things and three numbers to a question and its answer; None where the numbers make no sense."""


def gain(name: str, things: str, a: int, b: int, c: int) -> tuple[str, int]:
    return f"{name} has {a} {things} and finds {b} more. How many {things} does {name} have?", a + b


def gift(name: str, things: str, a: int, b: int, c: int) -> tuple[str, int]:
    return f"A friend gives {name} {b} {things}. {name} had {a} before. How many {things} are there now?", a + b


def total(name: str, things: str, a: int, b: int, c: int) -> tuple[str, int]:
    return f"There are {a} big {things} and {b} small {things} on a table. How many {things} are on the table?", a + b


def days(name: str, things: str, a: int, b: int, c: int) -> tuple[str, int]:
    return f"{name} sold {a} {things} on Friday and {b} {things} on Sunday. How many {things} did {name} sell?", a + b


def loss(name: str, things: str, a: int, b: int, c: int) -> tuple[str, int] | None:
    return (f"{name} had {a} {things} and lost {b}. How many {things} are left?", a - b) if a > b else None


def sold(name: str, things: str, a: int, b: int, c: int) -> tuple[str, int] | None:
    return (f"A shop had {a} {things} and sold {b}. How many {things} does the shop have?", a - b) if a > b else None


def fewer(name: str, things: str, a: int, b: int, c: int) -> tuple[str, int] | None:
    if a <= b:
        return None
    return f"{name} has {a} {things}. Sue has {b} fewer. How many {things} does Sue have?", a - b


def boxes(name: str, things: str, a: int, b: int, c: int) -> tuple[str, int]:
    return f"A box holds {a} {things}. How many {things} do {b} boxes hold?", a * b


def price(name: str, things: str, a: int, b: int, c: int) -> tuple[str, int]:
    return f"{name} buys {b} {things}. Each costs {a} dollars. How many dollars does {name} pay?", a * b


def shelves(name: str, things: str, a: int, b: int, c: int) -> tuple[str, int]:
    return f"There are {b} shelves with {a} {things} each. How many {things} are there?", a * b


def plus(name: str, things: str, a: int, b: int, c: int) -> tuple[str, int]:
    return f"What is {a} plus {b}?", a + b


def minus(name: str, things: str, a: int, b: int, c: int) -> tuple[str, int] | None:
    return (f"What is {a} minus {b}?", a - b) if a > b else None


def times(name: str, things: str, a: int, b: int, c: int) -> tuple[str, int]:
    return f"What is {a} times {b}?", a * b


def divided(name: str, things: str, a: int, b: int, c: int) -> tuple[str, int]:
    return f"What is {a * b} divided by {b}?", a


def gain_gain(name: str, things: str, a: int, b: int, c: int) -> tuple[str, int]:
    return (
        f"{name} has {a} {things}, buys {b} and then gets {c} more. How many {things} does {name} have?",
        a + b + c,
    )


def gain_loss(name: str, things: str, a: int, b: int, c: int) -> tuple[str, int] | None:
    if a + b <= c:
        return None
    return f"{name} has {a} {things}, finds {b} more and loses {c}. How many {things} are left?", a + b - c


def loss_loss(name: str, things: str, a: int, b: int, c: int) -> tuple[str, int] | None:
    if a <= b + c:
        return None
    return (
        f"{name} had {a} {things}, gave {b} to Sue and {c} to Tim. How many {things} does {name} have left?",
        a - b - c,
    )


def boxes_more(name: str, things: str, a: int, b: int, c: int) -> tuple[str, int]:
    return (
        f"{name} has {b} bags of {a} {things} and {c} more. How many {things} does {name} have?",
        a * b + c,
    )


def plus_plus(name: str, things: str, a: int, b: int, c: int) -> tuple[str, int]:
    return f"What is {a} plus {b} plus {c}?", a + b + c


def plus_minus(name: str, things: str, a: int, b: int, c: int) -> tuple[str, int] | None:
    return (f"What is {a} plus {b} minus {c}?", a + b - c) if a + b > c else None


ONE_STEP: tuple[Template, ...] = (
    *(gain, gift, total, days, loss, sold, fewer),
    *(boxes, price, shelves, plus, minus, times, divided),
)
TWO_STEPS: tuple[Template, ...] = (gain_gain, gain_loss, loss_loss, boxes_more, plus_plus, plus_minus)


def templated_table() -> pa.Table:
    """Return the set: problem_id, question, answer and template. No question has the numbers and the answer of a demo
    question, whatever its words."""
    demo = read_problems(str(FOLDER / "demo.parquet"), None).problems
    taken = {_numbers(each.question, str(each.answer)) for each in demo}
    draw = random.Random(0)
    rows = []
    for template in (*ONE_STEP, *TWO_STEPS):
        seen: set[str] = set()
        while len(seen) < PER_TEMPLATE:
            numbers = [draw.randint(1, 12) for _ in range(3)]
            made = template(draw.choice(NAMES), draw.choice(THINGS), *numbers)
            if made is None or made[0] in seen or _numbers(*made) in taken:
                continue
            name = template.__name__
            rows.append(
                {
                    "problem_id": f"{name}-{len(seen):02d}",
                    "question": made[0],
                    "answer": str(made[1]),
                    "template": name,
                }
            )
            seen.add(made[0])
    rows.sort(key=lambda row: (row["problem_id"].split("-")[1], row["template"]))
    return pa.Table.from_pylist(rows)


def _numbers(question: str, answer: int | str) -> tuple[tuple[int, ...], int]:
    return tuple(sorted(int(number) for number in re.findall(r"\d+", question))), int(answer)


if __name__ == "__main__":
    write_problems(templated_table(), TARGET)
    print(f"{templated_table().num_rows} problems in {TARGET.name}")
