"""Thin entries: each reads its Hydra config, wires the parts of pruner/ together and runs them."""

import sys

from jobs import signals, streams

if sys.argv[:1] == ["-m"]:  # this process is `python -m jobs.<name>`, and the module of that name is not imported yet
    signals.begin(is_resumable=not signals.RESUMABLE.isdisjoint(sys.orig_argv))
    streams.guard()
