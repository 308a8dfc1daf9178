"""A method on recorded traces in memory: the rows that a run would write, without the run.

A method is a state machine for one problem, so the recording, a loop and the accounting are all that a replay takes: no
checkpoint, no event loop, no folder. The rows are those of a run with sampler=replay, token for token.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from types import TracebackType
from typing import Any, Self

from pruner.answers.reader import AnswerReader
from pruner.answers.readings import Read, Reading
from pruner.config.job import Config
from pruner.methods.base import Answer, Extend, Method
from pruner.recordings.replay import Replay
from pruner.records.rows import AnswerRow
from pruner.records.traces import FinalAnswer, Problem, Segment, SegmentKey, Trace, TraceKey
from pruner.rules.voting import majority_vote, tied
from pruner.samplers.replay import ReplaySampler, check_is_whole
from pruner.shard import build
from pruner.shard.accounting import answer_row, trace_rows
from pruner.shard.case import Case, CaseOutcome
from pruner.shard.exchange import Step
from pruner.shard.inputs import Inputs
from pruner.shard.segments import PromptedProblem

_WAIT_S = 0.2


class Answers:
    """The answers of recorded traces and probes as they compare with others, each read once.

    Args:
        open_reader: called when there is something to read.
    """

    def __init__(self, open_reader: Callable[[], AnswerReader]) -> None:
        self._open_reader = open_reader
        self._reader: AnswerReader | None = None
        self._known: dict[tuple[str | None, str | None], FinalAnswer | None] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def read(self, answer: str | None, gold: str | None) -> FinalAnswer | None:
        """Return a recorded answer with its key, graded if there is a gold answer; None for none."""
        asked = (answer, gold)
        if asked not in self._known:
            self.read_all([asked])
        return self._known[asked]

    def read_all(self, asked: Iterable[tuple[str | None, str | None]]) -> None:
        """Read answers that will be needed, each with the gold answer that it is graded against.

        Raises:
            AnswerError: the worker that reads them keeps dying.
        """
        # A key of our own tells them apart when they come back.
        new = {TraceKey("", number): each for number, each in enumerate(set(asked) - self._known.keys())}
        if not new:
            return
        if self._reader is None:
            self._reader = self._open_reader()
        for key, (answer, gold) in new.items():
            self._reader.submit(Reading(key, answer=answer, gold=gold))
        while new:
            for read in self._reader.take():
                assert isinstance(read.key, TraceKey)
                self._known[new.pop(read.key)] = read.answer
            if new:
                self._reader.wait(_WAIT_S)

    def close(self) -> None:
        """End the reader's worker; what was read stays, and what is read later starts another one."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None


@lru_cache(maxsize=2)
def shared_answers(kind: str, patterns: tuple[str, ...], time_limit_s: float) -> Answers:
    """Return the answers that all points of a comparison share. Whoever asked for them closes them."""
    return Answers(lambda: AnswerReader(kind, patterns, time_limit_s))


def answers_of(config: Config) -> Answers:
    """Return the answers that are read as a config says."""
    return shared_answers(config.problems.answers, tuple(config.problems.patterns), config.answer_time_limit_s)


def recorded_answers(replay: Replay) -> set[tuple[str | None, str | None]]:
    """Return the answer of every recorded trace with its problem's gold answer."""
    problems = replay.recording.problems.values()
    return {(trace.answer, each.problem.answer) for each in problems for trace in each.traces.values()}


@dataclass(frozen=True)
class Evaluated:
    """What a method made of one problem.

    Attributes:
        rounds: how often it started traces, all at once or more of them later.
        is_mode: whether all recorded traces of the problem together give its answer most often, or as often as any.
    """

    row: AnswerRow
    rounds: int
    is_mode: bool


class ReplayEvaluator:
    """A run's method, asked about recorded problems.

    Args:
        config: of a run with sampler=replay.

    Raises:
        InputError: the judge cannot work as configured.
    """

    def __init__(self, config: Config, inputs: Inputs, answers: Answers) -> None:
        assert inputs.replay is not None
        self._replay = inputs.replay
        self._answers = answers
        self._prompts = build.make_prompts(config, inputs)
        self._run = build.run_facts(config, inputs)
        self._modes_of: dict[str, frozenset[str]] = {}
        self._sees_whole_traces = config.method.sees_whole_traces
        self._new_method = build.method_maker(config, inputs)
        self._open_case = build.case_opener(config, inputs, self._prompts)

    def evaluate(self, problem: Problem) -> Evaluated:
        """Return what the method makes of a problem; what a run would measure in its row is 0.

        Raises:
            InputError: the method asks for something that was not recorded.
        """
        prompt = self._prompts.encode_problem(problem)
        if self._sees_whole_traces:
            outcome, rounds = self._give_whole_traces(problem, len(prompt))
        else:
            outcome, rounds = self._drive(self._open_case(PromptedProblem(problem, prompt, 0), []))
        is_mode = outcome.answer.answer is not None and outcome.answer.answer.key in self._modes(problem)
        return Evaluated(answer_row(self._run, outcome, trace_rows(outcome)), rounds, is_mode)

    def _modes(self, problem: Problem) -> frozenset[str]:
        """Return the keys of the answers that all recorded traces of a problem give most often."""
        source = self._replay.source(problem.problem_id)
        name = source.problem.problem_id
        if name not in self._modes_of:
            answers = [self._answers.read(trace.answer, problem.answer) for trace in source.traces.values()]
            self._modes_of[name] = frozenset(vote.answer.key for vote in tied(majority_vote(enumerate(answers))))
        return self._modes_of[name]

    def _drive(self, case: Case) -> tuple[CaseOutcome, int]:
        """Give a case everything that it requests and has read."""
        sampler, rounds = ReplaySampler(self._replay), 0
        steps = deque([case.begin()])
        while steps:
            step = steps.popleft()
            sampler.submit(step.requests)
            rounds += _starts_traces(step)
            for reading in step.readings:
                read = Read(reading.key, self._answers.read(reading.answer, reading.gold))
                steps.append(case.take_answer(read))
            if not steps:
                steps += [case.receive(completion) for completion in sampler.step()]
        return case.outcome(), rounds

    def _give_whole_traces(self, problem: Problem, prompt_tokens: int) -> tuple[CaseOutcome, int]:
        """Give a method that sees whole traces only every trace that it starts."""
        method = self._new_method(problem.problem_id)
        traces: list[Trace] = []
        actions, rounds = deque(method.begin()), 1
        while not isinstance(action := actions.popleft(), Answer):
            assert isinstance(action, Extend)
            traces.append(self._whole_trace(problem, action.trace_index, prompt_tokens))
            more = method.on_segment(traces[-1])
            rounds += bool(more) and isinstance(more[0], Extend)
            actions += more
        return _outcome(problem, prompt_tokens, action, traces, method), rounds

    def _whole_trace(self, problem: Problem, index: int, prompt_tokens: int) -> Trace:
        """Return a recorded trace as one segment.

        Raises:
            InputError: it was not recorded, or not to its end.
        """
        recorded = self._replay.trace(problem.problem_id, index)
        check_is_whole(recorded, problem.problem_id)
        segment = Segment(
            SegmentKey(problem.problem_id, index, 0),
            recorded.num_tokens,
            recorded.token_ids,
            recorded.text,
            recorded.finish_reason,
            prompt_tokens,
            0,
            tuple(recorded.confidence) or None,
        )
        answer = self._answers.read(recorded.answer, problem.answer)
        return Trace(
            problem.problem_id, index, (segment,), recorded.num_tokens, recorded.text, recorded.finish_reason, answer
        )


def _starts_traces(step: Step) -> bool:
    keys = (request.key for request in step.requests)
    return any(isinstance(key, SegmentKey) and key.segment_index == 0 for key in keys)


def _outcome(problem: Problem, prompt_tokens: int, answer: Answer, traces: list[Trace], method: Method) -> CaseOutcome:
    traces.sort(key=lambda trace: trace.trace_index)
    return CaseOutcome(
        problem=problem,
        num_prompt_tokens=prompt_tokens,
        answer=answer,
        traces=tuple(traces),
        pruned={},
        clusters=method.clusters,
        prefix_tokens=tuple(min(trace.num_tokens, method.prefix_tokens(trace)) for trace in traces),
        facts=tuple(segment for trace in traces for segment in trace.segments),
    )


def control_rows(inputs: Inputs, answers: Answers, budget: int) -> Iterator[dict[str, Any]]:
    """Yield the first traces of every problem as rows of the traces table, as far as plain voting needs them."""
    assert inputs.replay is not None
    for problem in inputs.problems.problems:
        for index in range(budget):
            trace = inputs.replay.trace(problem.problem_id, index)
            answer = answers.read(trace.answer, problem.answer)
            yield {
                "problem_id": problem.problem_id,
                "trace_index": index,
                "tokens_sampled": trace.num_tokens,
                "answer": None if answer is None else answer.text,
                "answer_key": None if answer is None else answer.key,
                "correct": None if answer is None else answer.correct,
            }
