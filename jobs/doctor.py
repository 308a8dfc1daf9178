"""Whether this machine, model and configuration hold what the program promises: `python -m jobs.doctor [overrides of the main job]`.

    --json FILE     write the findings there too
    --no-engine     only what needs no engine

Prints one line per check, PASS, WARN or FAIL, with what to do. Exit code 1 if anything failed.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import hydra
from omegaconf import DictConfig

from jobs import entry
from pruner.config.job import parse
from pruner.doctor.examination import examined
from pruner.doctor.findings import line, to_json, total
from pruner.system.files import write_text


def options() -> argparse.Namespace:
    """Take the doctor's own options from the command line; the rest is Hydra's."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--json", type=Path, default=None)
    parser.add_argument("--no-engine", action="store_true")
    known, sys.argv[1:] = parser.parse_known_args()
    return known


OPTIONS = options() if __name__ == "__main__" else argparse.Namespace(json=None, no_engine=False)


@hydra.main(version_base="1.3", config_path="../conf", config_name="config")
@entry.task
def main(cfg: DictConfig) -> int:
    config = parse(entry.plain(cfg))
    findings = []
    for finding in examined(config, entry.task_overrides(), not OPTIONS.no_engine):
        print(line(finding), flush=True)
        findings.append(finding)
    print(total(findings))
    if OPTIONS.json is not None:
        write_text(OPTIONS.json, to_json(findings) + "\n")
    return int(any(each.level == "FAIL" for each in findings))


if __name__ == "__main__":
    entry.run(main)
