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
from pruner.problems.problem_set import ProblemColumns, read_problems
from pruner.prompts import ChatPrompts
from pruner.settings.model import PromptConfig
from tests.job_processes import run

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
    result = run(
        "run",
        f"problems={preset}",
        f"problems.path={tmp_path}/set.parquet",
        "sampler=simulated",
        "budget=2",
        f"run.root={tmp_path}/o",
        "run.name=run",
    )
    assert result.returncode == 0, result.stderr
    [row] = pq.read_table(tmp_path / "o/run/answers/shard=0000.parquet").to_pylist()
    wanted = (rows["problem_id"][0], *expected[1:]) if "problem_id" in rows else expected
    assert (row["problem_id"], row["question"], row["gold"]) == wanted


def test_gpqas_own_file_is_laid_out_as_the_importer_does(tmp_path):
    options = {f"Incorrect Answer {i}": [f"wrong {i}"] for i in (1, 2, 3)}
    pq.write_table(pa.table({"Question": ["q"], "Correct Answer": ["right"], **options}), tmp_path / "gpqa.parquet")
    [problem] = read_problems(str(tmp_path / "gpqa.parquet"), None, ProblemColumns(format="gpqa")).problems
    assert f"{problem.answer}) right" in problem.question


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
    prompts.encode_question(first.question, first.messages)
    assert [turn["content"] for turn in tokenizer.messages] == ["Own", "Hi", "Hello", "1+1?\nBox it."]
    prompts.encode_question(second.question, second.messages)
    assert [turn["content"] for turn in tokenizer.messages] == ["S", "2+2?\nBox it."]


def table(**columns):
    return lambda path: pq.write_table(
        pa.table({"problem_id": ["a", "b"], "question": ["x", "y"], "answer": ["1", "2"]} | columns), path
    )


def text(content):
    return lambda path: path.write_text(content)


TURN = {"role": "user", "content": "x"}
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
    result = run(
        "run", "problems=own", f"problems.path={tmp_path / file}", "sampler=simulated", f"run.root={tmp_path}/o"
    )
    lines_said = result.stderr.strip().splitlines()
    assert result.returncode == 2 and len(lines_said) == 1, result.stderr
    assert lines_said[0].startswith(f"error: problems {tmp_path / file}: ") and message in lines_said[0], lines_said
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
