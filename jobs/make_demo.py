"""Make the demo problem set: one-step questions that a very small model can often, but not always, answer.

python -m jobs.make_demo        writes conf/problems/demo.parquet
"""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from pruner.problems.problem_set import write_problems

TARGET = Path(__file__).parent.parent / "conf" / "problems" / "demo.parquet"

GAINS = [
    ("Sam has 2 apples and gets 3 more. How many apples does Sam have?", 5),
    ("Mia has 5 stickers and buys 4 more. How many stickers does she have?", 9),
    ("A bag has 6 red balls and 3 blue balls. How many balls are in the bag?", 9),
    ("Leo has 7 shells and finds 5 more. How many shells does Leo have?", 12),
    ("There are 8 birds in a tree and 2 more come. How many birds are in the tree?", 10),
    ("Ella read 3 pages on Monday and 6 pages on Tuesday. How many pages did she read?", 9),
    ("A farmer has 4 cows and buys 4 more. How many cows does the farmer have?", 8),
    ("Noah has 10 marbles and wins 5 more. How many marbles does Noah have?", 15),
    ("A shelf holds 9 books and Ana adds 2. How many books are on the shelf?", 11),
    ("Max ran 3 miles in the morning and 2 miles at night. How many miles did he run?", 5),
]
LOSSES = [
    ("Tom had 8 cookies and ate 3. How many cookies are left?", 5),
    ("Ben has 10 coins and gives 4 away. How many coins does Ben have left?", 6),
    ("A jar had 9 candies and 2 were eaten. How many candies are left?", 7),
    ("Ruth had 12 eggs and used 6. How many eggs are left?", 6),
    ("There were 7 ducks on a pond and 4 flew away. How many ducks are left?", 3),
    ("Jack had 15 dollars and spent 5. How many dollars does Jack have left?", 10),
    ("A bus had 11 people and 3 got off. How many people are on the bus?", 8),
    ("Nina had 6 balloons and 1 popped. How many balloons are left?", 5),
    ("A baker made 20 rolls and sold 10. How many rolls are left?", 10),
    ("Omar had 9 pens and lost 5. How many pens does Omar have left?", 4),
]
GROUPS = [
    ("A box holds 4 pens. How many pens do 2 boxes hold?", 8),
    ("Lily reads 2 books each day for 4 days. How many books does she read?", 8),
    ("One pack has 5 cards. How many cards are in 3 packs?", 15),
    ("Each bike has 2 wheels. How many wheels do 5 bikes have?", 10),
    ("A ticket costs 3 dollars. How many dollars do 4 tickets cost?", 12),
    ("Each plate has 2 buns. How many buns are on 6 plates?", 12),
    ("A hen lays 1 egg each day. How many eggs does it lay in 7 days?", 7),
    ("Each row has 10 seats. How many seats are in 2 rows?", 20),
    ("Kim saves 5 dollars each week. How many dollars does Kim save in 2 weeks?", 10),
    ("Each vase holds 3 roses. How many roses do 3 vases hold?", 9),
]
SUMS = [
    ("What is 3 times 5?", 15),
    ("What is 9 minus 4?", 5),
    ("What is 10 plus 7?", 17),
    ("What is 6 plus 8?", 14),
    ("What is 4 times 4?", 16),
    ("What is 12 minus 5?", 7),
    ("What is 5 plus 5?", 10),
    ("What is 2 times 9?", 18),
    ("What is 20 minus 10?", 10),
    ("What is 7 plus 6?", 13),
    ("What is half of 12?", 6),
    ("What is 20 divided by 5?", 4),
    ("What is 8 plus 1?", 9),
    ("What is 10 times 3?", 30),
]
FACTS = [
    ("How many minutes are in one hour?", 60),
    ("How many days are in one week?", 7),
    ("How many months are in one year?", 12),
    ("How many hours are in one day?", 24),
    ("How many legs does a dog have?", 4),
    ("How many sides does a triangle have?", 3),
    ("How many seconds are in one minute?", 60),
    ("How many cents are in one dollar?", 100),
    ("How many sides does a square have?", 4),
    ("How many fingers are on one hand?", 5),
    ("How many wheels does a car have?", 4),
    ("How many years are in one century?", 100),
]
KINDS = {"gain": GAINS, "loss": LOSSES, "group": GROUPS, "sum": SUMS, "fact": FACTS}


def demo_table() -> pa.Table:
    """Return the demo set: problem_id, question, answer and the kind of question, kinds mixed."""
    rows = [
        {"problem_id": f"{kind}-{number:02d}", "question": question, "answer": str(answer), "kind": kind}
        for kind, questions in KINDS.items()
        for number, (question, answer) in enumerate(questions)
    ]
    rows.sort(key=lambda row: (row["problem_id"].split("-")[1], row["kind"]))
    return pa.Table.from_pylist(rows)


if __name__ == "__main__":
    write_problems(demo_table(), TARGET)
    print(f"{demo_table().num_rows} problems in {TARGET.name}")
