"""Which config a run's folder belongs to: run.json, made by the first that starts there and compared by everyone else.

It is created once, exclusively and whole, and its identity never changes: whoever read it once may rely on it. To begin a run of that name with
another config, its folder is removed by hand.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pruner import SCHEMA_VERSION
from pruner.checkpoint.database import SHARD_COUNT, differing_from, recorded_identity
from pruner.checkpoint.lease import Lease
from pruner.errors import CheckpointError, InputError
from pruner.results.run_folder import SHARD_TABLES, RunFolder
from pruner.results.writer import write_views
from pruner.settings.dotted import differing_keys
from pruner.system.files import create_text, write_text


@dataclass(frozen=True)
class RunRecord:
    """The contents of run.json.

    Attributes:
        identity: everything that its results are a function of (config.identity).
        config: the whole config, as plain values.
        num_problems: of the whole problem set.
        hydra: files of .hydra/, name -> text.
        served: the engines' properties, where they are there already.
    """

    identity: Mapping[str, str]
    shard_count: int
    config: Mapping[str, Any]
    hydra: Mapping[str, str]
    num_problems: int | None = None
    served: Mapping[str, Any] | None = None

    @property
    def whole_identity(self) -> dict[str, str]:
        """The identity, and how the problems are cut into shards."""
        return {**self.identity, SHARD_COUNT: str(self.shard_count)}


def claim(
    folder: RunFolder,
    record: RunRecord,
    lease: Lease,
    wait_s: float,
    should_stop: Callable[[], bool] = lambda: False,
) -> None:
    """Take a shard's lease in a run's folder that belongs to this config, or belongs to it from now on.

    Args:
        lease: of the shard; it is held afterwards, and not if anything is raised.
        wait_s: for another process that works on the shard.

    Raises:
        InputError: the folder belongs to another config, with the keys that differ; or another process works on the shard, or
            `should_stop` became true; or a link leads out of the folder.
    """
    check_links(folder)
    _begin(folder, record)
    lease.take(wait_s, should_stop)
    try:
        _update(folder, record)
    except BaseException:
        lease.release()
        raise


def check_links(folder: RunFolder) -> None:
    """Refuse a run's folder in which a folder is a link that leads elsewhere: results would be written there.

    Raises:
        InputError: names the link.
    """
    names = (*SHARD_TABLES, "checkpoint", "progress", "lease", ".hydra")
    for path in (folder.path / name for name in names):
        if path.is_symlink() and not path.resolve().is_relative_to(folder.path.resolve()):
            raise InputError(
                f"{path}: got a link to {path.resolve()}, expected a folder of the run's own. Remove the link; to keep runs elsewhere, set "
                "run.root, and for checkpoints checkpoint.dir."
            )


def recorded_servers(folder: RunFolder) -> Mapping[str, Any]:
    """Return the server facts in run.json, with which the run was begun. Raises InputError: it cannot be read."""
    was = _read(folder)
    return {} if was is None or not isinstance(was.get("served"), dict) else was["served"]


def _begin(folder: RunFolder, record: RunRecord) -> None:
    """Create run.json if there is none, and compare it with this config.

    Raises:
        InputError: they differ, or it cannot be read.
    """
    if not folder.run_json.exists():
        _check_checkpoints(folder, record)
        with contextlib.suppress(FileExistsError):  # another process was faster; its file is compared below
            create_text(folder.run_json, _text(folder, record))
    was = _read(folder)
    if was is None:
        raise CheckpointError(
            f"{folder.run_json}: it was written and is gone. Does somebody else remove the run's folder?"
        )
    if differing := differing_keys(was["identity"] | {SHARD_COUNT: str(was["shard_count"])}, record.whole_identity):
        raise InputError(
            f"run {folder.path}: belongs to another config ({'; '.join(differing)}). "
            "Undo the change, choose another run.name, or remove that folder if you need nothing in it."
        )


def _update(folder: RunFolder, record: RunRecord) -> None:
    """Write what may be newer than run.json: prices and weights of now, and views; and .hydra/ if no process has."""
    was = _read(folder)
    if was is not None and was["config"].get("accounting") != record.config["accounting"]:
        was["config"]["accounting"] = dict(record.config["accounting"])
        write_text(folder.run_json, json.dumps(was, indent=1) + "\n")
    for name, text in record.hydra.items():
        if not (folder.path / ".hydra" / name).exists():
            write_text(folder.path / ".hydra" / name, text)
    write_views(folder.root)


def _read(folder: RunFolder) -> dict[str, Any] | None:
    try:
        values = dict(json.loads(folder.run_json.read_text()))
        if not isinstance(values["identity"], dict) or not isinstance(values["config"], dict):
            raise TypeError(
                f"identity and config: got {values['identity']!r:.60} and {values['config']!r:.60}, expected objects"
            )
        values["identity"] = {key: str(value) for key, value in values["identity"].items()}
        int(values["shard_count"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(
            f"{folder.run_json}: unreadable ({type(error).__name__}: {error}). Restore it, or choose another run.name."
        ) from None
    return values


def _check_checkpoints(folder: RunFolder, record: RunRecord) -> None:
    """Refuse a folder whose run.json is gone if its checkpoints are of another config."""
    for path in sorted(folder.checkpoint.parent.glob("shard=*.duckdb")):
        try:
            found = recorded_identity(path)
        except (InputError, CheckpointError):
            continue  # whoever works on that shard reports it
        if differing := differing_from(found, record.whole_identity):
            raise InputError(
                f"checkpoint {path}: belongs to another config ({'; '.join(differing)}). "
                "Undo the change, or choose another run.name."
            )


def _text(folder: RunFolder, record: RunRecord) -> str:
    config = record.config
    values = {
        "schema_version": SCHEMA_VERSION,
        "run": folder.name,
        "method": config["method"]["name"],
        "model": config["model"]["name"],
        "budget": config["budget"],
        "seed": config["seed"],
        "shard_count": record.shard_count,
        "problems": record.num_problems,
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "identity": dict(record.identity),
        "config": config,
    } | ({"served": dict(record.served)} if record.served is not None else {})
    return json.dumps(values, indent=1) + "\n"
