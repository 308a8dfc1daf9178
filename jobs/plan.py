"""What a run will take: python -m jobs.plan curve=[[1,60],[64,2500]] lengths=outputs/<run> num_problems=1000000 budget=512
By speculate.ahead:      python -m jobs.plan curve=[[1,60],[64,2500]] recording=traces.parquet "ahead=[0,7]" overrides=[method=worth]

The speed of an engine is stated, trace lengths are recorded ones or stated. What the method saves is measured on recorded traces: on the
shipped recording, its traces as long as they are stated to be, or on a recording that is given, whose traces are then replayed on a clock
that follows the stated speed. Prints a table and ends with one line of JSON.
"""

from __future__ import annotations

import json
from typing import Any

import hydra
from omegaconf import DictConfig

from jobs import entry
from jobs.compose import main_config
from pruner.results.formats import markdown_table
from pruner.settings.section import parse_as
from pruner.simulation.plans import PlanConfig, plan_recorded, plan_run


@hydra.main(version_base="1.3", config_path="../conf", config_name="plan")
@entry.task
def main(cfg: DictConfig) -> int:
    config = parse_as(PlanConfig, entry.plain(cfg))
    if config.recording is not None:
        result = plan_recorded(config, main_config)
        print(recorded_table(result))
    else:
        result = plan_run(config, main_config)
        print(table(result))
    print(json.dumps(result))
    return 0


def table(result: dict[str, Any]) -> str:
    """Return the plan in words, one line per number."""
    units = {
        "wall_s": ("wall time of a task", f"{result['wall_s'] / 3600:,.2f} h"),
        "tasks": ("array tasks", _tasks(result)),
        "task_hours": ("all tasks", f"{result['task_hours']:,.1f} h"),
        "gpu_hours": (
            "GPU-hours",
            f"{result['gpu_hours']:,.1f}"
            if "servers" not in result
            else f"those of {result['servers']} servers, which all tasks share",
        ),
        "checkpoint_bytes": ("checkpoints", _size(result["checkpoint_bytes"])),
        "checkpoint_bytes_per_task": ("a task's checkpoint", _size(result["checkpoint_bytes_per_task"])),
        "tokens_sampled": ("tokens sampled", f"{result['tokens_sampled']:,.0f}"),
        "judge_tokens": ("the judge's, weighted", f"{result['judge_tokens']:,.0f}"),
        "kept_share": ("of unpruned", f"{100 * result['kept_share']:.1f}%"),
    }
    head = (
        f"{result['problems']:,} problems x {result['budget']:,} traces of {result['mean_trace_tokens']:,.0f} tokens, "
        f"method={result['method']}, model={result['model']}"
    )
    cap = result["raised_cap"]
    raised = [f"  {'longer than the cap':<22} planned with {' '.join(cap)}, which the line below sets"] if cap else []
    lines = [head, *(f"  {name:<22} {value}" for name, value in units.values()), *raised]
    return "\n".join([*lines, "", result["sbatch"], ""])


def _tasks(result: dict[str, Any]) -> str:
    said = f"{result['tasks']:,}"
    if result["tasks"] > result["max_array_size"]:
        said += f"   more than an array may have here ({result['max_array_size']:,}): submit parts of it"
    elif result["tasks"] == result["max_array_size"] and result["requeues"]:
        said += "   as many as an array may have"
    if result["requeues"]:
        times = "once" if result["requeues"] == 1 else f"{result['requeues']} times"
        said += f"   each goes back into the queue {times}, at its time limit"
    return said


def recorded_table(result: dict[str, Any]) -> str:
    """Return what a recording takes by `speculate.ahead`, one line per number; tokens are per problem."""
    head = (
        f"{result['problems']:,} recorded problems, N = {result['budget']:,}, method={result['method']}, "
        f"{result['max_running']:,} traces at once, mean over {result['orders']:,} order{'' if result['orders'] == 1 else 's'} of the traces"
    )
    names = ("speculate.ahead", "wall time, h", "tokens per problem", "speculative", "judge", "net", "accuracy")
    rows = [
        [
            str(each["ahead"]),
            f"{each['wall_hours']:,.3g}",
            *(f"{each[name]:,.0f}" for name in ("tokens", "tokens_speculative", "tokens_judge", "tokens_net")),
            "" if each["accuracy"] is None else f"{each['accuracy']:.1%}",
        ]
        for each in result["by_ahead"]
    ]
    return "\n".join([head, "", *markdown_table(names, rows), ""])


def _size(num_bytes: float) -> str:
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if num_bytes < 1000 or unit == "TB":
            return f"{num_bytes:,.1f} {unit}"
        num_bytes /= 1000
    raise AssertionError


if __name__ == "__main__":
    entry.run(main)
