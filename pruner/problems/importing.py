"""Turn problem sets of other shapes into ours, as a file. Writes nothing itself."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

import pyarrow as pa

from pruner.errors import InputError
from pruner.problems.columns import limited
from pruner.problems.problem_set import REQUIRED, check_rows
from pruner.problems.shapes import Shape, shaped
from pruner.problems.sources import read_any, source_stem
from pruner.settings.section import FilePath, Section, Seed, parse_as


class ColumnsConfig(Section):
    """The source's columns; null ids are made from file name and row, a null answer column means no gold answers."""

    problem_id: str | None
    question: str
    answer: str | None


class ImportConfig(Section):
    source: FilePath
    target: FilePath
    format: Literal["columns", "gpqa"]
    columns: ColumnsConfig
    answer_pattern: str | None
    seed: Seed
    keep: bool


def parse_import(values: Mapping[str, Any]) -> ImportConfig:
    """Return the typed config. Raises InputError with one line per fault."""
    config = parse_as(ImportConfig, values)
    try:
        groups = 1 if config.answer_pattern is None else re.compile(config.answer_pattern).groups
    except re.error as error:
        raise InputError(f"answer_pattern: {config.answer_pattern!r} is no regular expression ({error}).") from None
    if groups != 1:
        raise InputError(f"answer_pattern: got {config.answer_pattern!r}, expected exactly one group.")
    return config


def import_table(config: ImportConfig) -> pa.Table:
    """Read the source and return it in our shape.

    Raises:
        InputError: with all faults, each with its row.
    """
    source = read_any(config.source, f"source {config.source}")
    if source.num_rows == 0:
        raise InputError(f"{config.source}: has no rows.")
    names = config.columns
    shape = Shape(
        names.problem_id, names.question, names.answer, config.answer_pattern, config.format, config.seed, config.keep
    )
    table = shaped(source, shape, config.source, source_stem(config.source))
    columns = (table.column(name).to_pylist() for name in REQUIRED)
    if faults := check_rows(*columns):
        raise InputError([f"{config.source}: {fault}" for fault in limited(faults)])
    return table
