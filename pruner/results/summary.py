"""What a run came to, in words: on the terminal at its end, and in its report. Pure functions of its books."""

from __future__ import annotations

from pruner.lines import printable
from pruner.results.run_totals import RunBooks


def summary(books: RunBooks, where: str) -> str:
    """Return what a run came to so far: accuracy, tokens and what pruning saved.

    Args:
        where: the run's folder.
    """
    lines = [f"{books.problems} problems, results in {printable(where)}"]
    for label, texts in words(books):
        lines += [f"  {label if i == 0 else '':<13}{text}" for i, text in enumerate(texts)]
    return "\n".join(lines)


def words(books: RunBooks) -> list[tuple[str, list[str]]]:
    """Return label and lines of everything there is to say."""
    said = [
        ("problems", [f"{books.answered} answered, {books.no_answer} without an answer, {books.failed} failed"]),
        (
            "traces",
            [f"{books.traces_started:,} started, {books.traces_finished:,} finished, {books.traces_pruned:,} pruned"],
        ),
        ("accuracy", _accuracy(books)),
        ("tokens", _tokens(books)),
        ("discarded", _discarded(books)),
        ("judge" if books.judge is not None else "probes", _judge(books)),
        ("net", [_net(books)]),
        ("GPU", _gpu(books)),
        ("cost", _cost(books)),
        ("saved", [saved_words(books)] if books.baseline != "none" else []),
        ("warning", _warning(books)),
    ]
    return [(label, lines) for label, lines in said if lines]


def saved_words(books: RunBooks) -> str:
    """Return what was saved, and against what: a measured baseline or an estimate."""
    if books.saved is None or books.tokens_baseline is None:
        return "unknown: there is no run of method=cons with this setting, and no finished trace to estimate from"
    against = (
        f"the {books.tokens_baseline:,.0f} tokens of run {books.baseline_run} (measured)"
        if books.baseline == "measured"
        else f"{books.tokens_baseline:,.0f} tokens without pruning (an estimate)"
    )
    text = f"{books.saved:.1%} net, against {against}"
    if books.baseline == "measured" and books.accuracy is not None and books.accuracy_baseline is not None:
        text += f"; accuracy {100 * (books.accuracy - books.accuracy_baseline):+.1f} points"
    return text


def _accuracy(books: RunBooks) -> list[str]:
    if books.accuracy is None:
        return ["unknown: the problems have no gold answers"]
    lines = [f"{books.accuracy:.1%} by vote ({books.problems_right} of {books.problems_graded})"]
    if books.single_accuracy is not None:
        lines.append(f"{books.single_accuracy:.1%} the mean finished trace")
    return lines


def _tokens(books: RunBooks) -> list[str]:
    return [
        f"{books.tokens_sampled:,} sampled: {books.tokens_finished:,} in finished traces, {books.tokens_pruned:,} in pruned ones",
        f"or: {books.tokens_prefix:,} before the method could decide, {books.tokens_continued:,} after",
    ]


def _discarded(books: RunBooks) -> list[str]:
    lost, unknown = books.tokens_discarded or 0, books.attempts_discarded_unknown or 0
    if not lost and not unknown:
        return []
    attempts = f"{books.attempts} attempts" if books.attempts != 1 else "1 attempt"
    note = f"; what {unknown} of them lost is not known" if unknown else ""
    return [f"{lost:,} tokens sampled and lost in {attempts}{note}"]


def _judge(books: RunBooks) -> list[str]:
    if books.judge is None and not books.judge_calls:
        return []
    probes = f" ({books.judge_probes:,} probes)" if books.judge_probes else ""
    return [
        f"{books.judge_calls:,} calls{probes}: {books.tokens_judge_output:,} tokens sampled, {books.tokens_judge_read:,} read, "
        f"{books.tokens_judge_cached:,} read before"
    ]


def _net(books: RunBooks) -> str:
    if books.judge is None and not books.judge_calls:
        return f"{books.tokens_net:,.0f} tokens"
    if books.judge_prompt_weight is None or books.judge_output_weight is None:
        return f"{books.tokens_net:,.0f} tokens, the judge's included"
    weights = f"sampled x {books.judge_output_weight:g}, read x {books.judge_prompt_weight:g}"
    return f"{books.tokens_net:,.0f} tokens, the judge's included ({weights}, read before x {books.judge_cached_weight or 0:g})"


def _gpu(books: RunBooks) -> list[str]:
    sampler, judge = books.gpu_seconds_sampler or 0.0, books.gpu_seconds_judge or 0.0
    if not sampler and not judge:
        return []
    return [f"{sampler / 3600:,.2f} hours of the sampler, {judge / 3600:,.2f} of the judge"]


def _cost(books: RunBooks) -> list[str]:
    return [] if books.cost is None else [f"about {books.cost:,.2f}, by {books.cost_basis}"]


def _warning(books: RunBooks) -> list[str]:
    missing, judged = books.judge_verdicts_missing, books.judge_verdicts
    if not judged or missing <= judged / 2:
        return []
    return [f"{missing:,} of {judged:,} verdicts could not be read: pruning does next to nothing"]
