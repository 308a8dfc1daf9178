"""Columns and the schema version move together: whoever changes one is reminded of the other."""

from hashlib import blake2b

import pyarrow as pa
import pytest

from pruner import SCHEMA_VERSION, schemas
from pruner.checkpoint.database import create, open_database

# The columns of every version since the guard was written. Never change an entry: add one, with the next SCHEMA_VERSION.
RECORDED = {4: "5b6126faee88550c89be9edc3d626208"}
ADVICE = (
    "The columns of a checkpoint's tables or of a view are not those of schema version {version}. Raise SCHEMA_VERSION in "
    "pruner/__init__.py, say in pruner/checkpoint/database.py what becomes of older checkpoints, and add the new version here:\n"
    "    {after}: {found!r}"
)


def tables(path):
    """Return (table, column, type) of everything that a new checkpoint holds."""
    create(path, {})
    with open_database(path) as connection:
        sql = "SELECT table_name, column_name, data_type FROM duckdb_columns() WHERE NOT internal ORDER BY table_name, column_index"
        return connection.execute(sql).fetchall()


def views():
    return [(name, field.name, str(field.type)) for name, view in sorted(schemas.VIEWS.items()) for field in view]


def fingerprint(path):
    return blake2b(repr((tables(path), views())).encode(), digest_size=16).hexdigest()


def test_the_columns_are_those_of_the_schema_version(tmp_path):
    found = fingerprint(tmp_path / "checkpoint.duckdb")
    assert RECORDED.get(SCHEMA_VERSION) == found, ADVICE.format(
        version=SCHEMA_VERSION, after=SCHEMA_VERSION + 1, found=found
    )


def test_every_version_has_columns_of_its_own():
    assert len(set(RECORDED.values())) == len(RECORDED) and max(RECORDED) == SCHEMA_VERSION


@pytest.mark.parametrize("holder", [schemas.TABLES, schemas.VIEWS])
def test_an_added_or_changed_column_is_noticed(tmp_path, monkeypatch, holder):
    before = fingerprint(tmp_path / "before.duckdb")
    answers = holder["answers"]
    monkeypatch.setitem(holder, "answers", answers.append(pa.field("trial", pa.int32())))
    assert fingerprint(tmp_path / "added.duckdb") != before
    changed = answers.set(0, answers.field(0).with_type(pa.large_string() if holder is schemas.VIEWS else pa.int64()))
    monkeypatch.setitem(holder, "answers", changed)
    assert fingerprint(tmp_path / "changed.duckdb") != before
