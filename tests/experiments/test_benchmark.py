"""The benchmark of outlier detectors: its tasks, corruptions, peers, and the quick run."""

import csv
import statistics
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import multivariate_normal

from dcgmm.checkpoints import load_run
from dcgmm.files import read_json
from dcgmm.outliers import Ensemble
from dcgmm.outliers.metrics import auroc
from experiments.benchmark import report, votes
from experiments.benchmark.__main__ import main
from experiments.benchmark.collect import collect
from experiments.benchmark.configuration import ARCHITECTURES, MEMBERS
from experiments.benchmark.corruptions import CORRUPTIONS, STRENGTHS, corrupted
from experiments.benchmark.measuring import measured
from experiments.benchmark.peers import PEERS, fitted_images, kernel_density
from experiments.benchmark.plan import Study, plan, quick
from experiments.benchmark.tasks import CLASSES, TrainingSet, judging, training_sets
from experiments.benchmark.work import command

SAMPLE = "_sample"


def test_the_tasks_are_those_of_the_protocol() -> None:
    sets = training_sets()
    assert len({each.name for each in sets}) == len(sets) == 28
    groups = [each.group for each in sets]
    assert [groups.count(name) for name in ("one", "several", "half", "other")] == [20, 4, 2, 2]


@pytest.mark.parametrize("classes", [(3,), (0, 1, 2), tuple(range(7)), (0, 1, 2, 3, 4)])
def test_inliers_are_test_images_of_the_classes(classes: tuple[int, ...]) -> None:
    import dcgmm

    training = TrainingSet("mnist", classes)
    judged = judging(training, SAMPLE, 0)
    labels = dcgmm.datasets.load("mnist_sample").test.labels.numpy()
    ((inliers, outliers),) = judged.tasks.values()
    assert set(labels[inliers.rows]) == set(classes)
    assert set(labels[outliers.rows]) == set(range(CLASSES)) - set(classes)
    if training.group == "several":
        assert len(inliers.rows) == len(outliers.rows)
    else:
        assert len(inliers.rows) + len(outliers.rows) == len(labels)
    assert judged.aurocs(lambda images: np.isin(labels, classes) * 1.0) == {f"{training.group} {training.name}": 1.0}


def test_all_classes_are_judged_by_the_other_data_set_and_by_corruptions() -> None:
    judged = judging(TrainingSet("fashion_mnist"), SAMPLE, 0)
    assert set(judged.tasks) == {
        "other fashion_mnist-all",
        *(f"corrupted fashion_mnist {name}" for name in CORRUPTIONS),
    }
    aurocs = judged.aurocs(lambda images: np.zeros(len(images)))
    assert set(aurocs.values()) == {0.5}


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_corruptions_change_images_and_follow_the_seed(name: str) -> None:
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 200, (3, 28, 28, 1), dtype=np.uint8))
    found = corrupted(name, images, 1)
    assert (found.dtype, found.shape) == (images.dtype, images.shape)
    assert not torch.equal(found, images)
    assert torch.equal(found, corrupted(name, images, 1))
    assert name in STRENGTHS


def test_lines_cross_every_column_and_leave_the_rest() -> None:
    dark = corrupted("lines", torch.zeros(4, 28, 28, 1, dtype=torch.uint8), 0)
    assert set(dark.unique().tolist()) == {0, 255}
    assert (dark == 255).any(1).all()


def test_stripes_and_shear_are_undone_or_keep_the_middle() -> None:
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 28, 28, 1), dtype=np.uint8))
    assert torch.equal(corrupted("stripes", corrupted("stripes", images, 0), 0), images)
    upright = torch.zeros(1, 27, 27, 1, dtype=torch.uint8)
    upright[:, :, 13] = 255
    sheared = corrupted("shear", upright, 0)[0, :, :, 0]
    assert sheared[13, 13] == 255
    assert int(sheared[13 + 4].argmax()) != int(sheared[13 - 4].argmax())


def test_kernel_density_is_a_mixture_at_the_training_images() -> None:
    generator = np.random.default_rng(0)
    train, new = (generator.normal(size=(count, 3)).astype(np.float32) for count in (40, 6))
    found = kernel_density(train, 0)(new)
    densities = [
        np.log(np.mean([multivariate_normal(mean, width**2).pdf(new) for mean in train], axis=0))
        for width in np.geomspace(0.5, 8, 13)
    ]
    # Less a constant, it is that of one of the widths.
    assert min(np.ptp(found - each) for each in densities) < 1e-4


@pytest.mark.parametrize("name", [name for name, peer in PEERS.items() if peer.package == "sklearn"])
def test_peers_score_high_for_inliers(name: str) -> None:
    generator = np.random.default_rng(0)
    train, inliers = (generator.uniform(0.4, 0.6, (count, 64)).astype(np.float32) for count in (200, 20))
    score = PEERS[name].fit(train, 0)
    outliers = generator.uniform(0, 1, (20, 64)).astype(np.float32)
    assert score(inliers).mean() > score(outliers).mean()


def test_quadratic_methods_get_a_draw_of_the_images() -> None:
    images = torch.arange(7000).remainder(256).byte().view(-1, 1, 1, 1).expand(-1, 2, 2, 1)
    drawn = fitted_images(PEERS["svm"], images, 0)
    assert drawn.shape == (6000, 4)
    assert np.array_equal(drawn, fitted_images(PEERS["svm"], images, 0))
    assert len(fitted_images(PEERS["nearest"], images, 0)) == 7000


def test_one_seed_of_everything_comes_first() -> None:
    jobs = plan(Study(Path("root"), seeds=2), ["run"], ["pca"])
    assert len(jobs) == len({job.name for job in jobs}) == 2 * 28 * (len(MEMBERS) + 2 + 2 * len(ARCHITECTURES))
    by_seed = [{job.level for job in jobs if job.name.endswith(f"seed-{seed}")} for seed in (0, 1)]
    assert max(by_seed[0]) < min(by_seed[1])
    lengths = {word for job in jobs for word in job.arguments if word.startswith(("trainer.steps", "trainer.epochs"))}
    assert lengths == {"trainer.steps=3600", "trainer.epochs=25"}


def test_work_is_measured() -> None:
    cost: dict[str, float] = {}
    with measured(cost):
        block = np.ones(30_000_000)
    assert block.sum() == 30_000_000
    assert cost["seconds"] >= cost["cpu_seconds"] > 0
    assert cost.get("memory_mb", 300) > 200


@pytest.mark.slow  # CI takes it by `make benchmark-outliers-quick`
def test_the_quick_run(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "runs"
    words = ["run", "--quick", "--root", str(root), "--jobs", "1", "--peers", "nearest", "full"]
    assert main(words) == 0
    page = root / "results" / report.PAGE
    assert capfd.readouterr().out.splitlines()[-1] == str(page)
    assert "its figures mean nothing" in page.read_text()
    with (page.parent / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["group"] for row in rows} == {"one", "half", "other", "corrupted"}
    alone = [row["method"] for row in rows if row["task"] == "mnist-01234" and row["method"].startswith("1L ")]
    assert alone == ["1L log_prob", "1L pixels", "1L auto"]
    assert page.read_text().count("| 1L log_prob |") == 1
    vote = next(row for row in rows if (row["method"], row["task"]) == ("vote", "mnist-0"))
    judged = read_json(root / "judge" / "vote" / "mnist-0" / "seed-0" / "result.json")
    assert float(vote["auroc"]) == pytest.approx(judged["auroc"]["vote"]["one mnist-0"], rel=1e-5)
    assert float(vote["seconds"]) > judged["seconds"]
    with Image.open(page.parent / "per-class.png") as image:
        assert min(image.size) > 300
    # Nothing is run again.
    assert main(words) == 0
    assert "0 of 32 jobs to do" in capfd.readouterr().err


def test_peers_alone(tmp_path: Path) -> None:
    study = quick(tmp_path / "runs")
    for job in plan(study, ["peers"], ["pca"]):
        assert not job.is_done()
        assert command(list(job.arguments)) == 0
        assert job.is_done()
    report.write_report(collect(study), tmp_path / "out", quick=True)
    page = (tmp_path / "out" / report.PAGE).read_text()
    assert "PCA(50), reconstruction" in page
    assert "vote of" not in page


def kept_scores(generator: np.random.Generator, shift: float) -> dict[str, np.ndarray]:
    """Scores of a model whose `ratio` sees outliers by so much."""
    sizes = {"train": 300, "inliers": 200, "outliers": 200}
    names = ("joint", "ratio", "pixels", "gmm1_log_prob", "gmm2_log_prob")
    return {
        f"{name}/{kind}": generator.normal(-shift * (name == "ratio" and kind == "outliers"), 1, size)
        for name in names
        for kind, size in sizes.items()
    }


def test_the_rule_finds_scores_that_tell_outliers_together() -> None:
    generator = np.random.default_rng(0)
    tasks = [f"{dataset} {kind} {label}" for dataset in ("a", "b") for kind in ("one", "four") for label in range(2)]
    kept = {(task, model): kept_scores(generator, 1.5) for task in tasks for model in ("first", "second")}
    ranked = votes.rank(kept, ("first", "second"))
    assert len(ranked) == 2 * 4 + 16 * 4
    criterion, name, means = ranked[0]
    assert name.startswith("first ratio, second ratio: ")
    assert set(means) == {"a one", "a four", "b one", "b four"}
    assert criterion == pytest.approx(np.exp(np.mean(np.log(1 - np.array(list(means.values()))))))
    alone = next(mean for _, name, mean in ranked if name == "first ratio")
    task = kept["a one 0", "first"], kept["a one 1", "first"]
    assert alone["a one"] == pytest.approx(np.mean([auroc(e["ratio/inliers"], e["ratio/outliers"]) for e in task]))


def test_the_soft_minimum_lies_between_smallest_and_mean() -> None:
    z = np.random.default_rng(0).normal(size=(3, 50))
    soft = votes.soft_minimum(z)
    assert (z.min(0) <= soft).all()
    assert (soft <= z.mean(0)).all()
    assert votes.soft_minimum(z[:1]) == pytest.approx(z[0])


@pytest.mark.slow
def test_members_judged_together_are_the_ensemble(tmp_path: Path) -> None:
    study = quick(tmp_path / "runs")
    study = replace(study, sets=study.sets[:1])
    for job in plan(study, ["models"], []):
        assert command(list(job.arguments)) == 0
    (training,) = study.sets
    runs = [study.directory("train", arch, training, 0) for arch in MEMBERS]
    ensemble = Ensemble.of([load_run(run).detector() for run in runs], load_run(runs[0]).data().train.images)
    expected = judging(training, SAMPLE, 0).aurocs(lambda images: ensemble.scores(images)["vote"].numpy())
    found = read_json(study.directory("judge", "vote", training, 0) / "result.json")["auroc"]["vote"]
    assert found == pytest.approx(expected)


def test_means_stand_where_all_tasks_were_run() -> None:
    rows = [
        {"method": "pca", "group": "one", "task": f"mnist-{label}", "seed": seed, "auroc": label / 10}
        for seed in (0, 1)
        for label in range(10)
        if (seed, label) != (1, 7)
    ]
    tasks = report.columns(rows, "one")["MNIST, mean of ten"]
    assert report.means(rows, "pca", tasks, "one") == [pytest.approx(statistics.fmean(range(10)) / 10)]
    assert report.means(rows, "pca", tasks[:5], "one") == [pytest.approx(0.2)] * 2


@pytest.mark.parametrize(
    ("words", "message"), [(["fig3"], "invalid choice"), (["run", "--peers", "x"], "invalid choice")]
)
def test_bad_arguments(words: list[str], message: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert message in capfd.readouterr().err
