"""How the checkpoint is kept; `checkpoint` in conf/config.yaml holds the values."""

from __future__ import annotations

from pruner.settings.section import CheckpointPath, Pause, Positive, Seconds, Section


class CheckpointConfig(Section):
    """Facts are committed every so many seconds or segments, whichever is first. lock_wait_s: how long to wait for another
    process that works on the shard. dir: where the checkpoint is worked on, e.g. node-local scratch; it is copied into the
    run's folder every copy_every_s seconds and at the end. null: worked on in the run's folder. rederive: forget derived rows
    and compute them again from the facts. drain_s: once asked to stop, running segments get so many seconds to end; null: near a time
    limit of Slurm's what is left of it, less half a minute, else none."""

    every_s: Seconds
    every_segments: Positive
    lock_wait_s: Pause
    dir: CheckpointPath | None = None
    copy_every_s: Seconds = 60.0
    rederive: bool = False
    drain_s: Pause | None = None
