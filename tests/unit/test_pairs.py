import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pruner.errors import InputError
from pruner.learning.config import PairsConfig
from pruner.learning.pair_files import build_pairs, read_pairs, recorded_pairs
from pruner.learning.pairs import folds_by_problem, recorded_prefix
from pruner.recordings.recording import read_recording
from pruner.rules.prefix import FixedPrefixConfig, FixedTruncation, ReasoningWordsTruncation
from pruner.settings.section import parse_as

TRUNCATION = FixedTruncation(3)
ROWS = {"question": "?", "gold_answer": "7", "num_tokens": 4}


def words(text):
    """A tokenizer of words: each token ends behind its word."""
    ends, at = [], 0
    for word in text.split():
        at = text.index(word, at) + len(word)
        ends.append(at)
    return tuple(range(len(ends))), tuple(ends)


def row(index, text, answer="a", problem_id="p"):
    return ROWS | {"problem_id": problem_id, "trace_index": index, "text": text, "answer": answer}


def source(tmp_path, rows):
    path = tmp_path / "traces.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def config(path, target="t.parquet", **changes):
    values = {
        "source": str(path),
        "target": str(target),
        "columns": {},
        "answers": "math",
        "tokenizer": ".cache/models/smollm2_135m",
        "segment_tokens": 256,
        "traces_per_problem": None,
        "pairs_per_problem": None,
        "folds": 2,
        "seed": 0,
        "prefix": {"name": "fixed", "max_tokens": 3},
        "model": {"prefix_tokens": 3},
    }
    return parse_as(PairsConfig, json.loads(json.dumps(values | changes)))


def pairs(tmp_path, rows, **changes):
    made = config(source(tmp_path, rows), **changes)
    return recorded_pairs(made, read_recording(made.source, made.columns), words)


def test_a_prefix_is_what_the_main_job_would_have_judged():
    def prefix(text, truncation, segment_tokens):
        return recorded_prefix(text, *words(text), truncation, segment_tokens)

    assert prefix("one two three four", TRUNCATION, 256).text == "one two three"
    assert prefix("one two three", TRUNCATION, 256) is None, "it finishes before it is judged"
    found = prefix("a so b c so d e f", ReasoningWordsTruncation(("so",), 2, 100), 2)
    assert found.text == "a so b c so" and found.num_tokens == 6
    whole = prefix("a so b c so d e f", ReasoningWordsTruncation(("so",), 2, 100), 256)
    assert whole is None, "its segment ends the trace"


def test_pairs_are_labelled_by_their_answers(tmp_path):
    found = pairs(tmp_path, [row(1, "a b c d", "1/2"), row(0, "e f g h", "0.5"), row(2, "i j k l", "y")])
    assert [(p.left_trace, p.right_trace, p.label) for p in found] == [(0, 1, 1), (0, 2, 0), (1, 2, 0)]
    assert (found[0].left, found[0].right, found[0].problem) == ("e f g", "a b c", "traces/p")


def test_traces_without_an_answer_or_a_prefix_are_in_no_pair(tmp_path):
    rows = [row(0, "a b c d"), row(1, "a b"), row(2, "a b c d", None), row(3, "a b c d")]
    assert [(p.left_trace, p.right_trace) for p in pairs(tmp_path, rows)] == [(0, 3)]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(2, 12), st.integers(1, 80), st.randoms())
def test_the_draw_does_not_depend_on_the_order_of_rows(tmp_path, count, limit, random):
    rows = [row(i, "a b c d", "xy"[i % 2]) for i in range(count)]
    found = pairs(tmp_path, rows, pairs_per_problem=limit)
    assert len(found) == min(limit, count * (count - 1) // 2)
    random.shuffle(rows)
    assert pairs(tmp_path, rows, pairs_per_problem=limit) == found


@given(st.sets(st.text(min_size=1, max_size=5), min_size=1, max_size=40), st.integers(1, 7))
def test_folds_part_the_problems_evenly(ids, count):
    folds = folds_by_problem([*ids, *ids], count, 0)
    sizes = [list(folds.values()).count(fold) for fold in range(count)]
    assert folds.keys() == ids and max(sizes) - min(sizes) <= 1


def test_pairs_are_made_once_and_again_if_anything_changed(tmp_path, capsys):
    path = source(
        tmp_path, [row(0, "one two three four five"), row(1, "one more two three four"), row(0, "x", None, "q")]
    )
    target = tmp_path / "pairs.parquet"
    for changes, said in (({}, "1 pairs of 1 problems"), ({}, "nothing to do"), ({"seed": 1}, "1 pairs of 1 problems")):
        build_pairs(config(path, target, **changes))
        assert said in capsys.readouterr().out
    found = read_pairs(target)
    assert found.prefix == FixedPrefixConfig(name="fixed", max_tokens=3) and found.made_with["seed"] == 1
    assert [each.left_trace for each in found.pairs] == [0]
    source(tmp_path, [row(0, "other two three four five"), row(1, "one more two three four")])
    build_pairs(config(path, target, seed=1))
    assert "1 pairs" in capsys.readouterr().out


def test_a_source_without_traces_texts_or_columns_is_refused(tmp_path):
    with pytest.raises(InputError, match="^source: got .*expected a run's folder or a Parquet"):
        build_pairs(config(tmp_path / "none.parquet"))
    bare = [{key: value for key, value in row(0, "a").items() if key != "text"}]
    with pytest.raises(InputError, match="its traces have no text"):
        build_pairs(config(source(tmp_path, bare)))
    with pytest.raises(InputError, match=r"missing \['num_tokens'\]. Set columns"):
        build_pairs(config(source(tmp_path, [{k: v for k, v in row(0, "a").items() if k != "num_tokens"}])))
