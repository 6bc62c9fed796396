import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dcgmm.checkpoints import load_run, read_state, write_state
from dcgmm.datasets import load
from dcgmm.datasets.names import counted
from dcgmm.files import DETECTOR, read_json
from dcgmm.outliers import Detector
from dcgmm.outliers.options import MODEL_SCORES
from dcgmm_cli.commands.outliers import gallery
from tests.dcgmm_cli.commands.conftest import QUICK, Runner

TRAIN = [*QUICK, "dataset.classes=[0,1,2]"]
FIGURES = ("curve", "histograms", "most_outlying", "least_outlying")


def save_digits(folder: Path) -> None:
    """Three images, one of them half painted over, and three that cannot be used."""
    (folder / "sub").mkdir(parents=True)
    generator = torch.Generator().manual_seed(0)
    for name in ("a", "sub/b", "damaged"):
        pixels = torch.zeros(28, 28)
        pixels[4:24, 12:16] = 0.9
        if name == "damaged":
            pixels[16:24, 2:10] = torch.rand(8, 8, generator=generator)
        Image.fromarray(pixels.mul(255).byte().numpy()).save(folder / f"{name}.png")
    (folder / "broken.png").write_bytes(b"no image")
    Image.fromarray(np.zeros((20, 28), np.uint8)).save(folder / "small.png")


def test_judging_leaves_what_is_documented(installed: Runner, dcgmm: Runner, tmp_path: Path) -> None:
    trained = dcgmm("train", *TRAIN).directory
    outcome = installed("outliers", "run=latest", "outliers.classes=[7,9]", "outliers.images=[0,5]", "outliers.count=1")
    assert outcome.code == 0, outcome.err
    directory = outcome.directory
    assert directory.parent == trained / "outliers"
    for name in (*FIGURES, "named"):
        with Image.open(directory / "figures" / f"{name}.png") as image:
            assert min(image.size) > 100

    result = read_json(directory / "result.json")
    assert (result["command"], result["status"], result["score"]) == ("outliers", "finished", "joint")
    assert (result["inliers"]["images"], result["outliers"]["images"]) == (150, 100)
    assert set(result["auroc"]) == {"gmm1", "gmm2", "top", *MODEL_SCORES}
    assert result["auroc"]["top"] == result["auroc"]["gmm2"] == result["detection"]["gmm2_log_prob"]["auroc"]
    assert result["curve"]["c"][0] == -2
    assert result["curve"]["c"][-1] == 2

    # Every figure can be had again from the scores.
    with np.load(directory / "scores.npz") as scores:
        outlier, joint = scores["outlier"], scores["joint"]
        assert set(scores["label"][outlier]) == {7, 9}
        assert set(scores["label"][~outlier]) == {0, 1, 2}
        assert scores["name"].tolist() == [str(row) for row in range(250)]
        top = scores["gmm2_log_prob"]
    pairs = (top[~outlier][:, None] > top[outlier]).mean() + (top[~outlier][:, None] == top[outlier]).mean() / 2
    assert result["auroc"]["top"] == pytest.approx(pairs)
    assert result["inliers"]["kept"] == (joint[~outlier] >= result["threshold"]).mean()
    assert result["outliers"]["removed"] == (joint[outlier] < result["threshold"]).mean()
    assert "gmm2_log_prob" in outcome.out


def test_a_run_that_has_not_ended_is_measured(dcgmm: Runner) -> None:
    trained = dcgmm("train", *TRAIN).directory
    arguments = ("outliers", "outliers.classes=[7]", "outliers.count=0")
    first = dcgmm(*arguments)
    assert "measuring the scores of" not in first.err
    expected = read_json(first.directory / "result.json")
    (trained / DETECTOR).unlink()
    outcome = dcgmm(*arguments)
    assert "measuring the scores of" in outcome.err
    result = read_json(outcome.directory / "result.json")
    assert result["detection"]["joint"] == pytest.approx(expected["detection"]["joint"])
    assert result["threshold"] == pytest.approx(expected["threshold"])


def test_other_data_and_folders_are_outliers_too(dcgmm: Runner, tmp_path: Path) -> None:
    dcgmm("train", *QUICK)  # on all classes
    other = ["outliers.dataset=fashion_mnist_sample", "outliers.count=0"]
    fashion = dcgmm("outliers", *other, "outliers.classes=[1,ankle boot]")
    assert fashion.code == 0, fashion.err
    result = read_json(fashion.directory / "result.json")
    assert result["outliers"]["images"] == 100
    with np.load(fashion.directory / "scores.npz") as scores:
        assert set(scores["label"][scores["outlier"]]) == {1, 9}
    assert not (fashion.directory / "figures" / "most_outlying.png").exists()

    save_digits(tmp_path / "mine")
    mine = dcgmm(
        "outliers", "outliers.path=mine", "outliers.score=log_prob", "outliers.images=[damaged.png]", "outliers.count=0"
    )
    mine.check_told("2 of 5", "broken.png:")
    result = read_json(mine.directory / "result.json")
    assert result["score"] == "gmm2_log_prob"
    assert result["outliers"]["images"] == 3
    assert (mine.directory / "figures" / "named.png").exists()


def cells(line: str) -> list[str]:
    """What stands in a row of a table on the terminal."""
    return [cell.strip() for cell in line.split("│")[1:-1]]


def test_scoring_new_images(dcgmm: Runner, tmp_path: Path) -> None:
    dcgmm("train", *TRAIN)
    save_digits(tmp_path / "mine")
    outcome = dcgmm("outliers", "input=mine", "batch_size=2", "outliers.c=0.5", "outliers.count=1")
    assert outcome.code == 0, outcome.err
    result = read_json(outcome.directory / "result.json")
    assert (result["images"], result["failed"]) == (5, 2)
    with (outcome.directory / "scores.csv").open(newline="") as file:
        lines = {line["file"]: line for line in csv.DictReader(file)}
    assert list(lines) == ["a.png", "damaged.png", "sub/b.png", "broken.png", "small.png"]
    # All of a few images are shown.
    shown = {row[0]: row[1:] for row in map(cells, outcome.out.splitlines()) if row and row[0] in lines}
    for name, line in lines.items():
        place = f"{line['worst_layer']} {line['worst_row']}, {line['worst_column']}".strip(" ,")
        assert shown[name] == [line["verdict"], line["p_value"], place]
    said, where, _ = outcome.out.splitlines()[-3:]
    assert where == f"all verdicts with their scores: {outcome.directory / 'scores.csv'}"
    kept, removed = counted(result["inliers"], "inlier"), counted(result["outliers"], "outlier")
    assert said == f"joint at c=0.5: {kept}, {removed}, 2 that cannot be used"
    assert lines["broken.png"]["verdict"] == "failed"
    assert lines["broken.png"]["problem"]
    assert "20x28x1" in lines["small.png"]["problem"]
    usable = [line for line in lines.values() if line["verdict"] != "failed"]
    for line in usable:
        assert (float(line["standardised_score"]) < -0.5) == (line["verdict"] == "outlier")
        assert (float(line["score"]) < result["threshold"]) == (line["verdict"] == "outlier")
    assert result["outliers"] == sum(line["verdict"] == "outlier" for line in usable)
    assert lines["a.png"]["score"] == lines["sub/b.png"]["score"]
    # The damage lies in rows 16 to 23 and columns 2 to 9: a tile of 7x7 pixels that sees it has its centre near by.
    worst = lines["damaged.png"]
    assert worst["worst_layer"] == "gmm1"
    assert 13 <= int(worst["worst_row"]) <= 27
    assert 0 <= int(worst["worst_column"]) <= 13

    pixels = np.zeros((4, 28, 28), np.float32)
    np.savez(tmp_path / "new.npz", images=pixels)
    outcome = dcgmm("outliers", "input=new.npz", "outliers.count=0")
    assert outcome.code == 0, outcome.err
    assert read_json(outcome.directory / "result.json")["images"] == 4


def scored(directory: Path) -> dict[str, dict[str, str]]:
    with (directory / "scores.csv").open(newline="") as file:
        return {line["file"]: line for line in csv.DictReader(file)}


def test_images_of_which_a_part_was_seen(tiny_run: Path, dcgmm: Runner, tmp_path: Path) -> None:
    images = load("mnist_sample").test.images[:8].numpy() / np.float32(255)
    hidden = images.copy()
    hidden[:, :, 14:], hidden[6], hidden[7] = np.nan, np.nan, images[7]
    hidden[5, :3] = np.nan
    np.save(tmp_path / "holes.npy", hidden)
    np.save(tmp_path / "whole.npy", images)
    run = f"run={tiny_run}"
    outcome = dcgmm("outliers", run, "input=holes.npy", "mask=nan", "outliers.count=1", "batch_size=3")
    assert outcome.code == 0, outcome.err
    result, lines = read_json(outcome.directory / "result.json"), scored(outcome.directory)
    assert (result["images"], result["failed"], result["threshold"]) == (8, 1, None)  # each mask has its own
    assert lines["holes.npy[6]"]["problem"] == "nothing of it was seen"
    for line in lines.values():
        if line["verdict"] != "failed":
            assert (float(line["standardised_score"]) < -1.5) == (line["verdict"] == "outlier")
    with Image.open(outcome.directory / "figures" / "most_outlying.png") as image:
        assert min(image.size) > 100
    # As by a mask of each image alone, and where all was seen as without one.
    right = dcgmm("outliers", run, "input=whole.npy", "mask=right", "outliers.count=0")
    assert right.code == 0, right.err
    assert read_json(right.directory / "result.json")["threshold"] is not None
    whole = scored(dcgmm("outliers", run, "input=whole.npy", "outliers.count=0").directory)
    for row in range(5):
        own = float(lines[f"holes.npy[{row}]"]["score"])
        assert float(scored(right.directory)[f"whole.npy[{row}]"]["score"]) == pytest.approx(own, rel=0.2, abs=0.2)
    assert float(lines["holes.npy[7]"]["score"]) == pytest.approx(float(whole["whole.npy[7]"]["score"]), rel=1e-3)


def test_judging_by_what_was_seen(tiny_run: Path, dcgmm: Runner) -> None:
    arguments = ["outliers", f"run={tiny_run}", "outliers.dataset=fashion_mnist_sample", "outliers.count=1"]
    outcome = dcgmm(*arguments, "mask=random", "share=0.4", "seed=3")
    assert outcome.code == 0, outcome.err
    result = read_json(outcome.directory / "result.json")
    assert result["missing_share"] == pytest.approx(0.4, abs=0.05)
    whole = read_json(dcgmm(*arguments).directory / "result.json")
    assert "missing_share" not in whole
    assert abs(result["inliers"]["kept"] - whole["inliers"]["kept"]) < 0.1
    assert result["auroc"] != whole["auroc"]


def test_masks_that_cannot_be(tiny_run: Path, dcgmm: Runner, tmp_path: Path) -> None:
    images = np.zeros((2, 28, 28), np.float32)
    np.save(tmp_path / "full.npy", images)
    np.save(tmp_path / "none.npy", images * np.nan)
    np.save(tmp_path / "small.npy", np.eye(7))
    np.save(tmp_path / "two.npy", np.stack([np.eye(28), 1 - np.eye(28)]))
    other = "outliers.dataset=fashion_mnist_sample"
    cases = [
        ([other, "mask=middle"], "mask=middle left right nan"),
        ([other, "mask=nan"], "mask=nan input=:"),
        ([other, "share=0.3"], "share=0.3 mask=null: random"),
        ([other, "mask=two.npy"], "mask 600 2"),
        (["input=none.npy", "mask=nan"], "mask=nan: everything"),
        (["input=full.npy", "mask=small.npy"], "mask 28x28 7x7"),
        (["input=full.npy", "mask=right", "share=2"], "share (0, 1) 2.0"),
    ]
    for arguments, named in cases:
        dcgmm("outliers", f"run={tiny_run}", *arguments).check_refused(*named.split(), alone=False)


def test_every_score_of_the_table_can_decide(tiny_run: Path, dcgmm: Runner) -> None:
    arguments = ["outliers", f"run={tiny_run}", "outliers.dataset=fashion_mnist_sample", "outliers.count=0"]
    names = [*read_json(dcgmm(*arguments).directory / "result.json")["detection"]]
    assert names[-6:] == [*MODEL_SCORES]
    for name in (names[0], names[-3], names[-2]):
        outcome = dcgmm(*arguments, f"outliers.score={name}")
        assert outcome.code == 0, outcome.err
        assert read_json(outcome.directory / "result.json")["score"] == name


def test_a_rate_of_false_alarms_sets_the_threshold(tiny_run: Path, dcgmm: Runner, tmp_path: Path) -> None:
    np.save(tmp_path / "own.npy", load_run(tiny_run).data().train.images.numpy())
    for score in ("joint", "auto"):
        arguments = ["outliers", f"run={tiny_run}", f"outliers.score={score}", "outliers.count=1"]
        outcome = dcgmm(*arguments, "input=own.npy", "outliers.false_alarms=0.1")
        assert outcome.code == 0, outcome.err
        result, lines = read_json(outcome.directory / "result.json"), scored(outcome.directory)
        assert result["outliers"] / result["images"] == pytest.approx(0.1, abs=0.01)
        assert result["false_alarms"] == 0.1
        assert f"{score} at false_alarms=0.1 (c=" in outcome.out
        for line in lines.values():
            assert (float(line["p_value"]) < 0.1) == (line["verdict"] == "outlier")
            assert (float(line["worst_p_value"]) < 0.001) == (line["far_position"] == "yes")
        judged = dcgmm(*arguments, "outliers.dataset=fashion_mnist_sample", "outliers.false_alarms=0.1")
        assert judged.code == 0, judged.err
        assert read_json(judged.directory / "result.json")["threshold"] == pytest.approx(result["threshold"])


def test_few_training_images_are_a_coarse_ruler(tiny_run: Path, dcgmm: Runner) -> None:
    outcome = dcgmm(
        "outliers", f"run={tiny_run}", "outliers.dataset=fashion_mnist_sample", "outliers.false_alarms=1e-6"
    )
    outcome.check_told("threshold", "extrapolated")


def test_a_position_far_out_in_an_inlier_is_pointed_out(tiny_run: Path, dcgmm: Runner, tmp_path: Path) -> None:
    images = load_run(tiny_run).data().test.images[:20].clone().numpy()
    images[3, 20:28, 0:8] = np.tile(np.array([[0, 255], [255, 0]], np.uint8), (4, 4))[..., None]
    np.save(tmp_path / "new.npy", images)
    outcome = dcgmm("outliers", f"run={tiny_run}", "input=new.npy", "outliers.c=100", "outliers.count=0")
    assert outcome.code == 0, outcome.err
    line = scored(outcome.directory)["new.npy[3]"]
    assert (line["verdict"], line["far_position"]) == ("inlier", "yes")
    far = [name for name, each in scored(outcome.directory).items() if each["far_position"]]
    assert read_json(outcome.directory / "result.json")["inliers_with_far_position"] == len(far)
    have = "has" if len(far) == 1 else "have"
    assert f"{len(far)} of the inliers {have} a position that is far out" in outcome.out


def test_a_detector_of_an_earlier_version_is_measured_anew_where_p_values_are_asked(dcgmm: Runner) -> None:
    trained = dcgmm("train", *TRAIN).directory
    arguments = ("outliers", "outliers.classes=[7]", "outliers.count=0")
    expected = read_json(dcgmm(*arguments).directory / "result.json")
    state = read_state(trained / DETECTOR)
    del state["detector"]["calibration"], state["detector"]["images"]["auto"]
    write_state(trained / DETECTOR, {"detector": state["detector"]})
    old = read_json(dcgmm(*arguments).directory / "result.json")
    assert old["auroc"] == {name: value for name, value in expected["auroc"].items() if name != "auto"}
    outcome = dcgmm(*arguments, "outliers.score=auto")
    assert "measuring the scores of" in outcome.err
    assert read_json(outcome.directory / "result.json")["auroc"]["auto"] == pytest.approx(expected["auroc"]["auto"])
    # What cannot be is refused before.
    for wrong, named in (
        (["outliers.score=atuo", "outliers.false_alarms=0.1"], "outliers.score log_prob standardised auto atuo"),
        (["outliers.score=vote", "outliers.false_alarms=0.1"], "outliers.score outliers.voters vote"),
        (["outliers.score=auto", "outliers.voters=[nowhere]"], "outliers.voters=nowhere: latest"),
    ):
        refused = dcgmm(*arguments, *wrong)
        refused.check_refused(*named.split(), alone=False)
        assert "measuring" not in refused.err


def test_bad_input_gets_one_line_and_code_2(dcgmm: Runner, tmp_path: Path) -> None:
    some, all_classes = dcgmm("train", *TRAIN).directory, dcgmm("train", *QUICK).directory
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "a.png").write_bytes(b"no image")
    np.savez(tmp_path / "small.npz", images=np.zeros((3, 20, 28), np.uint8))
    cases = [
        (all_classes, [], "mnist_sample outliers.dataset=NAME outliers.path=FOLDER"),
        (some, ["outliers.classes=[2,7]"], "outliers.classes: 2; 3 4"),
        (some, ["outliers.classes=[12]"], "outliers.classes 3 4 12"),
        (some, ["outliers.classes=[]"], "outliers.classes 3 4 empty"),
        (some, ["outliers.classes=[seven]"], "outliers.classes 3 4 seven"),
        (some, ["outliers.c=much"], "outliers.c much"),
        (some, ["outliers.c=nan"], "outliers.c finite nan"),
        (some, ["outliers.c=2", "outliers.false_alarms=0.01"], "outliers.false_alarms c 0.01"),
        (some, ["outliers.false_alarms=1"], "outliers.false_alarms (0, 1) 1"),
        (some, ["outliers.score=best"], "outliers.score log_prob standardised ratio best"),
        (some, ["outliers.score=residual"], "outliers.score log_prob standardised ratio residual"),
        (some, ["outliers.count=-1"], "outliers.count 0 1000 -1"),
        (some, ["batch_size=0"], "batch_size 1 0"),
        (some, ["outliers.dataset=imagenet"], "outliers.dataset mnist imagenet"),
        (some, ["outliers.path=empty"], "empty .png"),
        (some, ["outliers.path=broken"], "broken: 1 a.png:"),
        (some, ["outliers.path=small.npz"], "small.npz 3x20x28; Nx28x28x1"),
        (some, ["outliers.path=empty", "outliers.classes=[7]"], "outliers.path=empty outliers.classes"),
        (some, ["input=nowhere"], "nowhere .npy"),
        (some, ["input=empty"], "empty .png"),
        (some, ["input=small.npz"], "small.npz 3x20x28; Nx28x28x1"),
        (some, ["input=empty", "outliers.classes=[7]"], "input=empty outliers.classes"),
        (some, ["outliers.images=[900]"], "outliers.images: 900"),
    ]
    for directory, arguments, named in cases:
        dcgmm("outliers", f"run={directory}", *arguments).check_refused(*named.split(), alone=False)


def test_bytes_and_numbers_are_shown_on_one_scale(tiny_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = torch.randint(0, 256, (6, 28, 28, 1), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    detector = Detector.fit(load_run(tiny_run).model, images)
    shown: list[torch.Tensor] = []
    monkeypatch.setattr(gallery, "outlier_maps", lambda pictures, *others: shown.append(pictures))
    # An image of the run's data set, as its file has it, beside the same one read from a folder.
    given = (("0", images[0]), ("a", images[0] / 255))
    gallery.map_figure([gallery.Shown(0.0, name, image, "", detector, 1.5) for name, image in given], "joint")
    torch.testing.assert_close(shown[0], (images[:1] / 255).expand(2, -1, -1, -1))


def test_models_vote(installed: Runner, dcgmm: Runner, tmp_path: Path) -> None:
    first, second = (dcgmm("train", *TRAIN, f"arch={arch}").directory for arch in ("2L-b", "1L"))
    words = (f"run={first}", f"outliers.voters=[{second}]", "outliers.count=0")
    outcome = installed("outliers", *words, "outliers.score=vote", "outliers.classes=[7]")
    assert outcome.code == 0, outcome.err
    result = read_json(outcome.directory / "result.json")
    assert result["score"] == "vote"
    assert result["auroc"]["vote"] == result["detection"]["vote"]["auroc"]
    detectors = [load_run(run).detector() for run in (first, second)]
    data = load("mnist_sample", classes=[7])
    said = [detector.p_values("ratio", detector.scores(data.test.images)["ratio"]).log() for detector in detectors]
    with np.load(outcome.directory / "scores.npz") as scores:
        assert scores["vote"][scores["outlier"]] == pytest.approx(torch.stack(said).mean(0).numpy(), rel=1e-4)
    scored = dcgmm(
        "outliers", *words, "outliers.score=vote", "outliers.false_alarms=0.1", f"input={tmp_path}/digits.npy"
    )
    assert scored.code == 2  # there is no such file
    np.save(tmp_path / "digits.npy", data.test.images.numpy())
    scored = dcgmm(
        "outliers", *words, "outliers.score=vote", "outliers.false_alarms=0.1", f"input={tmp_path}/digits.npy"
    )
    with (scored.directory / "scores.csv").open() as file:
        assert len(list(csv.DictReader(file))) == len(data.test)


def test_voters_must_fit(dcgmm: Runner) -> None:
    first = dcgmm("train", *TRAIN).directory
    other = dcgmm("train", *QUICK, "dataset.classes=[0,1]").directory
    run = (f"run={first}", f"outliers.voters=[{other}]")
    for words, named in (
        (run, f"outliers.voters={other} {first}:"),
        ((*run, "mask=right"), "outliers.voters mask=right"),
        ((run[0], "outliers.voters=[none]"), "outliers.voters=none: latest"),
        ((run[0], f"outliers.voters=[{first}]"), f"outliers.voters: {first}"),
        ((run[0], "outliers.score=vote"), "outliers.score log_prob outliers.voters vote"),
    ):
        dcgmm("outliers", *words).check_refused(*named.split(), alone=False)
