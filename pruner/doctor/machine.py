"""Checks that need no engine: packages, cards, memory, disk, locks, model, problems, Slurm."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import psutil

from pruner.checkpoint.database import open_database
from pruner.config.job import Config
from pruner.doctor.findings import Check, Finding
from pruner.errors import InputError, Unavailable
from pruner.judges.weight_files import local_folder, tensor_shapes, weight_files
from pruner.prompts import TOKENIZER_CONFIG, check_model_folder, load_tokenizer
from pruner.samplers.devices import LEAST_DRIVER, check_build, num_devices, visible_cards, vllm_version
from pruner.samplers.served.sampler import examined
from pruner.samplers.server import ServerSamplerConfig
from pruner.samplers.vllm_engines import VllmSamplerConfig
from pruner.settings.section import local_path
from pruner.shard import build
from pruner.shard.inputs import read_inputs, sampler_context
from pruner.system import packages, slurm
from pruner.system.files import make_folder

_GIB = 1 << 30
_LEAST_DISK_GIB, _GOOD_DISK_GIB = 0.5, 5.0
# Of the job, its tokenizer and the engine's own code, beside weights and cache.
_OVERHEAD_GIB = 2.0
_PROBLEMS_READ = 200
_LOCK_S = 60.0


def checks(config: Config) -> Sequence[tuple[str, Check]]:
    """Return what is looked at, in order."""
    named: list[tuple[str, Check]] = [
        ("packages", packages_there),
        ("disk", lambda: disk(config)),
        ("locks", lambda: locks(config)),
        ("problems", lambda: problems(config)),
        ("slurm", slurm_job),
    ]
    if isinstance(config.sampler, VllmSamplerConfig):
        sampler = config.sampler
        named.insert(1, ("gpu", cards))
        if not num_devices():
            named.insert(2, ("memory", lambda: memory(config, sampler)))
        named.insert(-2, ("model", lambda: model(config)))
    if isinstance(config.sampler, ServerSamplerConfig):
        sampler_config = config.sampler
        named.insert(-2, ("servers", lambda: servers(config, sampler_config)))
    return named


def packages_there() -> Finding:
    if lacking := packages.faults():
        advice = "Run `bash slurm/setup.sh`, or install them into the environment that PRUNER_ENV names."
        return Finding("packages", "FAIL", "; ".join(lacking), advice)
    import torch

    build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "for CPUs"
    what = f"Python {sys.version.split()[0]}, vLLM {vllm_version()}, torch {torch.__version__} ({build})"
    return Finding("packages", "PASS", what)


def servers(config: Config, sampler: ServerSamplerConfig) -> Finding:
    """Ask every server what it is."""
    check_model_folder(config.model.path, "model.path", TOKENIZER_CONFIG)
    try:
        # Nobody waits for servers here.
        patient = replace(sampler.servers, patience_s=sampler.connect_s)
        found = examined(patient, sampler.requirements(sampler_context(config)))
        faults = [f"{each.url}: {each.why}" for each in found if each.state != "works"]
    except (InputError, Unavailable) as error:
        found, faults = [], [str(error)]
    known = [each.facts for each in found if each.facts is not None]
    if faults:
        advice = "Start them (slurm/serve.sh) with the same model, version and options, or name others in sampler.urls."
        return Finding("servers", "FAIL", "; ".join(faults), advice)
    first, cache = known[0], sum(each.capacity_tokens or 0 for each in known)
    what = f"{len(known)} with {first.model}, vLLM {first.version}, context {first.max_model_len:,}"
    what += f", {cache:,} tokens of cache" if cache else ""
    figures = {"servers": len(known), "cache_tokens": cache}
    if lines := first.warnings(sampler.cache_block_tokens):
        return Finding("servers", "WARN", what, ". ".join(lines) + ".", figures)
    return Finding("servers", "PASS", what, figures=figures)


def cards() -> Finding:
    check_build()
    listed = visible_cards()
    if not num_devices():
        return Finding("gpu", "PASS", f"none; {os.cpu_count()} CPU cores work", figures={"gpus": 0})
    names = ", ".join(f"{each.name} (driver {each.driver}, {each.memory_mib // 1024} GiB)" for each in listed)
    figures = {"gpus": num_devices(), "card": listed[0].name if listed else None}
    driver = listed[0].driver.partition(".")[0] if listed else ""
    if driver.isdigit() and int(driver) < LEAST_DRIVER:
        advice = f"vLLM's builds are made for CUDA 13, which needs driver {LEAST_DRIVER} or newer."
        return Finding("gpu", "WARN", names, advice, figures)
    return Finding("gpu", "PASS", names or f"{num_devices()} cards", figures=figures)


def memory(config: Config, sampler: VllmSamplerConfig) -> Finding:
    """Compare the memory that weights and cache need with what is free. A card's memory is the engine's to judge, when it starts."""
    weights = weight_bytes(config)
    if weights is None:
        return Finding("memory", "WARN", "the size of the weights is not known: no safetensors in the model's folder")
    scale = 2.0 if sampler.exact and config.model.dtype != "float32" else 1.0
    engines = 1 if judge_beside(config) is None else 2
    needed = engines * (scale * weights / _GIB + sampler.kv_cache_gib + _OVERHEAD_GIB)
    free = free_memory() / _GIB
    figures = {"needed_gib": round(needed, 1), "free_gib": round(free, 1)}
    what = f"about {needed:.1f} GiB needed for {'two engines' if engines == 2 else 'the engine'}, {free:.1f} GiB free"
    if needed > free:
        advice = "Ask for more (sbatch --mem), or set a smaller sampler.kv_cache_gib."
        return Finding("memory", "FAIL", what, advice, figures)
    return Finding("memory", "PASS", what, figures=figures)


def judge_beside(config: Config) -> str | None:
    """Return the model of a judge with an engine of its own; None if there is no such judge."""
    judge = config.judge.engine() if config.method.uses_judge else None
    return None if judge is None or judge.colocate else judge.path or config.model.path


def weight_bytes(config: Config) -> int | None:
    """Return the size of the model's weights on disk; None if it is not known here."""
    files = weight_files(model_folder(config.model.path, config.model.revision))
    return sum(file.stat().st_size for file in files) if files else None


def free_memory() -> int:
    """Return the bytes that this process may still take: of the machine, or of its control group."""
    free: int = psutil.virtual_memory().available
    limit, used = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
    try:
        text = limit.read_text().strip()
        return min(free, int(text) - int(used.read_text())) if text.isdigit() else free
    except (OSError, ValueError):
        return free


def disk(config: Config) -> Finding:
    """Look for room where the run and its checkpoint will be, and write something there."""
    folders = [config.run.root, *([config.checkpoint.dir] if config.checkpoint.dir is not None else [])]
    least = float("inf")
    for name in folders:
        folder = local_path(name)
        make_folder(folder)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".doctor-") as file:
            file.write(bytes(1 << 20))
            file.flush()
            os.fsync(file.fileno())
        least = min(least, shutil.disk_usage(folder).free / _GIB)
    what, figures = f"{least:.1f} GiB free for runs in {' and '.join(folders)}", {"free_gib": round(least, 2)}
    if least < _GOOD_DISK_GIB:
        advice = "Free some, or set run.root to a larger disk. jobs.plan says how much a run takes."
        return Finding("disk", "FAIL" if least < _LEAST_DISK_GIB else "WARN", what, advice, figures)
    return Finding("disk", "PASS", what, figures=figures)


_OPEN = "import sys, pathlib, pruner.checkpoint.database as database; database.open_database(pathlib.Path(sys.argv[1]))"


def locks(config: Config) -> Finding:
    """Try what the lease and the checkpoint rely on: hard links made once, renames that replace, and DuckDB's lock."""
    root = local_path(config.checkpoint.dir or config.run.root)
    make_folder(root)
    with tempfile.TemporaryDirectory(dir=root, prefix=".doctor-") as name:
        folder = Path(name)
        first, second = folder / "first", folder / "second"
        first.write_text("1")
        second.write_text("2")
        os.replace(first, second)
        os.link(second, folder / "link")
        try:
            os.link(second, folder / "link")
            return _no_locks("a hard link can be made twice", str(root))
        except FileExistsError:
            pass
        if second.read_text() != "1":
            return _no_locks("a rename does not replace", str(root))
        with open_database(folder / "try.duckdb"):
            other = subprocess.run(
                [sys.executable, "-c", _OPEN, str(folder / "try.duckdb")], capture_output=True, timeout=_LOCK_S
            )
        if other.returncode == 0:
            return _no_locks("two processes can open one checkpoint", str(root))
    return Finding("locks", "PASS", f"hard links, renames and file locks work in {root}")


def _no_locks(what: str, root: str) -> Finding:
    return Finding(
        "locks", "FAIL", f"{what} in {root}", "Set checkpoint.dir to the node's own disk; see slurm/README.md."
    )


def model(config: Config) -> Finding:
    """Load the tokenizer and read every weight file's header."""
    path, revision = config.model.path, config.model.revision
    check_model_folder(path, "model.path")
    beside = judge_beside(config)
    for name, rev in [(path, revision), *([(beside, None)] if beside is not None else [])]:
        tensor_shapes(model_folder(name, rev))
    build.check_models(config, read_inputs(config))
    load_tokenizer(path, revision, config.model.trust_remote_code)
    size = weight_bytes(config)
    what = f"{path}: tokenizer and chat template load" + (f", {size / 1e9:.1f} GB of weights are whole" if size else "")
    return Finding("model", "PASS", what)


def model_folder(path: str, revision: str | None) -> Path:
    """Return the folder of a model, or of a hub id's copy on this machine. Raises InputError: it is not on this machine."""
    folder = local_folder(path, revision)
    if folder is None:
        raise InputError(
            f"model.path: {path} is neither a folder nor in the hub's cache on this machine. Fetch it on a node with internet: "
            "`python -m jobs.fetch_model` with the same overrides."
        )
    return folder


def problems(config: Config) -> Finding:
    """Read the problem set, and look whether its prompts fit the context."""
    inputs = read_inputs(config)
    read = inputs.problems.problems
    what, figures = f"{len(read):,} problems", {"problems": len(read)}
    if isinstance(config.sampler, VllmSamplerConfig):
        prompts = build.make_prompts(config, inputs)
        longest = max(len(prompts.encode_problem(each)) for each in read[:_PROBLEMS_READ])
        figures["longest_prompt"] = longest
        room = config.model.max_model_len - longest
        what += f", the longest prompt of the first {min(len(read), _PROBLEMS_READ)} has {longest} tokens"
        if room < 1 or room < config.model.sampling.max_tokens:
            advice = "Raise model.max_model_len, or lower model.sampling.max_tokens."
            what += f", which leaves {max(0, room)} of {config.model.sampling.max_tokens} tokens for a trace"
            return Finding("problems", "FAIL" if room < 1 else "WARN", what, advice, figures)
    if any(each.answer is None for each in read):
        advice = "They are answered, and count in no accuracy."
        return Finding("problems", "WARN", f"{what}; some have no gold answer", advice, figures)
    return Finding("problems", "PASS", what, figures=figures)


def slurm_job() -> Finding:
    job = slurm.job_id()
    if job is None:
        return Finding("slurm", "PASS", "not in a Slurm job")
    slurm.check_one_node()
    left, cpus = slurm.seconds_left(), slurm.cpus()
    what = f"job {job}, {cpus or '?'} CPUs, {'no time limit known' if left is None else f'{left / 3600:.1f} h left'}"
    if num_devices() and cpus is not None and cpus < 1 + 2 * num_devices():
        advice = f"Ask for --cpus-per-task={2 + 2 * num_devices()}: job, engine and each card's worker want one."
        return Finding("slurm", "WARN", what, advice)
    return Finding("slurm", "PASS", what)
