"""A run, one of its problems or a trace, to read in a terminal: `python -m jobs.show outputs/<run> [PROBLEM [TRACE]]`.

Works while the run goes on; it shows what is finished.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jobs.command import Arguments, ended, root_and_run
from pruner.errors import InputError
from pruner.problems.shapes import turns_of
from pruner.prompts import ChatPrompts, load_tokenizer
from pruner.records.traces import Problem
from pruner.results.query import Results
from pruner.results.show import find_problem, problem_text, problems_text, trace_text
from pruner.settings.model import ModelConfig
from pruner.settings.section import parse_as
from pruner.system.lines import print_warnings


def main(arguments: Sequence[str]) -> int:
    options = _parser().parse_args(arguments)
    return ended(lambda: print(_shown(options), end=""))


def _parser() -> argparse.ArgumentParser:
    parser = Arguments(prog="python -m jobs.show", description="Show a run's problems, one of them, or a trace of it.")
    parser.add_argument("run", type=Path, help="the run's folder")
    parser.add_argument("problem", nargs="?", help="its id or index; without one, all finished problems are listed")
    parser.add_argument("trace", nargs="?", type=int, help="index of one of its traces, to read its text")
    parser.add_argument("--no-prompt", action="store_true", help="do not load the model's tokenizer for the prompt")
    return parser


def _shown(options: argparse.Namespace) -> str:
    root, run = root_and_run(options.run)
    if run is None:
        raise InputError(f"{options.run}: is no run's folder. Name one, such as outputs/default.")
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    with Results(root, run) as results:
        if options.problem is None:
            return problems_text(results, width)
        row = find_problem(results, options.problem)
        if options.trace is not None:
            return trace_text(results, row, options.trace, width)
        prompt = None if options.no_prompt else _prompt(root / run, row)
        return problem_text(results, row, prompt, width)


def _prompt(folder: Path, row: Mapping[str, Any]) -> str | None:
    """Return a problem's prompt as the model saw it, None where no tokenizer made it or that cannot be loaded."""
    try:
        config = json.loads((folder / "run.json").read_text())["config"]
        if config["sampler"]["name"] != "vllm" or not row.get("question"):
            return None
        model = parse_as(ModelConfig, config["model"])
        tokenizer = load_tokenizer(model.path, model.revision, model.trust_remote_code)
        problem = Problem(str(row["problem_id"]), 0, str(row["question"]), None, turns_of(row.get("messages")))
        return ChatPrompts(tokenizer, model.prompt).rendered(problem)
    except (InputError, OSError, ValueError, KeyError, TypeError) as error:
        print_warnings([f"no prompt is shown: {error}"])
        return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
