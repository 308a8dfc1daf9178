import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pruner.errors import InputError
from pruner.problems.importing import import_table, parse_import
from pruner.problems.shapes import shuffle_options


def imported(tmp_path, source, **changes):
    values = {
        "source": str(source),
        "target": str(tmp_path / "t.parquet"),
        "format": "columns",
        "columns": {"problem_id": None, "question": "question", "answer": "answer"},
        "answer_pattern": None,
        "seed": 0,
        "keep": True,
    }
    return import_table(parse_import(values | changes)).to_pydict()


def write(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text)
    return path


def test_csv_with_other_names_and_quoted_lines(tmp_path):
    path = write(tmp_path, "s.csv", 'q,a,level\n"one\nline",1,x\ntwo,2,y\n')
    columns = {"problem_id": None, "question": "q", "answer": "a"}
    assert imported(tmp_path, path, columns=columns) == {
        "problem_id": ["s-0", "s-1"],
        "question": ["one\nline", "two"],
        "answer": ["1", "2"],
        "level": ["x", "y"],
    }


def test_texts_stay_as_they_are_written(tmp_path):
    path = write(tmp_path, "s.csv", "id,question,answer\n007,NA?,1.50\n008,null,12345678901234567890123\n")
    columns = {"problem_id": "id", "question": "question", "answer": "answer"}
    found = imported(tmp_path, path, columns=columns)
    assert found["problem_id"] == ["007", "008"] and found["question"] == ["NA?", "null"]
    assert found["answer"] == ["1.50", "12345678901234567890123"]
    path = write(tmp_path, "s.jsonl", '{"question": "2020-01-01", "answer": 5}\n{"question": "r", "answer": "x+1"}\n')
    assert imported(tmp_path, path)["answer"] == ["5", "x+1"]
    assert imported(tmp_path, path)["question"] == ["2020-01-01", "r"]


def test_json_lines_with_an_answer_pattern(tmp_path):
    rows = [{"question": "q", "answer": "6 * 7 = 42\n#### 42"}]
    path = write(tmp_path, "s.jsonl", "\n".join(json.dumps(row) for row in rows))
    assert imported(tmp_path, path, answer_pattern="#### (.*)")["answer"] == ["42"]


def test_parquet_with_numbers_for_answers_and_ids(tmp_path):
    path = tmp_path / "s.parquet"
    pq.write_table(pa.table({"id": [5, 6], "question": ["q", "r"], "answer": [7, None]}), path)
    columns = {"problem_id": "id", "question": "question", "answer": "answer"}
    assert imported(tmp_path, path, columns=columns) == {
        "problem_id": ["5", "6"],
        "question": ["q", "r"],
        "answer": ["7", None],
    }


GPQA = "Record ID,Question,Correct Answer,Incorrect Answer 1,Incorrect Answer 2,Incorrect Answer 3\n"


def test_gpqa_options_are_laid_out_and_the_letter_is_right(tmp_path):
    lines = "".join(f"r{i},Q{i}?,right,wrong a,wrong b,wrong c\n" for i in range(20))
    path = write(tmp_path, "gpqa.csv", GPQA + lines)
    found = imported(tmp_path, path, format="gpqa")
    for question, letter in zip(found["question"], found["answer"], strict=True):
        assert f"{letter}) right" in question and question.count(") wrong") == 3
    assert len(set(found["answer"])) == 4, "the right option stands in all places"
    assert found == imported(tmp_path, path, format="gpqa")
    assert found["answer"] != imported(tmp_path, path, format="gpqa", seed=1)["answer"]
    assert found["Record ID"][0] == "r0"


def test_options_do_not_depend_on_the_row():
    assert shuffle_options("q", ["a", "b", "c", "d"], 3) == shuffle_options("q", ["a", "b", "c", "d"], 3)


@pytest.mark.parametrize(
    ("name", "text", "changes", "message"),
    [
        ("s.csv", "x,y\n1,2\n", {}, "missing \\['question', 'answer'\\]"),
        ("s.csv", "question,answer\n,2\n", {}, "row 0: question is"),
        ("s.xlsx", "x", {}, "got ending '.xlsx'"),
        ("s.jsonl", "{broken", {}, "unreadable"),
        ("s.csv", GPQA + "r,Q,,b,c,d\n", {"format": "gpqa"}, "row 0: \\['Correct Answer'\\] empty"),
        ("s.csv", "question,answer\nq,2\n", {"format": "gpqa"}, "Is this a GPQA CSV"),
        ("s.csv", "question,answer\nq,2\n", {"answer_pattern": "x"}, "exactly one group"),
        ("s.csv", "question,answer\nq,2\n", {"sed": 1}, "unknown key sed"),
    ],
)
def test_faults_are_named(tmp_path, name, text, changes, message):
    with pytest.raises(InputError, match=message):
        imported(tmp_path, write(tmp_path, name, text), **changes)


def test_a_missing_source_is_named(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        imported(tmp_path, tmp_path / "none.csv")
