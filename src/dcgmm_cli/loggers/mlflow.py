"""MLflow: a run of the experiment `dcgmm` in the directory `<runs_dir>/mlruns`."""

import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

# Its later versions want to be asked for a directory: a database would keep a sweep's processes waiting.
os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")

from filelock import FileLock
from mlflow import MlflowClient
from mlflow.entities import Metric, Param

from dcgmm_cli.loggers.base import LoggedRun

EXPERIMENT = "dcgmm"
STATUS = {"finished": "FINISHED", "interrupted": "KILLED", "failed": "FAILED"}
BATCH = 1000  # measurements at a time, at most


class MLflow:
    """Parameters, metrics, artefacts; a run that goes on is the same run there."""

    known_as: str

    def __init__(self, run: LoggedRun) -> None:
        run.runs_dir.mkdir(parents=True, exist_ok=True)
        with FileLock(run.runs_dir / ".mlruns.lock"):  # others may be making directory and experiment too
            self._client = MlflowClient(tracking_uri=(run.runs_dir / "mlruns").as_uri())
            experiment = self._client.get_experiment_by_name(EXPERIMENT)
            place = experiment.experiment_id if experiment else self._client.create_experiment(EXPERIMENT)
        self._waiting: list[Metric] = []
        if run.known_as is None:
            tags = {"dcgmm.directory": str(run.directory)}
            begun = self._client.create_run(place, tags=tags, run_name=run.name)
            self.known_as = begun.info.run_id
        else:
            self.known_as = run.known_as
            self._client.update_run(self.known_as, status="RUNNING")
        self._set(run.settings)

    def _set(self, settings: Mapping[str, Any]) -> None:
        """Parameters; they are for good, so that what a run goes on with that is new becomes a tag."""
        before = self._client.get_run(self.known_as).data.params
        given = {key: value if isinstance(value, str) else json.dumps(value) for key, value in settings.items()}
        new = [Param(key, value) for key, value in given.items() if key not in before]
        self._client.log_batch(self.known_as, params=new)
        for key, value in given.items():
            if before.get(key, value) != value:
                self._client.set_tag(self.known_as, f"resumed.{key}", value)

    def measured(self, step: int, values: Mapping[str, float]) -> None:
        """Keep metrics for the next `flush`."""
        now = int(1000 * time.time())
        self._waiting += [Metric(name, value, now, step) for name, value in values.items()]

    def flush(self) -> None:
        """Write the metrics."""
        while self._waiting:
            self._client.log_batch(self.known_as, metrics=self._waiting[:BATCH])
            del self._waiting[:BATCH]

    def finished(self, step: int, results: Mapping[str, float], files: Sequence[Path]) -> None:
        """Write figures as metrics, and all files as artefacts."""
        self.measured(step, results)
        self.flush()
        for path in files:
            self._client.log_artifact(self.known_as, str(path), "figures" if path.suffix == ".png" else None)

    def close(self, status: str) -> None:
        """Give the run its status."""
        self._client.set_terminated(self.known_as, STATUS[status])


begin = MLflow
