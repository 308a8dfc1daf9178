"""Tables as text: what fits, what is cut, and what can do no harm."""

import csv
import io
import json

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from pruner.results.formats import fitted, shown, to_csv, to_json, to_markdown, to_text

TABLE = pa.table(
    {"name": ["a", "b" * 90, None], "n": [1, 20, None], "x": [0.5, float("nan"), 1e9], "l": [[1], [], None]}
)


def test_numbers_stand_to_the_right_and_long_texts_are_cut():
    lines = to_text(TABLE, 60, 10).splitlines()
    assert max(map(len, lines)) <= 60 and "…" in lines[3]
    assert lines[0].startswith("name") and lines[2].startswith("a")
    column = lines[0].index("  n") + 2
    assert [line[column] for line in lines[2:4]] == ["1", "0"] or "20" in lines[3]


def test_rows_and_columns_left_out_are_named():
    text = to_text(pa.table({f"column{i}": [i, i] for i in range(30)}), 50, 1)
    assert "1 of 2 rows" in text and "not shown: column" in text and "column29" in text


def test_without_a_terminal_nothing_is_cut():
    assert "b" * 90 in to_text(TABLE, None, 10)


@given(st.lists(st.integers(1, 80), min_size=1, max_size=12), st.integers(10, 200), st.data())
def test_columns_always_fit(widths, width, data):
    numeric = data.draw(st.lists(st.booleans(), min_size=len(widths), max_size=len(widths)))
    found = fitted(widths, numeric, width)
    assert found and (sum(found) + 2 * (len(found) - 1) <= width)
    assert all(new <= old for new, old in zip(found, widths, strict=False))


def test_what_models_write_cannot_steer_a_terminal_or_a_page():
    table = pa.table({"text": ["\x1b[31mred\nline|<script>"]})
    text = to_text(table, None, 5)
    assert "\x1b" not in text and len(text.splitlines()) == 3
    markdown = to_markdown(table)
    assert "<script>" not in markdown and "\\|" in markdown and len(markdown.splitlines()) == 3


def test_programs_get_values_as_they_are():
    rows = json.loads(to_json(TABLE))
    assert rows[1] == {"name": "b" * 90, "n": 20, "x": None, "l": []}
    assert [row["l"] for row in csv.DictReader(io.StringIO(to_csv(TABLE)))] == ["[1]", "[]", ""]
    assert json.loads(to_json(TABLE.slice(0, 0))) == []


def test_people_get_short_numbers():
    assert [shown(value) for value in (None, 1.0, 0.123456789, 1234567, [1, None])] == [
        "",
        "1",
        "0.123457",
        "1234567",
        "[1, null]",
    ]
