"""Results for other programs: `python -m jobs.export outputs/<run> --to jsonl|replay --output PATH`.

jsonl: answers, traces, verdicts and probes as files of JSON lines in a folder; or, to a .jsonl file, a line for every trace with its
problem's question and gold. It also takes a folder of runs. replay: one Parquet of the run's finished traces, which `sampler=replay
sampler.source=PATH` reads.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from jobs.command import Arguments, ended, root_and_run
from pruner.errors import InputError
from pruner.results.export import export_jsonl, export_replay, export_trace_lines
from pruner.results.query import Results
from pruner.settings.section import local_path, target_path


def main(arguments: Sequence[str]) -> int:
    parser = Arguments(prog="python -m jobs.export", description="Write results for other programs.")
    parser.add_argument("path", type=Path, help="a run's folder, or a folder of runs")
    parser.add_argument("--to", choices=("jsonl", "replay"), required=True)
    parser.add_argument(
        "--output", type=Path, required=True, help="a folder, or with jsonl a .jsonl file; for replay a .parquet file"
    )
    options = parser.parse_args(arguments)
    return ended(lambda: print(_export(options.path, options.to, options.output)))


def _export(path: Path, kind: str, output: Path) -> str:
    """Return the line that says what was written."""
    root, only = root_and_run(path)
    is_file = kind == "replay" or (output.suffix == ".jsonl" and not output.is_dir())
    output = target_path(output) if is_file else local_path(output)
    if kind == "replay":
        if only is None:
            raise InputError(f"{path}: got a folder without run.json, expected one run to be replayed.")
        if output.suffix != ".parquet":
            raise InputError(f"--output: got {output}, expected a .parquet file for --to replay.")
    with Results(root, only) as results:
        if kind == "replay":
            counts = export_replay(results, root, only or path.name, output)
        else:
            runs = [row["run"] for row in results.rows("SELECT DISTINCT run FROM answers ORDER BY run")]
            counts = (export_trace_lines if is_file else export_jsonl)(results, runs, output)
    return f"{output}: " + ", ".join(f"{count:,} {name}" for name, count in counts.items())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
