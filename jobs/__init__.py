"""The commands: `python -m jobs.<name>`, one file per command.

Each reads its configuration or arguments, wires parts of pruner/ together and runs them; the work itself is in pruner/. The commands
share entry.py (with Hydra), command.py (without Hydra), compose.py, signals.py and streams.py, and none imports another.
"""

import sys

from jobs import signals, streams

if sys.argv[:1] == ["-m"]:  # this process is `python -m jobs.<name>`, and the module of that name is not imported yet
    signals.begin(is_resumable=not signals.RESUMABLE.isdisjoint(sys.orig_argv))
    streams.guard()
    streams.name_lack_of_memory()
