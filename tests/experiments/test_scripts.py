"""The scripts of the smaller studies, on a model that is trained for a moment, and the architectures of theirs."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import dcgmm
from dcgmm_cli import main
from experiments.outliers import one_class, peers, proxies
from experiments.sharpening import check, sweep
from experiments.textures import judge

ARCHITECTURES = {
    "1L-outliers": "x^0.3 F(28,28,1,1) G(100)",
    "2L-outliers": "x^0.5 F(5,5,2,2) G(49) F(12,12,1,1) G(36)",
    "3L-outliers": "F(3,3,1,1) G(25) P(2,2) F(4,4,1,1) G(49) P(2,2) F(5,5,1,1) G(49)",
}
MOMENT = ("dataset.limit=300", "trainer.epochs=1", "trainer.annealing.alpha=1", "trainer.threads=1")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory: Path = tmp_path_factory.mktemp("runs") / "2L-a"
    words = ["arch=2L-a", "dataset=mnist_sample", "dataset.classes=[0,1]", f"hydra.run.dir={directory}"]
    assert main.run(["train", *words, *MOMENT]) == 0
    return directory


@pytest.mark.parametrize(("name", "notation"), ARCHITECTURES.items())
def test_architectures_for_outliers_are_given_by_their_folder(name: str, notation: str, tmp_path: Path) -> None:
    folder = ["--config-dir", str(proxies.CONFIG_DIR)]
    words = [f"arch={name}", "dataset=mnist_sample", f"hydra.run.dir={tmp_path}/run", *MOMENT]
    assert main.run(["train", *folder, *words]) == 0
    configured = dcgmm.load_run(tmp_path / "run").config["arch"]
    assert str(dcgmm.Architecture(**configured)) == notation
    assert sorted(path.stem for path in (proxies.CONFIG_DIR / "arch").iterdir()) == sorted(ARCHITECTURES)


@pytest.mark.parametrize("peer", [peers.nearest_neighbour, peers.pca_reconstruction])
def test_peers_see_the_split_of_the_run(run: Path, peer: Callable[[peers.Points, int], peers.Scorer]) -> None:
    name, train, inliers, outliers = peers.split(run)
    assert name == "mnist_sample 0,1 against 2,3,4,5,6,7,8,9"
    assert train.max() <= 1
    score = peer(train, 0)
    assert score(inliers).mean() > score(outliers).mean()


def test_sharpening_is_judged_before_and_after(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    threads = torch.get_num_threads()
    check.main(tmp_path / "out.json", 20, 2, [run])
    torch.set_num_threads(threads)
    assert "| 2L-a, mnist_sample | 2 |" in capsys.readouterr().out
    (judged,) = json.loads((tmp_path / "out.json").read_text())
    assert judged["options"]["layers"] == ["folding2"]  # the architecture's own
    assert [draw["seed"] for draw in judged["draws"]] == [100, 101]
    for draw in judged["draws"]:
        ((before, after),) = draw["log_likelihood"].values()
        assert after > before


def test_the_sweep_has_a_row_of_draws_for_each_setting(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = dcgmm.load_run(run).model
    settings = sweep.settings_of(model)
    few = {name: setting for name, setting in settings.items() if "paper" not in name}
    assert len(few) == len(settings) - 1
    monkeypatch.setattr(sweep, "settings_of", lambda model: few)
    sweep.main(run, tmp_path, 20)
    assert {path.name for path in tmp_path.iterdir()} == {"2L-a-mnist_sample.json", "2L-a-mnist_sample.png"}
    images = dcgmm.sample(model, 20).images.clamp(0, 1)
    assert sweep.log_likelihoods(model, images)["gmm2"] == pytest.approx(float(model.log_prob(images).mean()))


def test_a_proxy_task_is_judged_by_every_score(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    figures = proxies.judged(tmp_path, "2L-b", "mnist_sample", [3], list(MOMENT))
    assert set(figures) == set(proxies.SCORES)
    assert all(0 <= value <= 1 for value in figures.values())
    assert (tmp_path / "latest").samefile(tmp_path / "2L-b-mnist_sample-3")  # and not that of the checkout
    capfd.readouterr()
    assert proxies.judged(tmp_path, "2L-b", "mnist_sample", [3], list(MOMENT)) == figures
    assert not capfd.readouterr().out  # found again


def test_proxies_name_their_tasks() -> None:
    assert proxies.name([3, 4]) == "3+4"
    shown = proxies.table("1L", {"mnist 0": {"log_prob": 0.5}, "mnist 1": {"log_prob": 0.7}})
    assert shown.splitlines()[-1] == "| `log_prob` | 0.500 | 0.700 | 0.600 |"


def test_textures_are_judged_once_and_drawn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"SIZE": 40, "TRAIN": 4, "GOOD": 6, "MAPPED": 3, "BAD": 2}.items():
        monkeypatch.setattr(judge, name, value)
    output = tmp_path / "results.json"
    monkeypatch.setattr("sys.argv", ["judge.py", "--seeds", "1", "--steps", "4", "--output", str(output)])
    judge.main()
    first = output.read_text()
    figures = json.loads(first)["weave-1"]
    assert 0 <= figures["missing"]["pixel_auroc"] <= 1
    assert (tmp_path / "maps.png").is_file()
    monkeypatch.setattr(judge, "judged", None)  # nothing is done again
    judge.main()
    assert output.read_text() == first
    printed = capsys.readouterr().out
    assert "| grain | 1 |" in printed
    assert printed.count("| tiles | 1 |") == 2


def test_one_class_is_told_from_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fit = dcgmm.fit
    monkeypatch.setattr(
        dcgmm, "fit", lambda *given, **options: fit(*given, **options, steps=40, annealing={"alpha": 1})
    )
    figures = one_class.judged("1L", "mnist_sample", 1, 0)
    assert figures.keys() == set(one_class.SCORES)
    assert figures["joint"] > 0.9  # a 1 is easily told
    (tmp_path / "found.json").write_text(json.dumps({f"1L mnist_sample {label}": figures for label in range(10)}))
    monkeypatch.setattr("sys.argv", ["", "1L", "--datasets", "mnist_sample", "--output", str(tmp_path / "found.json")])
    one_class.main()
    assert "| 1L, mnist_sample | 10 |" in capsys.readouterr().out
