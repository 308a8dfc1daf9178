import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pruner.errors import InputError
from pruner.problems.problem_set import read_problems


def write(tmp_path, columns):
    path = tmp_path / "set.parquet"
    pq.write_table(pa.table(columns), path)
    return str(path)


GOOD = {"problem_id": ["a", "b"], "question": ["1+1?", "2+2?"], "answer": ["2", None], "level": [1, 2]}


def test_a_good_set_is_read_with_its_further_columns(tmp_path):
    found = read_problems(write(tmp_path, GOOD), None)
    assert [(p.problem_id, p.problem_index, p.answer) for p in found.problems] == [("a", 0, "2"), ("b", 1, None)]
    assert found.carried.to_pydict() == {"question": ["1+1?", "2+2?"], "level": [1, 2]}
    assert len(read_problems(write(tmp_path, GOOD), 1).problems) == 1


def test_shards_part_the_set(tmp_path):
    found = read_problems(write(tmp_path, GOOD), None)
    assert [p.problem_id for i in range(3) for p in found.shard(i, 3)] == ["a", "b"]


def test_all_faults_come_at_once_with_their_rows(tmp_path):
    bad = {"problem_id": ["a", "a", None, "d"], "question": ["x", "", "y", None], "answer": ["1", "2", "3", " "]}
    with pytest.raises(InputError) as caught:
        read_problems(write(tmp_path, bad), None)
    text = "\n".join(caught.value.faults)
    for part in (
        "row 1: problem_id 'a' is in row 0 already",
        "row 1: question is empty",
        "row 2: problem_id is null",
        "row 3: question is null",
        "row 3: answer is empty",
    ):
        assert part in text
    assert len(caught.value.faults) == 5


def test_many_faults_are_counted_not_listed(tmp_path):
    bad = {"problem_id": ["a"] * 100, "question": ["x"] * 100, "answer": ["1"] * 100}
    with pytest.raises(InputError) as caught:
        read_problems(write(tmp_path, bad), None)
    assert len(caught.value.faults) == 21 and "79 more" in caught.value.faults[-1]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"problem_id": ["a"], "prompt": ["x"]}, "none for the question. Say problems.columns.question="),
        (
            {"problem_id": [True], "question": ["x"], "answer": ["1"]},
            "column problem_id is bool, expected text or numbers",
        ),
        (
            {"problem_id": ["a"], "question": ["x"], "answer": [["1"]]},
            "string>, expected text",
        ),
        ({k: pa.array([], pa.string()) for k in ("problem_id", "question", "answer")}, "the set is empty"),
    ],
)
def test_wrong_shapes_are_named(tmp_path, columns, message):
    with pytest.raises(InputError, match=message):
        read_problems(write(tmp_path, columns), None)


def test_no_file_and_half_a_file(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_problems(str(tmp_path / "none.parquet"), None)
    path = tmp_path / "half.parquet"
    path.write_bytes(open(write(tmp_path, GOOD), "rb").read()[:200])
    with pytest.raises(InputError, match="unreadable or truncated"):
        read_problems(str(path), None)


def test_the_fingerprint_says_sets_apart(tmp_path):
    one = read_problems(write(tmp_path, GOOD), None).fingerprint
    assert one == read_problems(write(tmp_path, GOOD | {"level": [3, 4]}), None).fingerprint
    assert one != read_problems(write(tmp_path, GOOD | {"question": ["1+1?", "2+3?"]}), None).fingerprint


def test_the_shipped_sets_have_an_answer_to_every_question_and_share_no_numbers():
    def numbers(problem):
        return tuple(sorted(re.findall(r"\d+", problem.question))), problem.answer

    demo, templated = (read_problems(f"conf/problems/{name}.parquet", None).problems for name in ("demo", "templated"))
    assert len(demo) == 56 and len(templated) == 320 and all(each.answer for each in (*demo, *templated))
    assert not {numbers(each) for each in demo} & {numbers(each) for each in templated}, (
        "judges are trained on templated"
    )


@pytest.mark.parametrize("problem_id", ["a\0", "a\nb", "\x1b[31m", "\x7f", "a\x85"])
def test_an_id_with_a_control_character_is_refused(tmp_path, problem_id):
    with pytest.raises(InputError, match="row 1: problem_id is '.*', which has a control character; give it one"):
        read_problems(write(tmp_path, GOOD | {"problem_id": ["a", problem_id]}), None)
