"""Files are whole or not there, whoever writes them at the same time."""

import os
import threading

import pytest

from pruner.system import files
from pruner.system.files import create_text, make_folder, partial_name, remove_partials, write_atomically, write_text


def test_many_threads_and_processes_with_one_pid_write_one_file(tmp_path):
    path = tmp_path / "folder/file.json"
    failed: list[Exception] = []

    def write(text):
        try:
            for _ in range(150):
                write_text(path, text)
                assert path.read_text() in ("a" * 1000, "b" * 1000)
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=write, args=(letter * 1000,)) for letter in "abab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert [each.name for each in path.parent.iterdir()] == ["file.json"]


def test_a_file_and_its_folder_are_synced_before_and_after_the_rename(tmp_path, monkeypatch):
    done = []
    path = tmp_path / "new/file"
    monkeypatch.setattr(files, "sync", lambda each: done.append(("file", each.exists(), path.exists())))
    monkeypatch.setattr(files, "sync_folder", lambda folder: done.append((folder.name, path.exists())))
    write_text(path, "text")
    assert done == [(tmp_path.name, False), ("file", True, False), ("new", True)]


def test_a_write_that_fails_or_is_not_allowed_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / "file"
    write_text(path, "before")

    def fail(*_):
        raise OSError("full")

    def half(partial):
        partial.write_text("ha")
        fail()

    with pytest.raises(OSError, match="full"):
        write_atomically(path, half)
    with pytest.raises(OSError, match="full"):
        write_text(path, "after", guard=fail)
    assert path.read_text() == "before" and os.listdir(tmp_path) == ["file"]


def test_of_many_that_create_a_file_one_does(tmp_path):
    path = tmp_path / "file"
    won = []

    def create(number):
        try:
            create_text(path, str(number))
            won.append(number)
        except FileExistsError:
            pass

    threads = [threading.Thread(target=create, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_text() == str(won[0]) and len(won) == 1 and os.listdir(tmp_path) == ["file"]


def test_what_killed_writers_left_is_found_by_no_pattern_and_removed_with_its_log(tmp_path):
    path = tmp_path / "shard=0000.parquet"
    left = [partial_name(path), partial_name(path)]
    left.append(left[0].with_name(left[0].name + ".wal"))
    other = partial_name(tmp_path / "shard=0001.parquet")
    for each in (*left, other, path):
        each.touch()
    assert list(tmp_path.glob("*.parquet")) == [path]
    remove_partials(path)
    assert sorted(tmp_path.iterdir()) == sorted([other, path])


def test_the_longest_names_can_be_written(tmp_path):
    write_text(tmp_path / ("é" * 127), "text")
    assert len(list(tmp_path.iterdir())) == 1


def test_folders_above_are_made(tmp_path):
    make_folder(tmp_path / "a/b/c")
    make_folder(tmp_path / "a/b/c")
    assert (tmp_path / "a/b/c").is_dir()
