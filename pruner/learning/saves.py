"""The saves of a training that may be killed at any time."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

CHECKPOINTS = "checkpoints"
_STATE = "trainer_state.json"


def last_whole_save(checkpoints: Path) -> Path | None:
    """Return the newest save whose state file, which is written last, can be read; delete newer ones, cut off by a kill."""
    saves = sorted(checkpoints.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]), reverse=True)
    for save in saves:
        try:
            json.loads((save / _STATE).read_text())
        except (OSError, ValueError):
            shutil.rmtree(save, ignore_errors=True)
            continue
        return save
    return None
