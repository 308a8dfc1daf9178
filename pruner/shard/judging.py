"""Pairs and probes of one problem: what is asked for them, who waits for it, and what follows once it is known. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from pruner.answers.readings import Read, Reading
from pruner.judges.base import Judge, JudgedProblem, Prefixed, Prober
from pruner.records.traces import Key, PairKey, Probe, ProbeKey, Trace, Verdict
from pruner.rules.prefix import Truncation
from pruner.samplers.base import Completion
from pruner.shard.exchange import Exchange
from pruner.shard.segments import PromptedProblem


@dataclass(frozen=True)
class JudgeSetting:
    """Who judges and probes.

    Attributes:
        judge: None if the method compares no traces.
        prober: None if the method asks no traces.
        truncation: of what the judge reads.
    """

    judge: Judge | None
    prober: Prober | None
    truncation: Truncation


@dataclass
class _Wanted:
    """A fact that was requested. pairs: that wait for it. is_asked: the method itself does."""

    pairs: dict[PairKey, None] = field(default_factory=dict)
    is_asked: bool = False


class Judging:
    """One problem's pairs and probes. It looks up and stores facts in the exchange, and puts there what it asks for."""

    def __init__(self, prompted: PromptedProblem, setting: JudgeSetting, exchange: Exchange) -> None:
        self._setting = setting
        self._exchange = exchange
        self._prefixed: dict[int, Prefixed] = {}
        self._wanted: dict[Key, _Wanted] = {}
        self._unread: dict[ProbeKey, Probe] = {}
        self._judged = JudgedProblem(prompted.problem, prompted.prompt_token_ids, self._prefixed, prompted.priority)

    def see(self, trace: Trace) -> None:
        """Keep a trace's prefix once it is complete."""
        if trace.trace_index not in self._prefixed and (prefix := self._setting.truncation.prefix(trace)) is not None:
            self._prefixed[trace.trace_index] = Prefixed(trace, prefix)

    def compare(self, pair: PairKey) -> None:
        """Deliver a pair's verdict, or ask for what it still waits for."""
        facts, parts = self._exchange.facts, self._judge.parts(pair, self._judged)
        if pair in facts and pair not in parts:
            self._exchange.deliveries.append(facts[pair])
            return
        missing = [key for key in parts if key not in facts]
        if missing:
            self._want(missing, pair)
            return
        verdict = self._judge.verdict(pair, self._judged, [facts[key] for key in parts])
        if pair not in facts:
            self._exchange.store(verdict)
        self._exchange.deliveries.append(verdict)

    def prepare(self, trace_index: int) -> None:
        """Ask for what every pair with a trace will wait for."""
        self._want([key for key in self._judge.prepares(trace_index, self._judged) if key not in self._exchange.facts])

    def ask(self, trace: Trace) -> None:
        """Probe a trace as it is, or deliver what is known of that."""
        prober = self._prober
        key = ProbeKey(trace.problem_id, trace.trace_index, trace.num_tokens)
        if (known := self._exchange.facts.get(key)) is not None:
            self._exchange.deliveries.append(known)
            return
        self._wanted[key] = _Wanted(is_asked=True)
        request = prober.request(key, self._judged.prompt_token_ids, trace, self._judged.priority)
        if request is None:
            self._learn(prober.read(key, None))
        else:
            self._exchange.request(request)

    def receive(self, completion: Completion) -> None:
        """Take in what a request for a pair or a probe gave."""
        key = completion.key
        if self._wanted[key].is_asked:
            assert isinstance(key, ProbeKey)
            self._learn(self._prober.read(key, completion))
        else:
            self._learn(self._judge.read(key, completion, self._judged))

    def take_answer(self, read: Read) -> None:
        """Take in the answer of a probe."""
        assert isinstance(read.key, ProbeKey) and read.answer is not None
        self._learn(replace(self._unread.pop(read.key), answer_key=read.answer.key))

    @property
    def _judge(self) -> Judge:
        assert self._setting.judge is not None, (
            f"{self._judged.problem.problem_id}: the method compares, but there is no judge"
        )
        return self._setting.judge

    @property
    def _prober(self) -> Prober:
        assert self._setting.prober is not None, (
            f"{self._judged.problem.problem_id}: the method asks, but there is no prober"
        )
        return self._setting.prober

    def _want(self, keys: list[Key], pair: PairKey | None = None) -> None:
        """Request facts that are not known, each once; let a pair wait for them."""
        new = [key for key in keys if key not in self._wanted]
        for key in keys:
            wanted = self._wanted.setdefault(key, _Wanted())
            if pair is not None:
                wanted.pairs[pair] = None
        for key in new:
            request = self._judge.request(key, self._judged)
            if request is None:
                self._learn(self._judge.read(key, None, self._judged))
            else:
                self._exchange.request(request)

    def _learn(self, fact: Probe | Verdict) -> None:
        """Keep what was judged or asked, and give it to whoever waits for it; the answer of a probe is read first."""
        if isinstance(fact, Probe) and fact.answer is not None and fact.answer_key is None:
            self._unread[fact.key] = fact
            self._exchange.read(Reading(fact.key, answer=fact.answer))
            return
        self._exchange.store(fact)
        wanted = self._wanted.pop(fact.key)
        if wanted.is_asked:
            self._exchange.deliveries.append(fact)
        for pair in wanted.pairs:
            self.compare(pair)
