import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from dcgmm.files import write_json
from dcgmm_cli import main
from experiments.paper.plan import (
    ALL_CLASSES,
    EVERYTHING,
    FIRST_FIVE,
    FULL,
    ITEMS,
    QUICK,
    REPORT,
    Job,
    Scale,
    Study,
    plan,
)
from experiments.paper.published import ARCHS, DATASETS

STUDY = Study(Path("root"), FULL)
SMALL = Study(Path("root"), Scale(seeds=2))


def test_every_model_is_trained_once_and_serves_all_that_needs_it() -> None:
    jobs = plan(STUDY, [EVERYTHING])
    assert len({job.name for job in jobs}) == len({job.directory or job.name for job in jobs}) == len(jobs)
    assert Counter(job.arguments[0] for job in jobs) == {
        "data": 2,
        "train": 2 * 8 * 2 * 10,
        "outliers": 160,
        "cluster": 160,
        "sample": 160 + 2 * 10 + 2 * 4,
        "sharpen": 3 * 2 * 10,
        "visualize": 1,
    }


def test_each_job_comes_after_those_that_it_needs() -> None:
    for cuda in (False, True):
        seen: set[str] = set()
        for job in plan(SMALL, [EVERYTHING], cuda):
            assert seen.issuperset(job.needs), job.name
            seen.add(job.name)


def test_every_architecture_has_one_seed_before_any_has_two() -> None:
    first = [job for job in plan(SMALL, [EVERYTHING]) if job.level == 0]
    runs = {job.directory for job in first if job.arguments[0] == "train"}
    seeds = {arch: SMALL.seeds(arch)[0] for arch in ARCHS}
    assert runs == {
        SMALL.run(experiment, arch, dataset, seeds[arch])
        for experiment in (FIRST_FIVE, ALL_CLASSES)
        for dataset in DATASETS
        for arch in ARCHS
    }
    assert {job.level for job in plan(SMALL, [EVERYTHING])} == {0, 1}


def test_2le_is_another_draw_than_2lc() -> None:
    assert not set(STUDY.seeds("2L-c")) & set(STUDY.seeds("2L-e"))


def test_a_target_asks_for_no_more_than_it_needs() -> None:
    figure = plan(SMALL, ["fig4"])
    assert {job.kind.split()[-1] for job in figure} == {"data", "mnist"}
    trained = {job.kind for job in figure if job.arguments[0] == "train"}
    assert trained == {f"train {FIRST_FIVE} {arch} mnist" for arch in ("1L", "2L-c", "2L-d", "2L-e")}
    assert plan(SMALL, ["table1", REPORT]) == []
    assert {job.name for job in plan(SMALL, ITEMS)} < {job.name for job in plan(SMALL, [EVERYTHING])}
    for item in ITEMS[1:]:
        assert plan(SMALL, [item]), item


def test_on_a_gpu_one_job_trains_all_seeds_and_the_rest_is_the_same() -> None:
    on_cpu, on_gpu = plan(STUDY, [EVERYTHING]), plan(STUDY, [EVERYTHING], cuda=True)
    trainings = [job for job in on_gpu if job.on_gpu]
    assert {job.arguments[0] for job in trainings} == {"train"}
    assert len(trainings) == 2 * 8 * 2
    runs = [job.directory for job in on_cpu if job.arguments[0] == "train"]
    assert sorted(run for job in trainings for run in job.results) == sorted(filter(None, runs))
    rest = [[(job.name, job.arguments) for job in jobs if job.arguments[0] != "train"] for jobs in (on_cpu, on_gpu)]
    assert rest[0] == rest[1]
    made = {job.name: job for job in trainings}["train/first_five/2L-e-mnist/together-100-109"]
    assert {"seed=100", "trainer.replicas=10", "trainer.device=cuda"} <= set(made.arguments)


def test_an_interrupted_training_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    job = next(job for job in plan(Study(tmp_path, FULL), ["table2"]) if job.arguments[0] == "train")
    assert job.directory is not None
    assert job.command_line() == list(job.arguments)
    (job.directory / "checkpoints").mkdir(parents=True)
    (job.directory / "checkpoints" / "last.pt").touch()
    assert job.command_line() == [
        "train",
        f"run={job.directory}",
        f"runs_dir={tmp_path}",
        "trainer.device=cpu",
        "trainer.threads=1",
    ]


@pytest.mark.parametrize("status", ["failed", "interrupted"])
def test_a_job_that_did_not_finish_is_not_done(tmp_path: Path, status: str) -> None:
    job = plan(Study(tmp_path, FULL), ["table2"])[-1]
    assert job.directory is not None
    assert not job.is_done()
    write_json(job.directory / "result.json", {"status": status})
    assert not job.is_done()
    write_json(job.directory / "result.json", {"status": "finished"})
    assert job.is_done()


@pytest.mark.parametrize("scale", [FULL, QUICK], ids=["full", "quick"])
def test_all_commands_are_such_as_dcgmm_takes(
    scale: Scale, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["dcgmm"])
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    kinds: dict[str, Job] = {}
    for job in plan(Study(tmp_path, scale), [EVERYTHING]):
        if job.arguments[0] != "data":
            kinds.setdefault(" ".join(job.kind.split()[:2]), job)
    assert len(kinds) == 11
    for kind, job in kinds.items():
        if job.arguments[0] != "train":
            write_json(tmp_path / job.needs[0] / "meta.json", {})  # what a run is known by
        assert main.run([*job.arguments, "--cfg", "job"]) == 0, kind
        shown = capfd.readouterr().out
        if kind.startswith("train"):
            assert ("epochs: 25" in shown) is (scale is FULL)
            assert ("classes: null" in shown) is (kind == f"train {ALL_CLASSES}")


def test_the_plan_imports_nothing_slow() -> None:
    # Every worker imports it before its first job, and a `--help` before it answers.
    code = "import sys, experiments.paper.worker, experiments.paper.__main__; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2]).returncode == 0
