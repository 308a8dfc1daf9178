"""Which config a run's folder belongs to: run.json, made by the first that starts and compared by everyone else.

Every process takes its shard's lease and compares run.json while it holds the run's lock. So whoever holds that lock knows:
each lease that another process holds is that of one whose config is run.json's, and run.json does not change meanwhile.
A run in which nothing was sampled and nobody works belongs to nobody: another config may replace its run.json.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pruner import SCHEMA_VERSION
from pruner.checkpoint.database import SHARD_COUNT, differing_from, recorded, remove
from pruner.checkpoint.lease import Holder, Lease, live_holder
from pruner.errors import CheckpointError, InputError
from pruner.results.run_folder import SHARD_TABLES, RunFolder
from pruner.results.writer import write_views
from pruner.settings.dotted import differing_keys
from pruner.system.files import create_text, remove_partials, write_text

_POLL_S = 0.5
# Nobody holds the run's lock for longer than it takes to read some files.
_LOCK_WAIT_S, _LOCK_SAY_S = 600.0, 10.0


@dataclass(frozen=True)
class RunRecord:
    """The contents of run.json.

    Attributes:
        identity: everything that its results are a function of (config.identity).
        config: the whole config, as plain values.
        num_problems: of the whole problem set.
        hydra: files of .hydra/, name -> text.
        served: what the servers were found to be; None: the sampler works on none.
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
    holder: Holder,
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
            `should_stop` became true.
    """
    deadline = time.monotonic() + wait_s
    while True:
        lock = Lease(folder.run_lock, holder, f"run {folder.path}")
        with lock.take(_LOCK_WAIT_S, should_stop, say_after_s=_LOCK_SAY_S):
            was = _check(folder, record)
            other = lease.try_take()
            if other is None:
                try:
                    _settle(folder, record, was)
                except BaseException:
                    lease.release()
                    raise
                return
        if time.monotonic() >= deadline or should_stop():
            raise lease.refusal(other)
        lease.say_waiting(other, wait_s)
        time.sleep(min(_POLL_S, max(0.0, deadline - time.monotonic())))


def recorded_servers(folder: RunFolder) -> Mapping[str, Any]:
    """Return what run.json says of the servers that the run was begun with. Raises InputError: it cannot be read."""
    was = _read(folder)
    return {} if was is None or not isinstance(was.get("served"), dict) else was["served"]


def _check(folder: RunFolder, record: RunRecord) -> dict[str, Any] | None:
    """Return what run.json says, None if there is none.

    Raises:
        InputError: what was sampled here, or is being sampled, belongs to another config.
    """
    was = _read(folder)
    if was is None:
        _check_checkpoints(folder, record)
    elif (differing := _differing(was, record)) and _is_owned(folder):
        raise _refusal(folder, differing)
    return was


def _settle(folder: RunFolder, record: RunRecord, was: dict[str, Any] | None) -> None:
    """Make run.json this config's, and read it back."""
    if was is None:
        remove_partials(folder.run_json)
        _write_hydra(folder, record)
        # One may be there by now, of a process that did not see the lock: what it wrote is compared below.
        with contextlib.suppress(FileExistsError):
            create_text(folder.run_json, _text(folder, record))
    elif _differing(was, record):
        _forget(folder)
        _write_hydra(folder, record)
        write_text(folder.run_json, _text(folder, record))
    elif was["config"].get("accounting") != record.config["accounting"]:
        # Prices and weights may change; the tables are written with those of now.
        was["config"]["accounting"] = dict(record.config["accounting"])
        write_text(folder.run_json, json.dumps(was, indent=1) + "\n")
    now = _read(folder)
    if now is None:
        raise CheckpointError(
            f"{folder.run_json}: it was written and is gone. Does somebody else remove the run's folder?"
        )
    if differing := _differing(now, record):
        raise _refusal(folder, differing)
    write_views(folder.root)


def _read(folder: RunFolder) -> dict[str, Any] | None:
    try:
        text = folder.run_json.read_text()
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise _unreadable(folder, error) from None
    try:
        values = dict(json.loads(text))
        if not isinstance(values["identity"], dict) or not isinstance(values["config"], dict):
            raise TypeError(
                f"identity and config: got {values['identity']!r:.60} and {values['config']!r:.60}, expected objects"
            )
        values["identity"] = {key: str(value) for key, value in values["identity"].items()}
        int(values["shard_count"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _unreadable(folder, error) from None
    return values


def _unreadable(folder: RunFolder, error: Exception) -> InputError:
    return InputError(
        f"{folder.run_json}: unreadable ({type(error).__name__}: {error}). Restore it, or choose another run.name."
    )


def _differing(was: Mapping[str, Any], record: RunRecord) -> list[str]:
    return differing_keys(was["identity"] | {SHARD_COUNT: str(was["shard_count"])}, record.whole_identity)


def _refusal(folder: RunFolder, differing: list[str]) -> InputError:
    return InputError(
        f"run {folder.path}: belongs to another config ({'; '.join(differing)}). "
        "Undo the change, or choose another run.name."
    )


def _check_checkpoints(folder: RunFolder, record: RunRecord) -> None:
    """Refuse a folder without run.json whose checkpoints hold something of another config."""
    for path in _shards(folder, "checkpoint", "duckdb"):
        try:
            found = recorded(path)
        except (InputError, CheckpointError):
            continue  # whoever works on that shard says what is wrong with it
        if found.rows and (differing := differing_from(found.identity, record.whole_identity)):
            raise InputError(
                f"checkpoint {path}: belongs to another config ({'; '.join(differing)}). "
                "Undo the change, or choose another run.name."
            )


def _is_owned(folder: RunFolder) -> bool:
    """Return whether somebody works on a shard of the run, or something was sampled or answered, or that is unknown."""
    if any(live_holder(path) is not None for path in _shards(folder, "lease", "json")):
        return True
    return (
        any(_has_begun(path) for path in _shards(folder, "progress", "json"))
        or any(_holds_facts(path) for path in _shards(folder, "checkpoint", "duckdb"))
        or any(_has_rows(path) for path in _shards(folder, "answers", "parquet"))
    )


def _has_begun(progress: Path) -> bool:
    try:
        written = json.loads(progress.read_text())
        scratch = written.get("scratch")
        counts = (written["segments"], written.get("facts", 0), written["problems_done"])
        return any(counts) or (scratch is not None and Path(scratch).exists() and _holds_facts(Path(scratch)))
    except (ValueError, KeyError, TypeError, AttributeError):
        return True


def _holds_facts(checkpoint: Path) -> bool:
    try:
        return recorded(checkpoint).rows > 0
    except (InputError, CheckpointError):
        return True


def _has_rows(answers: Path) -> bool:
    try:
        return bool(pq.read_metadata(answers).num_rows > 0)
    except pa.ArrowException:
        return True


def _forget(folder: RunFolder) -> None:
    """Remove what the failed starts of another config left. It holds nothing that was sampled."""
    for path in _shards(folder, "checkpoint", "duckdb"):
        remove(path)
    for name, suffix in (("progress", "json"), *((table, "parquet") for table in SHARD_TABLES)):
        for path in _shards(folder, name, suffix):
            path.unlink(missing_ok=True)


def _shards(folder: RunFolder, name: str, suffix: str) -> list[Path]:
    return sorted((folder.path / name).glob(f"shard=*.{suffix}"))


def _write_hydra(folder: RunFolder, record: RunRecord) -> None:
    for name, text in record.hydra.items():
        write_text(folder.path / ".hydra" / name, text)


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
