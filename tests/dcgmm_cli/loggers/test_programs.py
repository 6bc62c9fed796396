"""The programs themselves, where they are installed: what they have been told can be read with their own readers."""

import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dcgmm_cli.figures.base import save_image
from dcgmm_cli.loggers.base import LoggedRun, Logger

pytestmark = pytest.mark.filterwarnings("ignore")  # of their own, and of what they import
SETTINGS = {"trainer.epochs": 2, "arch.layers": [{"type": "gmm"}], "arch.name": "1L", "run": None}


@pytest.fixture
def run(tmp_path: Path) -> LoggedRun:
    directory = tmp_path / "1L-mnist" / "a"
    save_image(torch.rand(4, 5, 3), directory / "figures" / "training.png")
    (directory / "metrics.jsonl").write_text("{}\n")
    return LoggedRun(directory, tmp_path, SETTINGS)


def told(logger: Logger, run: LoggedRun, *steps: int, status: str = "finished") -> str | None:
    """A start's life in a logger; what it calls the run."""
    for step in steps:
        logger.measured(step, {"epoch": step / 10, "gmm1/sigma": 1 / step})
    logger.flush()
    if status == "finished":
        files = [run.directory / "metrics.jsonl", run.directory / "figures" / "training.png"]
        logger.finished(steps[-1], {"layers.gmm1.test_log_likelihood": 2.5}, files)
    logger.close(status)
    return logger.known_as


def records(content: bytes) -> bytes:
    """What a file of Weights & Biases holds, without the headers in it: it is in blocks, as LevelDB's logs are."""
    at, parts, block, header = 7, list[bytes](), 32768, 7
    while at + header <= len(content):
        if (left := block - at % block) < header:
            at += left
            continue
        size = int.from_bytes(content[at + 4 : at + 6], "little")
        parts.append(content[at + header : at + header + size])
        at += header + size
    return b"".join(parts)


def test_tensorboard(run: LoggedRun) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("tensorboard")
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        from dcgmm_cli.loggers.tensorboard import begin
    told(begin(run), run, 10, 20, status="interrupted")
    told(begin(run), run, 30)
    events = EventAccumulator(str(run.directory / "tensorboard")).Reload()
    assert [(event.step, event.value) for event in events.Scalars("gmm1/sigma")] == [
        (step, pytest.approx(1 / step)) for step in (10, 20, 30)
    ]
    assert events.Scalars("result/layers.gmm1.test_log_likelihood")[0].value == 2.5
    (picture,) = events.Images("training")
    assert (picture.step, picture.width, picture.height) == (30, 5, 4)


def test_mlflow(run: LoggedRun) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("mlflow")
        from mlflow import MlflowClient

        from dcgmm_cli.loggers.mlflow import begin
    known_as = told(begin(run), run, 10, 20, status="interrupted")
    assert known_as is not None
    client = MlflowClient(tracking_uri=(run.runs_dir / "mlruns").as_uri())
    assert client.get_run(known_as).info.status == "KILLED"
    longer = replace(run, known_as=known_as, settings={**SETTINGS, "trainer.epochs": 3})
    assert told(begin(longer), longer, 30) == known_as
    found = client.get_run(known_as)
    assert (found.info.status, found.info.run_name) == ("FINISHED", "1L-mnist/a")
    assert found.data.params == {
        **{"trainer.epochs": "2", "arch.layers": '[{"type": "gmm"}]'},
        **{"arch.name": "1L", "run": "null"},
    }
    assert found.data.tags["resumed.trainer.epochs"] == "3"
    assert [each.step for each in client.get_metric_history(known_as, "gmm1/sigma")] == [10, 20, 30]
    assert found.data.metrics["layers.gmm1.test_log_likelihood"] == 2.5
    assert {each.path for each in client.list_artifacts(known_as)} == {"figures", "metrics.jsonl"}
    told(begin(run), run, 10)  # another run is another
    (experiment,) = [each for each in client.search_experiments() if each.name == "dcgmm"]
    assert len(client.search_runs([experiment.experiment_id])) == 2


def test_wandb_without_a_network(run: LoggedRun) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wandb = pytest.importorskip("wandb")
        from dcgmm_cli.loggers.wandb import begin
    known_as = told(begin(run), run, 10, 20)
    wandb.teardown()  # its own process has written all once it has ended
    (written,) = run.directory.glob("wandb/offline-run-*/run-*.wandb")
    assert written.name == f"run-{known_as}.wandb"
    content = records(written.read_bytes())
    names = (b"gmm1/sigma", b"layers.gmm1.test_log_likelihood", b"figures/training")
    assert [name for name in names if name not in content] == []
    assert list(run.directory.glob("wandb/offline-run-*/files/media/**/*.png"))
