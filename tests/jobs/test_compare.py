"""jobs.compare on recorded traces: points in processes, a file for each, stops and faults."""

import json
import os
import random
import signal
import subprocess
import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.compare import expanded
from pruner.comparison.points import ANSWER_COLUMNS
from pruner.errors import InputError
from tests.job_processes import run, start_program
from tests.jobs.test_replay import main_job, rows
from tests.jobs.test_run import SIMULATED

DEEPPRUNE = "method=deepprune judge=probe prefix.max_tokens=16"


@pytest.fixture(scope="module")
def traces(tmp_path_factory):
    """12 problems of 8 traces, with probes, all finished."""
    path, rng = tmp_path_factory.mktemp("recorded") / "traces.parquet", random.Random(1)
    found = []
    for problem in range(12):
        for index in range(8):
            tokens = rng.randint(20, 70)
            given = [rng.choice(["1", "2", "3"][: 1 + problem % 3]) for _ in range(-(-tokens // 16))]
            found.append((f"p{problem}", "1", index, tokens, given[-1], 16, given))
    names = ("problem_id", "gold_answer", "trace_index", "num_tokens", "answer", "probe_every", "probes")
    pq.write_table(pa.table(dict(zip(names, map(list, zip(*found, strict=True)), strict=True))), path)
    return path


def arguments(traces, target, points, *more):
    return (
        f"sources=[{traces}]",
        f"target={target}",
        "budget=6",
        "bootstrap=50",
        f"points={json.dumps(points)}",
        *more,
    )


def compare(*given):
    return run("compare", *arguments(*given))


def files(target):
    return {path.name.rpartition("-")[0]: path for path in sorted(target.glob("points/traces/*.parquet"))}


def test_a_point_has_the_rows_of_a_run(traces, tmp_path):
    weights = ("accounting.judge_prompt_weight=0.3", "accounting.judge_output_weight=2")
    result = compare(traces, tmp_path, [DEEPPRUNE], "resample=3", f"common={json.dumps(weights)}")
    assert result.returncode == 0, result.stderr
    replay = ("sampler=replay", "budget=6", f"sampler.source={traces}", "sampler.resample=3", *weights)
    columns = (*ANSWER_COLUMNS, "source_problem_id", "repetition", "tokens_net")
    for name, method in (("cons", ("method=cons",)), ("deepprune", DEEPPRUNE.split())):
        main_job(tmp_path, name, *replay, *method)
        [file] = [path for key, path in files(tmp_path).items() if f"method={name}" in key]
        assert pq.read_table(file, columns=list(columns)).to_pylist() == rows(tmp_path / name, columns=columns)


def test_what_is_done_is_kept_and_what_it_depends_on_is_done_again(traces, tmp_path):
    points = ["method=worth", "method=esc method.window=2"]
    assert compare(traces, tmp_path, points, "resample=2").returncode == 0
    before = {name: path.stat().st_mtime_ns for name, path in files(tmp_path).items()}
    assert len(before) == 3
    files(tmp_path)["method.window=2,method=esc"].write_bytes(b"no Parquet")
    result = compare(traces, tmp_path, [*points, "method=worth method.price=0.01"], "resample=2")
    assert result.returncode == 0 and "points 4/4" in result.stderr, result.stderr
    after = {name: path.stat().st_mtime_ns for name, path in files(tmp_path).items()}
    assert {name for name in before if after[name] == before[name]} == {"method=cons", "method=worth"}
    assert compare(traces, tmp_path, points, "resample=3").returncode == 0
    assert all(pq.read_metadata(path).num_rows == 36 for name, path in files(tmp_path).items() if "price" not in name)


@pytest.mark.parametrize(
    ("point", "message"),
    [
        ("method=cons budget=0", "method=cons budget=0: budget: got 0"),
        ("method=cons budget=9", "method=cons budget=9: budget: got 9, but problem"),
        ("method=deepconf_online", "method=deepconf_online: sampler.source: 96 of 96 traces have no confidences"),
        ("method=deepprune judge=llm judge.colocate=false", "judge: got llm"),
        (
            "method=cons sampler=vllm",
            "method=cons sampler=vllm: it needs an engine. Run it as a job of its own, then compare runs=[...]",
        ),
        ("method=worth method.prize=1", "method=worth method.prize=1: config: Could not override"),
        ("method=deepprune judge=trained judge.path=nowhere", "judge.path=nowhere: "),
    ],
)
def test_a_point_that_cannot_work_is_refused_before_anything_is_consulted(traces, tmp_path, point, message):
    result = compare(traces, tmp_path, [point], "resample=2")
    assert result.returncode == 2 and message in result.stderr, result.stderr
    assert "Traceback" not in result.stderr and not files(tmp_path)


def test_what_was_not_recorded_is_said_with_the_point_that_asks_for_it(traces, tmp_path):
    main_job(tmp_path, "plain", *SIMULATED, "method=cons")
    result = run("compare", f"sources=[{tmp_path}/plain]", f"target={tmp_path}", "budget=6", f'points=["{DEEPPRUNE}"]')
    assert result.returncode == 2 and f"{DEEPPRUNE}: sampler.source: trace" in result.stderr, result.stderr
    assert "Traceback" not in result.stderr


def test_with_an_engines_speed_there_are_hours_with_and_without_speculation(traces, tmp_path):
    speed = ("curve=[[1,10],[64,640]]", "max_running=64", "ahead=[0,2]", "clocked_orders=2", "resample=2")
    result = compare(traces, tmp_path, ["method=worth"], *speed)
    assert result.returncode == 0, result.stderr
    page = (tmp_path / "compare.md").read_text().partition("## Hours")[2]
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines() if line.startswith("| ")][
        2:
    ]
    [cons, slow, fast] = lines
    assert (cons[0], slow[0], slow[2], fast[2]) == ("cons", "worth", "0", "2")
    assert float(fast[4]) < float(slow[4]) and slow[3] == fast[3] and slow[6] == "0.0" and float(fast[6]) > 0
    assert (tmp_path / "hours.png").stat().st_size and (tmp_path / "hours.svg").stat().st_size
    again = compare(traces, tmp_path, ["method=worth"], *speed)
    assert (
        "points clocked 2/2" in again.stderr and (tmp_path / "compare.md").read_text().partition("## Hours")[2] == page
    )


@pytest.mark.parametrize("curve", ["[[4,2],[2,4]]", "[[1,0]]"])
def test_a_curve_that_is_none_is_refused(traces, tmp_path, curve):
    result = compare(traces, tmp_path, [], f"curve={curve}")
    assert result.returncode == 2 and "curve" in result.stderr and "Traceback" not in result.stderr, result.stderr


def test_a_point_with_a_question_mark_is_left_out_where_it_cannot_work(traces, tmp_path):
    points = ["method=worth", "?method=deepconf_online", "?method=parallel_probe method.every_tokens=16"]
    result = compare(traces, tmp_path, points, "resample=2")
    assert result.returncode == 0, result.stderr
    assert "left out, since the recording has no confidences of tokens: method=deepconf_online" in result.stderr
    assert "points 3/3" in result.stderr and "| parallel_probe |" in (tmp_path / "compare.md").read_text()


def test_without_a_budget_it_is_what_every_problem_has(traces, tmp_path):
    result = run("compare", f"sources=[{traces}]", f"target={tmp_path}", "points=[]", "resample=2", "bootstrap=50")
    assert result.returncode == 0, result.stderr
    assert {row["budget"] for path in files(tmp_path).values() for row in pq.read_table(path).to_pylist()} == {8}


def test_without_arguments_it_compares_on_the_shipped_recording(tmp_path):
    result = run("compare", f"target={tmp_path}", "resample=1", "bootstrap=50")
    assert result.returncode == 0 and "# 96 problems, 1 order of" in result.stdout, result.stderr
    assert "left out, since the recording has no probes" in result.stderr and "method=mars" in result.stderr
    methods = {row["method"] for row in pq.read_table(tmp_path / "compare.parquet").to_pylist()}
    assert {"cons", "worth", "deepconf_online", "certified", "deepprune"} <= methods


def wait_until(holds, what):
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline, f"not within a minute: {what}"
        time.sleep(0.02)


def started(traces, target):
    """Start a comparison that takes some time, and wait until a point is done."""
    given = arguments(traces, target, [f"{DEEPPRUNE} method.k1={k1}" for k1 in range(1, 5)], "resample=60")
    process = start_program("compare", *given, start_new_session=True, stderr=subprocess.PIPE)
    wait_until(lambda: files(target) or process.poll() is not None, "a point is done")
    assert process.poll() is None
    return process, given


def members(session):
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/stat") as file:
                fields = file.read().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] not in "ZX":
            found.append(int(pid))
    return found


def test_nothing_outlives_a_comparison_that_is_killed(traces, tmp_path):
    process, _ = started(traces, tmp_path)
    assert len(members(process.pid)) > 1
    process.kill()
    process.wait()
    wait_until(lambda: not members(process.pid), "its processes are gone")


def test_a_process_that_dies_ends_the_comparison_with_a_line(traces, tmp_path):
    process, given = started(traces, tmp_path)
    [child, *_] = [pid for pid in members(process.pid) if pid != process.pid]
    os.kill(child, signal.SIGKILL)
    errors = process.communicate(timeout=60)[1]
    assert process.returncode == 1 and "error: a process of the comparison died" in errors, errors
    done = {name: path.stat().st_mtime_ns for name, path in files(tmp_path).items()}
    wait_until(lambda: not members(process.pid), "its processes are gone")
    time.sleep(0.01)
    assert run("compare", *given).returncode == 0
    assert {name: files(tmp_path)[name].stat().st_mtime_ns for name in done} == done


def test_a_page_says_what_methods_gain_over_plain_voting(traces, tmp_path):
    result = compare(traces, tmp_path, ["method=worth", "method=esc method.window=2"], "resample=2")
    assert result.returncode == 0, result.stderr
    page = (tmp_path / "report.html").read_text()
    for part in ("All traces, plain vote", "Above plain voting at equal tokens", "method.window=2", "Pareto front"):
        assert part in page
    assert 'src="http' not in page and "<svg" in page
    again = run("report", str(tmp_path))
    assert "report.html" in again.stdout + again.stderr


def test_a_point_may_have_lists_of_values_as_a_sweep_has():
    assert expanded("method=cons budget=4,8") == ["method=cons budget=4", "method=cons budget=8"]
    assert expanded("?method=mars method.warmup=3,4 seed=1,2") == [
        *("?method=mars method.warmup=3 seed=1", "?method=mars method.warmup=3 seed=2"),
        *("?method=mars method.warmup=4 seed=1", "?method=mars method.warmup=4 seed=2"),
    ]
    assert expanded("method=worth") == ["method=worth"]
    with pytest.raises(InputError, match="budget"):
        expanded("method=cons budget=[4")
