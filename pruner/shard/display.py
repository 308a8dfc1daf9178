"""The progress display: a tqdm bar on a terminal, plain lines at intervals in a log. Owns tqdm."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable

from tqdm import tqdm

from pruner.records.progress import Progress
from pruner.results.status import duration, tokens_words
from pruner.system.lines import log

# A bar is drawn again this often.
_BAR_S = 0.5


class ProgressDisplay:
    """Shows how far a shard is. `is_bar`: None shows a bar on a terminal only."""

    def __init__(self, interval_s: float, is_bar: bool | None) -> None:
        self._is_bar = sys.stderr.isatty() if is_bar is None else is_bar
        self._interval_s = _BAR_S if self._is_bar else interval_s
        self._bar: tqdm[None] | None = None
        self._shown_at = -math.inf if self._is_bar else time.monotonic()

    def show(self, progress: Callable[[], Progress]) -> None:
        """Show how far it is, if it is time for that; cheap enough to be called at every engine step."""
        if time.monotonic() - self._shown_at < self._interval_s:
            return
        self._shown_at = time.monotonic()
        if self._is_bar:
            self._show_bar(progress())
        else:
            log(line(progress()))

    def close(self, progress: Progress) -> None:
        """Show how far it was at last."""
        if self._bar is not None:
            self._show_bar(progress)
            self._bar.close()
        else:
            log(line(progress))

    def _show_bar(self, progress: Progress) -> None:
        if self._bar is None:
            self._bar = tqdm(
                total=progress.problems, initial=progress.problems_done, unit="problem", dynamic_ncols=True
            )
        self._bar.set_postfix_str(counts(progress), refresh=False)
        self._bar.update(progress.problems_done - self._bar.n)
        self._bar.refresh()


def counts(progress: Progress) -> str:
    """Return the numbers beside the bar."""
    cut, unanswered = progress.traces_cut, progress.traces_unanswered
    odd = f" ({cut} cut, {unanswered} without an answer)" if unanswered else ""
    tokens = tokens_words(progress.tokens, progress.tokens_in_flight)
    return (
        f"traces {progress.traces_running} running / {progress.traces_finished} finished{odd} / {progress.traces_pruned} pruned, "
        f"tokens {tokens}, {progress.tokens_per_s:,.0f} tok/s, about {progress.tokens_saved:,} tokens saved"
    )


def line(progress: Progress) -> str:
    """Return a line for a log."""
    return f"problems {progress.problems_done}/{progress.problems}, {counts(progress)}, ETA {duration(progress.eta_s)}"


class Countdown:
    """Shows how many of a known number of things are done: a bar on a terminal, else a line now and then."""

    def __init__(self, total: int, unit: str, interval_s: float = 10.0) -> None:
        self._total, self._unit, self._interval_s = total, unit, interval_s
        self._done = 0
        self._shown_at = time.monotonic()
        self._bar = tqdm(total=total, unit=f" {unit}", dynamic_ncols=True) if sys.stderr.isatty() else None

    def count(self) -> None:
        """Count one more."""
        self._done += 1
        if self._bar is not None:
            self._bar.update()
        elif time.monotonic() - self._shown_at >= self._interval_s or self._done == self._total:
            self._shown_at = time.monotonic()
            print(f"{self._unit} {self._done}/{self._total}", file=sys.stderr, flush=True)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
