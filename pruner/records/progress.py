"""How far a shard is: one record, from the runner to the display, to progress.json and to whoever reads that. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Progress:
    """How far a shard is, all attempts together. The next attempt learns from it how a killed one ended.

    Attributes:
        state: loading, running, writing (all answered, but the results are not written yet), done, interrupted, failed.
        attempt, host, pid, slurm_job_id: the process that reports.
        traces_finished, traces_pruned, traces_cut, traces_unanswered: those of problems that are not answered yet included.
        segments, facts, tokens: sampled or judged; in progress.json those that are committed.
        tokens_in_flight: sampled by requests that still run, as far as the engine has reported.
        tokens_discarded: sampled in this attempt by requests that were cancelled.
        tokens_saved: an estimate, see accounting.unpruned_estimate; net of sampled tokens only.
        work_s: time that engines worked.
        tokens_per_s: of work; requests that run are included, the judge's own tokens are not.
        eta_s: at the rate of all attempts; None while no problem is finished.
        scratch: the checkpoint that is worked on, if that is not the one in the run's folder.
    """

    state: str
    attempt: int
    host: str
    pid: int
    slurm_job_id: str | None
    problems: int
    problems_done: int
    traces_running: int
    segments: int
    tokens: int
    tokens_in_flight: int
    tokens_per_s: float = 0.0
    eta_s: float | None = None
    scratch: str | None = None
    facts: int = 0
    updated_at: str = ""
    message: str | None = None
    traces_finished: int = 0
    traces_pruned: int = 0
    traces_cut: int = 0
    traces_unanswered: int = 0
    tokens_discarded: int = 0
    tokens_saved: int = 0
    work_s: float = 0.0

    @property
    def tokens_lost(self) -> int:
        """Tokens of this attempt that would be in no row if it ended now."""
        return self.tokens_in_flight + self.tokens_discarded

    def after(self, more_s: float = 0.0) -> Progress:
        """Return it with more time of work, and the rates that follow."""
        work_s = self.work_s + more_s
        rate = (self.tokens + self.tokens_in_flight) / work_s if work_s > 0 else 0.0
        left = self.problems - self.problems_done
        eta_s = None if left else 0.0
        if left and self.problems_done > 0 and work_s > 0:
            eta_s = work_s * left / self.problems_done
        return replace(self, work_s=work_s, tokens_per_s=rate, eta_s=eta_s)


NOTHING = Progress("loading", 0, "", 0, None, 0, 0, 0, 0, 0, 0)
