"""Columns and the schema version move together: whoever changes one is reminded of the other."""

from hashlib import blake2b

import pyarrow as pa
import pytest

from pruner import SCHEMA_VERSION
from pruner.checkpoint.database import create, open_database
from pruner.records import schemas
from pruner.records.rows import AnswerRow, TraceRow

# The columns of every version since the guard was written. Never change an entry: add one, with the next SCHEMA_VERSION.
RECORDED = {
    4: "7c456d57666c6dd2d6b41f8037217d84",
    5: "3d97d3a65bbc1c2df0326ff4b5dbd70a",
    6: "e67cdbe4bce15c573343870725ba5d88",
    7: "61bb90e78cf7dc581905d5047e43ee0c",
    8: "49280cf3c6cddc476f73ee3ecd5dd729",
}
ADVICE = (
    "The columns of a checkpoint's tables or of a run's tables changed. They are version {version}'s only if it is new: then add\n"
    "    {version}: {found!r}\nto RECORDED here. If {version} is there already, first raise SCHEMA_VERSION in pruner/__init__.py and add the "
    "version before to UPGRADED in pruner/checkpoint/database.py, if its checkpoints can be continued."
)


def tables(path):
    """Return (table, column, type) of everything that a new checkpoint holds."""
    create(path, {})
    with open_database(path) as connection:
        sql = "SELECT table_name, column_name, data_type FROM duckdb_columns() WHERE NOT internal ORDER BY table_name, column_index"
        return connection.execute(sql).fetchall()


def views():
    """Return (view, column, type) of the views over files; the others are computed from these at each query."""
    read = sorted((name, schemas.VIEWS[name]) for name in schemas.READ_VIEWS)
    return [(name, field.name, str(field.type)) for name, view in read for field in view]


def test_a_row_has_a_field_for_every_column_of_its_table():
    computed = {"tokens_net"}
    for schema, row in ((schemas.ANSWERS, AnswerRow), (schemas.TRACES, TraceRow)):
        names = set(row.__dataclass_fields__)
        assert set(schema.names) - names <= computed, f"{row.__name__} in pruner/records/rows.py lacks a field"


def fingerprint(path):
    return blake2b(repr((tables(path), views())).encode(), digest_size=16).hexdigest()


def test_the_columns_are_those_of_the_schema_version(tmp_path):
    found = fingerprint(tmp_path / "checkpoint.duckdb")
    assert RECORDED.get(SCHEMA_VERSION) == found, ADVICE.format(version=SCHEMA_VERSION, found=found)


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
