"""Parts in the same place in all images: the example in `examples/parts`, on few small images."""

import csv
from pathlib import Path

from dcgmm.files import read_json
from examples.parts.generate import write
from tests.dcgmm_cli.commands.conftest import Runner

TRAIN = ["train", "arch=parts", "dataset=folder", "dataset.path=parts/data", "dataset.color=true"]
SHORT = ["dataset.size=[20,20]", "trainer.steps=60", "trainer.annealing.alpha=0.5"]
JUDGE = ["outliers", "run=latest", "outliers.score=worst", "outliers.false_alarms=0.05", "outliers.count=0"]


def test_parts_are_judged_and_scored_by_their_worst_place(dcgmm: Runner, tmp_path: Path) -> None:
    write(tmp_path / "parts", size=32, train=12, judged=4)
    trained = dcgmm(*TRAIN, *SHORT)
    judged, scored = dcgmm(*JUDGE), dcgmm(*JUDGE, "input=parts/new")
    assert (trained.code, judged.code, scored.code) == (0, 0, 0), trained.err + judged.err + scored.err
    result = read_json(judged.directory / "result.json")
    assert (result["score"], result["outliers"]["classes"]) == ("worst", ["missing"])
    with (scored.directory / "scores.csv").open(newline="") as file:
        found = {line["file"] for line in csv.DictReader(file)}
    assert found == {f"{kind}-{number:03d}.png" for kind in ("good", "missing") for number in range(4)}
