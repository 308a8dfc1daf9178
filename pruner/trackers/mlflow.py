"""MLflow: a server, or a folder."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pruner.trackers.base import TrackedRun, Tracker, TrackerConfig

# MLflow's own limit of parameters in one call, and of their length.
_MAX_PARAMS, _MAX_PARAM = 100, 500


class MlflowTrackerConfig(TrackerConfig):
    """uri: http(s)://..., or file:FOLDER without a server; null: MLFLOW_TRACKING_URI, or else file:.cache/mlflow."""

    name: Literal["mlflow"]
    uri: str | None = None
    experiment: str = "pruner"

    def open(self, run: TrackedRun) -> Tracker | None:
        uri = self.uri or os.environ.get("MLFLOW_TRACKING_URI") or f"file:{Path('.cache/mlflow').absolute()}"
        if uri.startswith("file:"):
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        # A server that is not there is given up after seconds, not minutes.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
        from mlflow import MlflowClient
        from mlflow.entities import Param

        client = MlflowClient(tracking_uri=uri)
        known = client.get_experiment_by_name(self.experiment)
        experiment = client.create_experiment(self.experiment) if known is None else known.experiment_id
        earlier = client.search_runs([experiment], filter_string=f"tags.`pruner.key` = '{run.key}'", max_results=1)
        if earlier:
            return _Mlflow(client, earlier[0].info.run_id)
        tags = {"pruner.key": run.key, "pruner.run": run.group}
        made = client.create_run(experiment, run_name=run.name, tags=tags).info.run_id
        params = [Param(key, str(value)[:_MAX_PARAM]) for key, value in run.config.items()]
        for first in range(0, len(params), _MAX_PARAMS):
            client.log_batch(made, params=params[first : first + _MAX_PARAMS])
        return _Mlflow(client, made)


class _Mlflow:
    def __init__(self, client: Any, run_id: str) -> None:
        self._client, self._run_id = client, run_id

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self._client.log_batch(self._run_id, metrics=[Metric(key, value, now, step) for key, value in numbers.items()])

    def summarize(self, numbers: Mapping[str, float]) -> None:
        self.log(0, {f"run.{name}": value for name, value in numbers.items()})

    def add_file(self, path: Path) -> None:
        self._client.log_artifact(self._run_id, str(path))

    def close(self) -> None:
        self._client.set_terminated(self._run_id)
