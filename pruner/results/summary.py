"""The summary of a run in words: on the terminal at its end, and in its report. Pure functions of its totals."""

from __future__ import annotations

from pruner.results.run_totals import RunTotals
from pruner.system.lines import printable


def summary(totals: RunTotals, where: str) -> str:
    """Return the summary of a run so far: accuracy, tokens and what pruning saved.

    Args:
        where: the run's folder.
    """
    kind = " (simulated traces)" if totals.sampler == "simulated" else ""
    lines = [f"{_headline(totals)}, results in {printable(where)}{kind}"]
    for label, texts in words(totals):
        lines += [f"  {label if i == 0 else '':<13}{text}" for i, text in enumerate(texts)]
    return "\n".join(lines)


def _headline(totals: RunTotals) -> str:
    """Return how many problems the figures are of; an unfinished run is named first."""
    if totals.problems_total is None or totals.problems >= totals.problems_total:
        return f"{totals.problems} problems"
    shards = f", {totals.shards_done} of {totals.shard_count} shards done" if (totals.shard_count or 1) > 1 else ""
    return f"UNFINISHED: {totals.problems} of {totals.problems_total} problems{shards}"


def words(totals: RunTotals) -> list[tuple[str, list[str]]]:
    """Return label and lines of everything there is to say."""
    everything = [
        ("problems", _problems(totals)),
        ("traces", _traces(totals)),
        ("accuracy", _accuracy(totals)),
        ("certified", _certified(totals)),
        ("tokens", _tokens(totals)),
        ("speculative", _speculative(totals)),
        ("discarded", _discarded(totals)),
        ("judge" if totals.judge is not None else "probes", _judge(totals)),
        ("net", [_net(totals)]),
        ("time", _time(totals)),
        ("GPU", _gpu(totals)),
        ("cost", _cost(totals)),
        ("saved", [saved_words(totals)] if totals.baseline != "none" else []),
        ("warning", _warning(totals)),
    ]
    return [(label, lines) for label, lines in everything if lines]


def _problems(totals: RunTotals) -> list[str]:
    tied = f"; {totals.problems_tied} by a tie" if totals.problems_tied else ""
    return [f"{totals.answered} answered, {totals.no_answer} without an answer, {totals.failed} failed{tied}"]


def _traces(totals: RunTotals) -> list[str]:
    counts = f"{totals.traces_started:,} started, {totals.traces_finished:,} finished, {totals.traces_pruned:,} pruned"
    return [counts, *([unanswered_words(totals)] if totals.traces_cut or totals.traces_unanswered else [])]


def unanswered_words(totals: RunTotals) -> str:
    """Return how many finished traces were cut off, and how many gave no answer and why."""
    cut, unanswered = totals.traces_cut or 0, totals.traces_unanswered or 0
    in_cut = totals.traces_cut_unanswered or 0
    text = f"{cut:,} cut off by the token cap; {unanswered:,} without an answer"
    if unanswered and in_cut:
        text += f": {in_cut:,} cut off, {unanswered - in_cut:,} that ended without one"
    return text


def _time(totals: RunTotals) -> list[str]:
    if not totals.work_s:
        return []
    attempts = "1 attempt" if totals.attempts == 1 else f"{totals.attempts} attempts"
    return [
        f"{seconds_words(totals.work_s)} of work in {attempts}, {totals.tokens_per_s or 0:,.0f} tokens a second; "
        f"{seconds_words(totals.load_s or 0)} loading"
    ]


def seconds_words(seconds: float) -> str:
    """Return a time as a reader takes it in: 53 s, 12.4 min, 3.25 h."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.2f} h"


def saved_words(totals: RunTotals) -> str:
    """Return what was saved, and against what: a measured baseline or an estimate."""
    if totals.saved is None or totals.tokens_baseline is None:
        return "unknown: there is no run of method=cons with this setting, and no finished trace to estimate from"
    against = (
        f"the {totals.tokens_baseline:,.0f} tokens of run {totals.baseline_run} (measured)"
        if totals.baseline == "measured"
        else f"{totals.tokens_baseline:,.0f} tokens without pruning (an estimate)"
    )
    text = f"{totals.saved:.1%} net, against {against}"
    if totals.baseline == "measured" and totals.accuracy is not None and totals.accuracy_baseline is not None:
        text += f"; accuracy {100 * (totals.accuracy - totals.accuracy_baseline):+.1f} points"
    return text


def _accuracy(totals: RunTotals) -> list[str]:
    if totals.accuracy is None:
        return ["unknown: the problems have no gold answers"]
    lines = [f"{totals.accuracy:.1%} by vote ({totals.problems_right} of {totals.problems_graded}){bounds(totals)}"]
    if totals.single_accuracy is not None:
        lines.append(f"{totals.single_accuracy:.1%} the mean finished trace")
    return lines


def bounds(totals: RunTotals) -> str:
    """Return the interval of the accuracy, to be put behind it; nothing where resampling says nothing, as of all right."""
    if totals.accuracy_low is None or totals.accuracy_high is None or totals.accuracy_low == totals.accuracy_high:
        return ""
    return f", 95 % interval {100 * totals.accuracy_low:.1f} to {100 * totals.accuracy_high:.1f}"


def _certified(totals: RunTotals) -> list[str]:
    if totals.problems_certified is None:
        return []
    return [
        f"{totals.problems_certified} of {totals.problems} answers, at an error rate of {totals.delta or 0:g} at most"
    ]


def _tokens(totals: RunTotals) -> list[str]:
    lines = [
        f"{totals.tokens_sampled:,} sampled: {totals.tokens_finished:,} in finished traces, {totals.tokens_pruned:,} in pruned ones"
    ]
    if totals.tokens_prefix:
        lines.append(f"or: {totals.tokens_prefix:,} before the method could decide, {totals.tokens_continued:,} after")
    return lines


def _speculative(totals: RunTotals) -> list[str]:
    if not totals.traces_speculative:
        return []
    return [f"{totals.tokens_speculative:,} more in {totals.traces_speculative:,} traces that were not asked for"]


def _discarded(totals: RunTotals) -> list[str]:
    lost, unknown = totals.tokens_discarded or 0, totals.attempts_discarded_unknown or 0
    if not lost and not unknown:
        return []
    attempts = f"{totals.attempts} attempts" if totals.attempts != 1 else "1 attempt"
    note = f"; what {unknown} of them lost is not known" if unknown else ""
    cause = " by stops and with cancelled speculative traces" if totals.traces_speculative else ""
    return [f"{lost:,} tokens sampled and lost{cause} in {attempts}{note}"]


def _judge(totals: RunTotals) -> list[str]:
    if totals.judge is None and not totals.judge_calls:
        return []
    probes = f" ({totals.judge_probes:,} probes)" if totals.judge_probes else ""
    return [
        f"{totals.judge_calls:,} calls{probes}: {totals.tokens_judge_output:,} tokens sampled, {totals.tokens_judge_read:,} read, "
        f"{totals.tokens_judge_cached:,} read before"
    ]


def _net(totals: RunTotals) -> str:
    if totals.judge is None and not totals.judge_calls:
        return f"{totals.tokens_net:,.0f} tokens"
    if totals.judge_prompt_weight is None or totals.judge_output_weight is None:
        return f"{totals.tokens_net:,.0f} tokens, the judge's included"
    weights = f"sampled x {totals.judge_output_weight:g}, read x {totals.judge_prompt_weight:g}"
    return f"{totals.tokens_net:,.0f} tokens, the judge's included ({weights}, read before x {totals.judge_cached_weight or 0:g})"


def _gpu(totals: RunTotals) -> list[str]:
    sampler, judge = totals.gpu_seconds_sampler or 0.0, totals.gpu_seconds_judge or 0.0
    if not sampler and not judge:
        return []
    return [f"{sampler / 3600:,.2f} hours of the sampler, {judge / 3600:,.2f} of the judge"]


def _cost(totals: RunTotals) -> list[str]:
    return [] if totals.cost is None else [f"about {totals.cost:,.2f}, by {totals.cost_basis}"]


def _warning(totals: RunTotals) -> list[str]:
    missing, judged = totals.judge_verdicts_missing, totals.judge_verdicts
    if not judged or missing <= judged / 2:
        return []
    return [f"{missing:,} of {judged:,} verdicts could not be read: pruning does next to nothing"]
