"""A small sweep with the simulated sampler, for tests of what is made of results."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tests.job_processes import run

HOSTILE = "</script><script>document.title='run'</script>"
OVERRIDES = (
    "sampler=simulated",
    "sampler.accuracy=0.5",
    "sampler.num_answers=3",
    "budget=16",
    "accounting.price_per_million_tokens=2.5",
)


def problem_set(path: Path, count: int = 8) -> Path:
    """Write problems of which some have the answers that simulated traces give, with text that would break a page."""
    rows = [
        {
            "problem_id": f"p{i}",
            "question": f"What is {i} <b>times</b> zero | plus {i % 3}? {HOSTILE}",
            "answer": str(i % 3 if i % 4 else 0),
            "kind": HOSTILE if i % 2 else "sum",
        }
        for i in range(count)
    ]
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def make_sweep(root: Path) -> Path:
    """Run a baseline and two pruned runs; return the folder of the runs. Traces get hostile text."""
    path = problem_set(root.with_suffix(".parquet"))
    for name, *overrides in (
        ("cons", "method=cons"),
        ("deepprune", "method=deepprune"),
        ("deepprune,tau", "method=deepprune", "method.tau=0.8"),
    ):
        result = run("run", *OVERRIDES, f"problems.path={path}", f"run.root={root}", f"run.name='{name}'", *overrides)
        assert result.returncode == 0, result.stderr
        file = root / name / "traces/shard=0000.parquet"
        table = pq.read_table(file)
        texts = [text[:5] + HOSTILE + text[5:] for text in table.column("text").to_pylist()]
        chars = [[each[0] + len(HOSTILE), *each[1:]] for each in table.column("segment_chars").to_pylist()]
        table = table.set_column(table.column_names.index("text"), "text", pa.array(texts))
        lengths = pa.array(chars, pa.list_(pa.int32()))
        table = table.set_column(table.column_names.index("segment_chars"), "segment_chars", lengths)
        pq.write_table(table, file)
    return root
