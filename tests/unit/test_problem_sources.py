"""One problem set in every form in which pandas, polars and datasets write it, and forms that are broken."""

import json

import datasets
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from pruner.errors import InputError
from pruner.problems.problem_set import read_problems
from pruner.problems.shapes import ProblemColumns
from pruner.prompts import ChatPrompts
from pruner.settings.model import PromptConfig
from tests.fuzz.jobs_in_process import call

TURN = {"role": "user", "content": "x"}
IDS = [100 + i for i in range(20)]
QUESTIONS = [f"What is {i} plus {i % 7}? é漢🙂" for i in range(20)]
ANSWERS = [i + i % 7 if i % 5 else None for i in range(20)]
LEVELS = ["easy" if i % 2 else "hard" for i in range(20)]
ROWS = [
    {
        "problem_id": str(IDS[i]),
        "question": QUESTIONS[i],
        "answer": None if ANSWERS[i] is None else str(ANSWERS[i]),
        "level": LEVELS[i],
    }
    for i in range(20)
]
# As earlier versions computed it: runs go on.
FINGERPRINT = "6276d636b31973d038d3c56f93fad9d1"


def plain():
    return pa.Table.from_pylist(ROWS)


def with_types(**kinds):
    """Return the table with columns of other types."""
    table = plain()
    for name, kind in kinds.items():
        values = IDS if name == "problem_id" and not pa.types.is_dictionary(kind) else None
        values = ANSWERS if name == "answer" and (pa.types.is_integer(kind) or pa.types.is_floating(kind)) else values
        made = table[name].cast(kind) if values is None else pa.array(values, kind)
        table = table.set_column(table.column_names.index(name), name, made)
    return table


def parquet(table):
    return lambda folder: pq.write_table(table, folder / "set.parquet")


def frame():
    """As pandas reads it: ids and answers are numbers, answers with gaps are floats."""
    return pd.DataFrame({"problem_id": IDS, "question": QUESTIONS, "answer": ANSWERS, "level": LEVELS})


def lines(folder):
    (folder / "set.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))


WRITTEN = {
    "pyarrow, Parquet": parquet(plain()),
    "pandas, Parquet, floats with gaps": lambda folder: frame().to_parquet(folder / "set.parquet"),
    "pandas, categoricals": lambda folder: frame().astype({"question": "category", "level": "category"}).to_parquet(folder / "set.parquet"),
    "pandas, an index": lambda folder: frame().iloc[::-1].iloc[::-1].set_index("level", append=True).reset_index("level").to_parquet(folder / "set.parquet"),
    "pandas, nullable integers": lambda folder: frame().astype({"answer": "Int64"}).to_parquet(folder / "set.parquet"),
    "pandas, CSV": lambda folder: pd.DataFrame(ROWS).to_csv(folder / "set.csv", index=False),
    "pandas, JSON lines": lambda folder: frame().astype({"answer": "Int64"}).to_json(folder / "set.jsonl", orient="records", lines=True),
    "pandas, Feather": lambda folder: frame().to_feather(folder / "set.feather"),
    "polars, Parquet": lambda folder: pl.DataFrame(ROWS).write_parquet(folder / "set.parquet"),
    "polars, integers and categoricals": lambda folder: pl.DataFrame(
        {"problem_id": IDS, "question": QUESTIONS, "answer": ANSWERS, "level": LEVELS}
    ).cast({"level": pl.Categorical}).write_parquet(folder / "set.parquet"),
    "polars, JSON lines": lambda folder: pl.DataFrame(ROWS).write_ndjson(folder / "set.ndjson"),
    "polars, Arrow": lambda folder: pl.DataFrame(ROWS).write_ipc(folder / "set.arrow"),
    "datasets, Parquet": lambda folder: datasets.Dataset.from_list(ROWS).to_parquet(folder / "set.parquet"),
    "datasets, JSON lines": lambda folder: datasets.Dataset.from_list(ROWS).to_json(folder / "set.jsonl"),
    "large strings, dictionaries": parquet(with_types(question=pa.large_string(), problem_id=pa.dictionary(pa.int32(), pa.string()))),
    "string views": lambda folder: pyarrow.feather.write_feather(with_types(question=pa.string_view()), folder / "set.feather", compression="uncompressed"),
    "JSON lines": lines,
    "no ending": lambda folder: pq.write_table(plain(), folder / "set"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRITTEN)
def test_one_set_in_every_form_gives_the_same_rows(tmp_path, name):
    WRITTEN[name](tmp_path)
    [path] = tmp_path.iterdir()
    found = read_problems(str(path), None)
    assert [(p.problem_id, p.question, p.answer) for p in found.problems] == [
        (row["problem_id"], row["question"], row["answer"]) for row in ROWS
    ]
    assert found.carried.to_pydict() == {"question": QUESTIONS, "level": LEVELS} and found.notes == ()
    assert found.fingerprint == FINGERPRINT


def test_a_folder_of_the_datasets_library_is_read_with_its_split(tmp_path):
    data = datasets.DatasetDict({name: datasets.Dataset.from_list(ROWS) for name in ("train", "test")})
    for name, part in data.items():
        part.to_parquet(tmp_path / f"{name}.parquet")
    found = read_problems(f"datasets:{tmp_path}:test", None)
    assert found.fingerprint == FINGERPRINT
    with pytest.raises(InputError, match=r"has the splits \['test', 'train'\]. Name one: datasets:"):
        read_problems(f"datasets:{tmp_path}", None)
    with pytest.raises(InputError, match="has no split dev"):
        read_problems(f"datasets:{tmp_path}:dev", None)


def test_what_is_missing_is_said(tmp_path):
    pq.write_table(plain().select(["question"]), tmp_path / "mine.parquet")
    found = read_problems(str(tmp_path / "mine.parquet"), None)
    assert found.problems[3].problem_id == "mine-3" and found.problems[3].answer is None
    assert len(found.notes) == 2 and "ids are made" in found.notes[0] and "nothing can be graded" in found.notes[1]


@pytest.mark.parametrize(
    ("preset", "rows", "expected"),
    [
        ("gsm8k", {"question": ["q"], "answer": ["6 * 7 = 42\n#### 1,042"]}, ("set-0", "q", "1,042")),
        ("gsm8k", {"problem_id": ["g"], "question": ["q"], "answer": ["18"]}, ("set-0", "q", "18")),
        (
            "math500",
            {"unique_id": ["u"], "problem": ["q"], "solution": ["s"], "answer": ["\\frac12"]},
            ("u", "q", "\\frac12"),
        ),
        ("aime24", {"ID": ["2024-I-1"], "Problem": ["q"], "Answer": [204]}, ("2024-I-1", "q", "204")),
        ("aime25", {"id": [3], "problem": ["q"], "answer": ["70"]}, ("3", "q", "70")),
    ],
)
def test_presets_know_the_columns_of_their_sets(tmp_path, preset, rows, expected):
    pq.write_table(pa.table(rows), tmp_path / "set.parquet")
    result = call(
        "run",
        f"problems={preset}",
        f"problems.path={tmp_path}/set.parquet",
        "sampler=simulated",
        "budget=2",
        f"run.root={tmp_path}/o",
        "run.name=run",
    )
    assert result.code == 0, result.errors
    [row] = pq.read_table(tmp_path / "o/run/answers/shard=0000.parquet").to_pylist()
    wanted = (rows["problem_id"][0], *expected[1:]) if "problem_id" in rows else expected
    assert (row["problem_id"], row["question"], row["gold"]) == wanted


GPQA = "Record ID,Question,Correct Answer,Incorrect Answer 1,Incorrect Answer 2,Incorrect Answer 3\n"


def read(path, content, **columns):
    path.write_text(content)
    return read_problems(str(path), None, ProblemColumns(**columns))


def rows_of(found):
    return [(each.problem_id, each.question, each.answer) for each in found.problems]


def test_gpqas_options_are_laid_out_and_its_record_ids_are_used(tmp_path):
    lines = "".join(f"r{i},Q{i}?,right,wrong a,wrong b,wrong c\n" for i in range(20))
    problems = read(tmp_path / "gpqa.csv", GPQA + lines, format="gpqa").problems
    assert [each.problem_id for each in problems] == [f"r{i}" for i in range(20)]
    for each in problems:
        assert f"{each.answer}) right" in each.question and each.question.count(") wrong") == 3
    assert {each.answer for each in problems} == set("ABCD"), "the right option stands in all places"
    without_ids = read(tmp_path / "set.csv", GPQA.replace("Record ID", "no") + lines, format="gpqa").problems
    assert [each.question for each in without_ids] == [each.question for each in problems]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (GPQA + "r,Q,,b,c,d\n", r"row 0: \['Correct Answer'\] empty"),
        ("question,level\nq,2\n", "missing .*Is this a GPQA CSV"),
    ],
)
def test_a_set_that_is_not_gpqas_is_refused_as_such(tmp_path, content, message):
    with pytest.raises(InputError, match=message):
        read(tmp_path / "set.csv", content, format="gpqa")


def test_csv_keeps_what_is_written(tmp_path):
    content = 'problem_id,question,answer,level\n007,"one\nline",1.50,x\n008,null,12345678901234567890123,\n'
    found = read(tmp_path / "set.csv", content)
    assert rows_of(found) == [("007", "one\nline", "1.50"), ("008", "null", "12345678901234567890123")]
    assert found.carried.column("level").to_pylist() == ["x", None]


def test_json_lines_keep_what_is_written(tmp_path):
    content = '{"question": "2020-01-01", "answer": 12345678901234567890123}\n{"question": "r", "answer": "x+1"}\n'
    assert rows_of(read(tmp_path / "s.jsonl", content)) == [
        ("s-0", "2020-01-01", "12345678901234567890123"),
        ("s-1", "r", "x+1"),
    ]


def test_the_columns_of_nemo_skills_are_recognised(tmp_path):
    content = '{"id": "aime-1", "problem": "q", "expected_answer": "7"}\n'
    found = read(tmp_path / "s.jsonl", content)
    assert rows_of(found) == [("aime-1", "q", "7")] and found.notes == ()
    assert read(tmp_path / "s.jsonl", content, problem_id=()).problems[0].problem_id == "s-0"


def test_a_field_inside_a_column_can_be_named(tmp_path):
    row = {"prompt": [TURN], "reward_model": {"style": "rule", "ground_truth": 34}, "extra": {"index": 5}}
    names = {"question": "prompt", "answer": "reward_model.ground_truth", "problem_id": "extra.index"}
    for path, write in (
        (tmp_path / "s.jsonl", lambda path: path.write_text(json.dumps(row))),
        (tmp_path / "s.parquet", lambda path: pq.write_table(pa.Table.from_pylist([row]), path)),
    ):
        write(path)
        found = read_problems(str(path), None, ProblemColumns(**names))
        assert rows_of(found) == [("5", "x", "34")] and found.notes == ()
        assert found.carried.column("reward_model").to_pylist() == [row["reward_model"]]
    with pytest.raises(InputError, match="not problems.columns.answer=reward_model.nothing"):
        read_problems(str(path), None, ProblemColumns(**names | {"answer": "reward_model.nothing"}))


def test_choices_with_an_index_as_answer_are_laid_out_under_letters(tmp_path):
    rows = {"question": ["2+2?", "Sky?"], "choices": [["3", "4"], ["red", "blue", "black"]], "answer": [1, None]}
    pq.write_table(pa.table(rows), tmp_path / "s.parquet")
    found = read_problems(str(tmp_path / "s.parquet"), None)
    assert rows_of(found) == [
        ("s-0", "2+2?\n\nA) 3\nB) 4", "B"),
        ("s-1", "Sky?\n\nA) red\nB) blue\nC) black", None),
    ]
    assert "under letters" in found.notes[-1]
    conversations = {"messages": [[TURN], [TURN]], "choices": rows["choices"], "answer": [1, 0]}
    pq.write_table(pa.table(conversations), tmp_path / "s.parquet")
    assert [each.answer for each in read_problems(str(tmp_path / "s.parquet"), None).problems] == ["1", "0"]
    pq.write_table(pa.table(rows | {"answer": [2, 0]}), tmp_path / "s.parquet")
    with pytest.raises(InputError, match="row 0: answer is 2, expected the index of one of its 2 choices"):
        read_problems(str(tmp_path / "s.parquet"), None)


def test_a_set_whose_answers_are_all_null_is_said_to_have_none(tmp_path):
    found = read(tmp_path / "s.csv", "problem_id,question,answer\na,q,\n")
    assert len(found.notes) == 1 and "the column answer is empty: nothing can be graded" in found.notes[0]


def test_a_set_of_the_hub_that_is_given_like_a_file_gets_its_address():
    with pytest.raises(InputError, match="A set of the Hugging Face hub is hf://datasets/openai/gsm8k"):
        read_problems("openai/gsm8k", None)


class Template:
    """A tokenizer that shows what it is given."""

    def apply_chat_template(self, messages, **_):
        self.messages = messages
        return [1]


def test_conversations_become_the_prompt(tmp_path):
    turns = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello"},
        {"role": "user", "content": "1+1?"},
    ]
    rows = {
        "messages": [turns, [{"role": "system", "content": "S"}, {"role": "user", "content": "2+2?"}]],
        "answer": ["2", "4"],
    }
    pq.write_table(pa.table(rows), tmp_path / "chat.parquet")
    first, second = read_problems(str(tmp_path / "chat.parquet"), None).problems
    assert first.question == "user: Hi\n\nassistant: Hello\n\nuser: 1+1?" and second.question == "2+2?"
    tokenizer = Template()
    prompts = ChatPrompts(tokenizer, PromptConfig(system="Own", instruction="Box it."))
    prompts.encode_problem(first)
    assert [turn["content"] for turn in tokenizer.messages] == ["Own", "Hi", "Hello", "1+1?\nBox it."]
    prompts.encode_problem(second)
    assert [turn["content"] for turn in tokenizer.messages] == ["S", "2+2?\nBox it."]


def table(**columns):
    return lambda path: pq.write_table(
        pa.table({"problem_id": ["a", "b"], "question": ["x", "y"], "answer": ["1", "2"]} | columns), path
    )


def text(content):
    return lambda path: path.write_text(content)


BROKEN = {
    "no such file": ("none.parquet", None, "no such file"),
    "a folder": ("folder.parquet", lambda path: path.mkdir(), "got a folder or device, expected a file"),
    "empty": ("set.parquet", text(""), "unreadable or truncated Parquet"),
    "cut": ("set.parquet", lambda path: (table()(path), path.write_bytes(path.read_bytes()[:90])), "unreadable or truncated Parquet"),
    "another ending": ("set.xlsx", text("x"), "got ending '.xlsx', expected .parquet, .jsonl"),
    "no question": ("set.parquet", lambda path: pq.write_table(pa.table({"prompt": ["x"]}), path), "problems.columns.question=<its name>"),
    "no row": ("set.parquet", table(problem_id=pa.array([], pa.string()), question=pa.array([], pa.string()), answer=pa.array([], pa.string())), "the set is empty"),
    "null question": ("set.parquet", table(question=["x", None]), "row 1: question is null; leave the row out"),
    "blank question": ("set.parquet", table(question=[" ", "y"]), "row 0: question is empty; leave the row out"),
    "null id": ("set.parquet", table(problem_id=["a", None]), "row 1: problem_id is null; give it one"),
    "id twice": ("set.parquet", table(problem_id=["a", "a"]), "row 1: problem_id 'a' is in row 0 already"),
    "ids twice as numbers": ("set.parquet", table(problem_id=[7, 7]), "row 1: problem_id '7' is in row 0 already"),
    "blank answer": ("set.parquet", table(answer=["1", ""]), "row 1: answer is empty; use null where there is none"),
    "answer as list": ("set.parquet", table(answer=[["1"], ["2"]]), ">, expected text or numbers. Write it as text"),
    "answer as bool": ("set.parquet", table(answer=[True, False]), "column answer is bool, expected text or numbers"),
    "bytes": ("set.parquet", table(image=[b"a", b"b"]), "column image: is binary, which results cannot hold"),
    "not UTF-8": ("set.parquet", table(question=pa.array([b"x", b"\xff"], pa.binary()).view(pa.string())), "row 1: column question: is not valid UTF-8"),
    "broken JSON": ("set.jsonl", text('{"question": "x"}\n{"question": \n'), "unreadable line 2"),
    "JSON list": ("set.jsonl", text("[1, 2]\n"), "expected a JSON object in every line, got list in line 1"),
    "CSV with two columns of one name": ("set.csv", text("question,question\nx,y\n"), "has columns of the same name"),
    "a conversation without a last question": ("set.parquet", lambda path: pq.write_table(pa.table({"messages": [[TURN], [TURN, {"role": "assistant", "content": "y"}]]}), path), "row 1: column messages: expected a conversation whose last turn is the user's"),
    "a conversation with another role": ("set.parquet", lambda path: pq.write_table(pa.table({"messages": [[{"role": "tool", "content": "x"}]]}), path), "row 0: column messages: turn 0 has the role 'tool'"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_set_gets_one_line_that_says_what_mends_it(tmp_path, name):
    file, write, message = BROKEN[name]
    if write is not None:
        write(tmp_path / file)
    result = call(
        "run", "problems=own", f"problems.path={tmp_path / file}", "sampler=simulated", f"run.root={tmp_path}/o"
    )
    lines = result.errors.strip().splitlines()
    assert result.code == 2 and len(lines) == 1, result.errors
    assert lines[0].startswith(f"error: problems {tmp_path / file}: ") and message in lines[0]
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("datasets:", "expected datasets:NAME"),
        ("datasets:a:b:c:d", "expected datasets:NAME"),
        ("datasets:no/such_set:test", "cannot be loaded"),
        ("hf://models/a/b", "expected hf://datasets/OWNER/NAME"),
    ],
)
def test_a_set_that_the_library_does_not_have_is_one_line(source, message):
    with pytest.raises(InputError, match=message):
        read_problems(source, None)
