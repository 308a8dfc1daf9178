import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pruner.errors import InputError
from pruner.learning.config import PairsConfig
from pruner.learning.pair_files import (
    pairs_identity,
    read_traces,
    traces_by_problem,
    write_pairs,
    written_identity,
)
from pruner.learning.pairs import Recorded, folds_by_problem, label_pairs, recorded_prefix
from pruner.rules.prefix import FixedTruncation, ReasoningWordsTruncation
from pruner.settings.section import parse_as

TRUNCATION = FixedTruncation(3)


def words(text):
    """A tokenizer of words: each token ends behind its word."""
    ends, at = [], 0
    for word in text.split():
        at = text.index(word, at) + len(word)
        ends.append(at)
    return tuple(range(len(ends))), tuple(ends)


def recorded(index, text, answer="a", problem_id="p"):
    return Recorded(problem_id, index, "q", text, answer, *words(text))


def pairs(traces, **changes):
    return label_pairs(traces, config("unread.parquet", **changes), str, fold=2)


def test_a_prefix_is_what_the_main_job_would_have_judged():
    assert recorded_prefix(recorded(0, "one two three four"), TRUNCATION, 256).text == "one two three"
    assert recorded_prefix(recorded(0, "one two three"), TRUNCATION, 256) is None, "it finishes before it is judged"
    trace = recorded(0, "a so b c so d e f")
    prefix = recorded_prefix(trace, ReasoningWordsTruncation(("so",), 2, 100), 2)
    assert prefix.text == "a so b c so" and prefix.num_tokens == 6
    assert recorded_prefix(trace, ReasoningWordsTruncation(("so",), 2, 100), 256) is None, "its segment ends the trace"


def test_pairs_are_labelled_by_their_answers():
    found = pairs([recorded(1, "a b c d", "x"), recorded(0, "e f g h", "x"), recorded(2, "i j k l", "y")])
    assert [(p.left_trace, p.right_trace, p.label) for p in found] == [(0, 1, 1), (0, 2, 0), (1, 2, 0)]
    assert (found[0].left, found[0].right, found[0].fold) == ("e f g", "a b c", 2)


def test_traces_without_an_answer_or_a_prefix_are_in_no_pair():
    found = pairs([recorded(0, "a b c d"), recorded(1, "a b"), recorded(2, "a b c d", None), recorded(3, "a b c d")])
    assert [(p.left_trace, p.right_trace) for p in found] == [(0, 3)]


@given(st.integers(2, 12), st.integers(1, 80), st.randoms())
def test_the_draw_does_not_depend_on_the_order_of_rows(count, limit, random):
    traces = [recorded(i, "a b c d", "xy"[i % 2]) for i in range(count)]
    found = pairs(traces, pairs_per_problem=limit)
    assert len(found) == min(limit, count * (count - 1) // 2)
    random.shuffle(traces)
    assert pairs(traces, pairs_per_problem=limit) == found


@given(st.sets(st.text(min_size=1, max_size=5), min_size=1, max_size=40), st.integers(1, 7))
def test_folds_part_the_problems_evenly(ids, count):
    folds = folds_by_problem([*ids, *ids], count, 0)
    sizes = [list(folds.values()).count(fold) for fold in range(count)]
    assert folds.keys() == ids and max(sizes) - min(sizes) <= 1


def config(source, target="t.parquet", **changes):
    values = {
        "source": str(source),
        "target": str(target),
        "columns": {n: n for n in ("problem_id", "question", "trace_index", "text", "answer")},
        "answers": "math",
        "patterns": [],
        "tokenizer": "none",
        "segment_tokens": 256,
        "traces_per_problem": None,
        "pairs_per_problem": None,
        "folds": 2,
        "seed": 0,
        "prefix": {"name": "fixed", "max_tokens": 3},
        "model": {"prefix_tokens": 3},
    }
    return parse_as(PairsConfig, json.loads(json.dumps(values | changes)))


ROWS = {
    "problem_id": ["p", "p", "q", "q"],
    "question": ["?", "?", "!", "!"],
    "trace_index": [1, 0, 0, 1],
    "text": ["a b c d", "b c d \\boxed{7}", "c d e f", "d e f g"],
    "answer": ["x", None, "y", "y"],
}


def write(tmp_path, columns):
    path = tmp_path / "traces.parquet"
    pq.write_table(pa.table(columns), path)
    return path


def test_recorded_traces_come_by_problem_with_answers_read_where_there_are_none(tmp_path):
    table = read_traces(config(write(tmp_path, ROWS)))
    groups = list(traces_by_problem(table, (), words))
    assert [[(t.problem_id, t.trace_index, t.answer) for t in group] for group in groups] == [
        [("p", 0, "7"), ("p", 1, "x")],
        [("q", 0, "y"), ("q", 1, "y")],
    ]


def test_written_pairs_know_what_they_were_made_from(tmp_path):
    source = write(tmp_path, ROWS)
    first = config(source)
    identity = pairs_identity(first, read_traces(first))
    target = tmp_path / "pairs.parquet"
    assert written_identity(target) is None
    write_pairs(pairs([recorded(0, "a b c d"), recorded(1, "b c d e")]), target, identity)
    assert written_identity(target) == identity
    assert pq.read_table(target).column("left").to_pylist() == ["a b c"]
    other = config(source, seed=1)
    assert pairs_identity(other, read_traces(other)) != identity
    moved = config(source, target="elsewhere.parquet")
    assert pairs_identity(moved, read_traces(moved)) == identity


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({k: v for k, v in ROWS.items() if k != "text"}, "missing \\['text'\\]"),
        (ROWS | {"trace_index": [0, 0, 0, 1]}, "row 1: problem 'p' has trace 0 already"),
        (ROWS | {"text": ["a", None, "b", "c"]}, "row 1: problem_id, trace_index or text is null"),
    ],
)
def test_faulty_traces_are_refused_with_their_rows(tmp_path, columns, message):
    with pytest.raises(InputError, match=message):
        read_traces(config(write(tmp_path, columns)))


def test_missing_sources_and_empty_folders_are_named(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_traces(config(tmp_path / "none.parquet"))
    with pytest.raises(InputError, match="holds no traces"):
        read_traces(config(tmp_path))
