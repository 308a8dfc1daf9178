"""Queries that are shipped as files, with a description and their parameters' defaults in comments. Knows no database.

-- What it shows, in one or more lines.
-- param name = default: what it means
SELECT ...
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pruner.errors import InputError

_PARAM = re.compile(r"--\s*param\s+(\w+)\s*=\s*(.*?)(?::\s+(.*))?$")


@dataclass(frozen=True)
class Parameter:
    name: str
    default: Any
    meaning: str


@dataclass(frozen=True)
class NamedQuery:
    """One query. sql: with $name where a parameter's value is bound."""

    name: str
    description: str
    parameters: tuple[Parameter, ...]
    sql: str

    def values(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the value of every parameter.

        Raises:
            InputError: one is given that the query has not.
        """
        known = {each.name: each.default for each in self.parameters}
        if unknown := sorted(given.keys() - known.keys()):
            choices = ", ".join(sorted(known)) or "none"
            raise InputError(f"--param {unknown[0]}: query {self.name} has no such parameter, expected {choices}.")
        return known | dict(given)


def read_query(path: Path) -> NamedQuery:
    """Read a file with a query.

    Raises:
        InputError: it cannot be read.
    """
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"query {path}: cannot be read ({error}).") from None
    description: list[str] = []
    parameters: list[Parameter] = []
    for line in text.splitlines():
        if not line.startswith("--"):
            break
        if found := _PARAM.match(line):
            parameters.append(Parameter(found[1], literal(found[2].strip()), found[3] or ""))
        else:
            description.append(line.removeprefix("--").strip())
    return NamedQuery(path.stem, " ".join(description), tuple(parameters), text)


def read_queries(folder: Path) -> dict[str, NamedQuery]:
    """Return all queries of a folder by name."""
    return {path.stem: read_query(path) for path in sorted(folder.glob("*.sql"))}


def literal(text: str) -> Any:
    """Return a value as its JSON says (numbers, true, null), a quoted or any other text as text."""
    if len(text) > 1 and text[0] == text[-1] == "'":
        return text[1:-1]
    try:
        return json.loads(text)
    except ValueError:
        return text


def parse_parameters(given: Sequence[str]) -> dict[str, Any]:
    """Return name=value pairs of the command line as values.

    Raises:
        InputError: one has no name or no value.
    """
    values = {}
    for each in given:
        name, equals, value = each.partition("=")
        if not equals or not name.isidentifier():
            raise InputError(f"--param: got {each!r}, expected name=value.")
        values[name] = literal(value)
    return values


def listing(queries: Mapping[str, NamedQuery]) -> str:
    """Return the queries with their descriptions and parameters."""
    lines = []
    for query in queries.values():
        lines.append(f"{query.name}\n    {query.description}")
        lines += [
            f"    --param {p.name}={p.default if p.default is not None else 'null'}   {p.meaning}"
            for p in query.parameters
        ]
    return "\n".join(lines)
