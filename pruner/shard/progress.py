"""The progress display: a tqdm bar on a terminal, plain lines at intervals in a log. Owns tqdm."""

from __future__ import annotations

import sys
import time

from tqdm import tqdm

from pruner.results.status import duration, tokens_words
from pruner.shard.runner import Status
from pruner.system.lines import log


class ProgressDisplay:
    """Shows a shard's status. `is_bar`: None shows a bar on a terminal only."""

    def __init__(self, interval_s: float, is_bar: bool | None) -> None:
        self._interval_s = interval_s
        self._is_bar = sys.stderr.isatty() if is_bar is None else is_bar
        self._bar: tqdm[None] | None = None
        self._shown_at = time.monotonic()

    def show(self, status: Status) -> None:
        """Show a status; cheap enough to be called at every engine step."""
        if self._is_bar:
            self._show_bar(status)
        elif time.monotonic() - self._shown_at >= self._interval_s:
            self._shown_at = time.monotonic()
            log(line(status))

    def close(self, status: Status) -> None:
        """Show the last status."""
        if self._bar is not None:
            self._show_bar(status)
            self._bar.close()
        else:
            log(line(status))

    def _show_bar(self, status: Status) -> None:
        if self._bar is None:
            self._bar = tqdm(total=status.problems, initial=status.problems_done, unit="problem", dynamic_ncols=True)
        self._bar.set_postfix_str(counts(status), refresh=False)
        self._bar.update(status.problems_done - self._bar.n)
        if time.monotonic() - self._shown_at >= 0.5:
            self._shown_at = time.monotonic()
            self._bar.refresh()


def counts(status: Status) -> str:
    """Return the numbers beside the bar."""
    odd = (
        f" ({status.traces_cut} cut, {status.traces_unanswered} without an answer)" if status.traces_unanswered else ""
    )
    return (
        f"traces {status.traces_running} running / {status.traces_finished} finished{odd} / {status.traces_pruned} pruned, "
        f"tokens {tokens_words(status.tokens, status.tokens_in_flight)}, {status.tokens_per_s:,.0f} tok/s, about {status.tokens_saved:,} tokens saved"
    )


def line(status: Status) -> str:
    """Return a line for a log."""
    return f"problems {status.problems_done}/{status.problems}, {counts(status)}, ETA {duration(status.eta_s)}"


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
