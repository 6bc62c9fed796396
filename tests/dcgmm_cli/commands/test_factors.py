"""A model whose components have factors, through all commands."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dcgmm.checkpoints import load_run
from dcgmm.files import read_json
from dcgmm.model.factor_gmm import FactorGMM
from dcgmm_cli import main
from tests.dcgmm_cli.commands.conftest import Runner

LAYERS = (
    "arch.layers=[{type:folding,kernel:[7,7],stride:[7,7]},{type:gmm,components:4,factors:3},"
    "{type:folding,kernel:[4,4]},{type:gmm,components:4}]"
)
DATA = ["dataset=mnist_sample", "dataset.limit=300", "dataset.classes=[0,1,2]"]
# Annealing ends after some 16 epochs of 3 steps, and for 8 more epochs points are held.
HOW = ["trainer.annealing.alpha=0.5", "trainer.annealing.gamma=0.5", "trainer.factor_epochs=8"]
TRAIN = ["train", LAYERS, *DATA, *HOW]
EPOCHS = 40


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One training run for all tests here: each only adds a directory to it."""
    runs = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["dcgmm"])
        patch.setenv("HYDRA_FULL_ERROR", "1")
        assert main.run([*TRAIN, f"trainer.epochs={EPOCHS}", f"runs_dir={runs}"]) == 0
    return (runs / "latest").resolve()


def factors_of(run: Path) -> torch.Tensor:
    gmm = load_run(run).model.gmms["gmm1"]
    assert isinstance(gmm, FactorGMM)
    assert gmm.has_factors == bool(gmm.factors.any())
    return gmm.factors.detach()


def test_training_reaches_the_third_phase_and_tells_of_it(trained: Path) -> None:
    assert factors_of(trained).any()
    assert str(load_run(trained).model.architecture) == "F(7,7,7,7) G(4,3) F(4,4,1,1) G(4)"
    result = read_json(trained / "result.json")
    assert result["status"] == "finished"
    assert result["layers"]["gmm1"]["sigma"] == pytest.approx(0.01)
    assert result["layers"]["gmm1"]["train_log_likelihood"] > 0


@pytest.mark.parametrize(("replicas", "stops"), [(1, (10, 18)), (2, (18,))])
def test_a_run_goes_on_from_any_phase_as_if_it_had_not_stopped(
    replicas: int, stops: tuple[int, ...], dcgmm: Runner
) -> None:
    given, homes = [*TRAIN, f"trainer.replicas={replicas}"], [f"replicas/seed-{seed}" for seed in range(replicas)]
    homes = homes if replicas > 1 else [""]
    whole = dcgmm(*given, "trainer.epochs=26").directory
    parts = dcgmm(*given, f"trainer.epochs={stops[0]}").directory
    begun = [bool(factors_of(parts / homes[0]).any())]
    for epochs in (*stops[1:], 26):
        outcome = dcgmm("train", f"run={parts}", f"trainer.epochs={epochs}")
        assert outcome.code == 0, outcome.err
        begun.append(bool(factors_of(parts / homes[0]).any()))
    assert begun == [stop >= 18 for stop in (*stops, 26)]
    for home in homes:
        expected = load_run(whole / home).model.state_dict()
        for name, value in load_run(parts / home).model.state_dict().items():
            torch.testing.assert_close(value, expected[name], rtol=0 if replicas == 1 else 1e-3, atol=1e-4)


def test_samples_are_drawn_with_scales_for_both_kinds_of_noise(trained: Path, dcgmm: Runner, installed: Runner) -> None:
    quick = ["sampling.count=20", "quality.count=0"]
    outcome = installed("sample", f"run={trained}", *quick, "sampling.std_scale=0.3", "sampling.factor_scale=[0.5,1]")
    assert outcome.code == 0, outcome.err
    images = {}
    for scale in ("0", "1"):
        outcome = dcgmm("sample", f"run={trained}", *quick, "sampling.std_scale=0", f"sampling.factor_scale={scale}")
        assert outcome.code == 0, outcome.err
        pictures = sorted((outcome.directory / "figures").glob("*.png"))
        images[scale] = np.asarray(Image.open(pictures[0]))
    assert not np.array_equal(images["0"], images["1"])


@pytest.mark.parametrize("command", ["sharpen", "visualize", "outliers", "cluster"])
def test_every_command_takes_it(command: str, trained: Path, dcgmm: Runner) -> None:
    outcome = dcgmm(command, f"run={trained}", *(["quality.count=0"] if command == "sharpen" else []))
    assert outcome.code == 0, outcome.err
    result = read_json(outcome.directory / "result.json")
    assert (result["command"], result["status"]) == (command, "finished")
    figures = {path.stem for path in (outcome.directory / "figures").glob("*.png")}
    assert figures
    if command == "visualize":
        assert "factors_gmm1" in figures
        assert "factors_gmm2" not in figures
        gmm = load_run(trained).model.gmms["gmm1"]
        variance = float(gmm.variance.detach().mean())
        assert result["layers"]["gmm1"]["mean_variance"] == pytest.approx(variance, rel=1e-5)
        assert variance > float(gmm.precision_sqrt.detach().pow(-2).mean())


FOLDING = "{type:folding,kernel:[7,7],stride:[7,7]}"


@pytest.mark.parametrize(
    ("layers", "named"),
    [
        (f"{FOLDING},{{type:gmm,components:4,factors:-1}}", "2: factors 0 -1"),
        (f"{FOLDING},{{type:gmm,components:4,factors:49}}", "2 G(4,49): factors 1 48 49"),
        (f"{FOLDING},{{type:gmm,components:5,factors:3}}", "2 G(5,3): components 4 5"),
        ("{type:gmm,components:4,factors:1}", "1 G(4,1): factors 0 1"),
        (
            f"{FOLDING},{{type:gmm,components:4}},{{type:pooling,kernel:[2,2],factors:3}}",
            "3: factors pooling kernel stride",
        ),
    ],
)
def test_factors_that_cannot_be_get_one_line_and_code_2(layers: str, named: str, dcgmm: Runner) -> None:
    dcgmm("train", f"arch.layers=[{layers}]", *DATA).check_refused(*named.split(), alone=False)


@pytest.mark.parametrize(
    ("command", "argument", "named"),
    [
        ("train", "trainer.learning_rate.factors=-1", "trainer.learning_rate.factors 0 -1.0"),
        ("train", "trainer.factor_epochs=-1", "trainer.factor_epochs 0 -1.0"),
        ("train", "gmm.factor_floor=1", "gmm.factor_floor (0, 1) 1.0"),
        ("sample", "sampling.factor_scale=[1,1,1]", "sampling.factor_scale one 2 [1, 1, 1]"),
        ("sample", "sampling.factor_scale=-1", "sampling.factor_scale 0 -1"),
    ],
)
def test_options_that_cannot_be_get_one_line_and_code_2(
    command: str, argument: str, named: str, trained: Path, dcgmm: Runner
) -> None:
    outcome = dcgmm(command, argument, *([f"run={trained}"] if command == "sample" else DATA))
    outcome.check_refused(*named.split(), alone=False)
