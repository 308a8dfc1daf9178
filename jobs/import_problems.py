"""Turn CSV, JSON lines or Parquet of another shape into a problem set; knows GPQA's four-option CSV.

python -m jobs.import_problems source=set.csv target=set.parquet columns.question=problem columns.answer=solution
"""

from __future__ import annotations

import hydra
from omegaconf import DictConfig

from jobs import entry
from pruner.problems.importing import import_table, parse_import
from pruner.problems.problem_set import write_problems
from pruner.settings.section import target_path


@hydra.main(version_base="1.3", config_path="../conf", config_name="import_problems")
@entry.task
def main(cfg: DictConfig) -> int:
    config = parse_import(entry.plain(cfg))
    target = target_path(config.target)
    table = import_table(config)
    write_problems(table, target)
    print(f"{table.num_rows} problems in {config.target}")
    return 0


if __name__ == "__main__":
    entry.run(main)
