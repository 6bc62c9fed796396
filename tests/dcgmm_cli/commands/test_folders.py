"""Folders of images as people have them, from files to results."""

import csv
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dcgmm.checkpoints import load_run
from dcgmm.datasets import load
from dcgmm.files import read_json
from dcgmm.outliers import localise
from tests.dcgmm_cli.commands.conftest import Runner

SIDE = 14
LAYERS = (
    "arch.layers=[{type:folding,kernel:[7,7],stride:[7,7]},{type:gmm,components:4},"
    "{type:folding,kernel:[2,2]},{type:gmm,components:4}]"
)
SHORT = [LAYERS, "dataset=folder", "trainer.steps=12", "trainer.annealing.alpha=0.5"]
ODD = [b"=1+1.png", b"$x_1$.png", b"a\nb.png", b"\xff.png", "日本.png".encode(), b"[red]:smile:.png", b"-c.png"]


def draw(defect: str, seed: int, side: int = SIDE) -> Image.Image:
    """A texture of stripes, with a defect."""
    rng = np.random.default_rng(seed)
    pixels = 120 + 60 * np.sin(np.arange(side) + rng.uniform(0, 6)) + rng.normal(0, 5, (side, side))
    if defect == "crack":
        pixels[side // 2] = 0
    if defect == "hole":
        pixels[:5, :5] = 255
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def fill(folder: Path, defect: str, count: int, side: int = SIDE) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        draw(defect, number, side).save(folder / f"{number:02d}.png")


def anomalies(root: Path, side: int = SIDE) -> Path:
    """The usual layout: 30 images to train on, 6 good ones and 4 of each defect to judge by."""
    fill(root / "train" / "good", "good", 30, side)
    for name, count in {"good": 6, "crack": 4, "hole": 4}.items():
        fill(root / "test" / name, name, count, side)
    for name in ("crack", "hole"):
        fill(root / "ground_truth" / name, name, 4, side)
    return root


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of twice the size that a model takes."""
    return anomalies(tmp_path_factory.mktemp("data"), 2 * SIDE)


def test_the_usual_layout_works_at_once(installed: Runner, dcgmm: Runner, tmp_path: Path) -> None:
    anomalies(tmp_path / "mine")
    trained = installed("train", *SHORT, "dataset.path=mine")
    assert trained.code == 0, trained.err
    assert "\nclasses: good\nnot trained on, and no part of the test images: crack, hole\n" in trained.err
    result = read_json(trained.directory / "result.json")
    assert (result["classes"], result["train_images"], result["test_images"], result["failed"]) == (["good"], 30, 6, 0)
    # The defects do not count into the test log-likelihood.
    run, images = load_run(trained.directory), load("folder", path=tmp_path / "mine")
    scored = run.model.score(images.test.images)["gmm1"].log_prob.detach().mean()
    assert result["layers"]["gmm1"]["test_log_likelihood"] == pytest.approx(float(scored), rel=1e-4)
    assert (run.classes, run.class_names) == (["good"], ["crack", "good", "hole"])

    judged = installed("outliers", "run=latest", "outliers.images=[test/hole/02.png]")
    assert judged.code == 0, judged.err
    result = read_json(judged.directory / "result.json")
    assert (result["inliers"]["images"], result["inliers"]["classes"]) == (6, ["good"])
    assert (result["outliers"]["images"], result["outliers"]["classes"]) == (8, ["crack", "hole"])
    assert result["auroc"]["worst"] == 1
    with np.load(judged.directory / "scores.npz") as scores:
        names = dict(zip(scores["name"].tolist(), scores["outlier"].tolist(), strict=True))
    assert len(names) == 14
    assert (names["test/good/05.png"], names["test/crack/03.png"]) == (False, True)

    # A path to some of the same files is judged against the good ones alone.
    by_path = dcgmm("outliers", "outliers.path=mine/test/crack", "outliers.count=0")
    assert read_json(by_path.directory / "result.json")["auroc"]["worst"] == 1
    # What has come since then is an outlier as well, and what was trained on stays so.
    fill(tmp_path / "mine" / "test" / "dent", "hole", 3)
    later = dcgmm("outliers", "outliers.count=0")
    assert read_json(later.directory / "result.json")["outliers"]["classes"] == ["crack", "dent", "hole"]


def test_masks_of_defects_judge_maps_and_maps_are_drawn(dcgmm: Runner, tmp_path: Path) -> None:
    anomalies(tmp_path / "mine")
    marks = {"crack": (slice(SIDE // 2, SIDE // 2 + 1), slice(None)), "hole": (slice(5), slice(5))}
    for name, place in marks.items():
        mask = np.zeros((SIDE, SIDE), np.uint8)
        mask[place] = 255
        folder = tmp_path / "mine" / "ground_truth" / name
        folder.mkdir(parents=True, exist_ok=True)
        for file in (tmp_path / "mine" / "test" / name).iterdir():
            Image.fromarray(mask).save(folder / f"{file.stem}_mask.png")
    assert dcgmm("train", *SHORT, "dataset.path=mine").code == 0
    judged = dcgmm("outliers", "outliers.count=0", "outliers.maps=true")
    assert judged.code == 0, judged.err
    where = read_json(judged.directory / "result.json")["where"]
    assert where.keys() == {"pixel_auroc", "pro", "f1", "f1_threshold"}
    assert "where: pixel AUROC" in judged.out
    with np.load(judged.directory / "maps" / "maps.npz") as maps:
        names, outlying = maps["name"].tolist(), maps["outlying"]
    assert outlying.shape == (14, SIDE, SIDE)
    masks = np.zeros(outlying.shape, bool)
    for row, name in enumerate(names):
        for defect, place in marks.items():
            if f"test/{defect}/" in name:
                masks[(row, *place)] = True
    assert where == pytest.approx(localise(outlying, masks)._asdict(), rel=1e-3)
    drawn = sorted(path.name for path in (judged.directory / "maps").glob("*.png"))
    assert len(drawn) == 28
    assert drawn[0] == f"00000-{names[0].replace('/', '_')}-heat.png"

    scored = dcgmm("outliers", "input=mine/test/hole", "outliers.count=0", "outliers.maps=true")
    assert scored.code == 0, scored.err
    assert len(list((scored.directory / "maps").glob("*-overlay.png"))) == 4
    (tmp_path / "mine" / "ground_truth" / "hole" / "02_mask.png").write_bytes(b"no image")
    broken = dcgmm("outliers", "outliers.count=0")
    broken.check_refused("02_mask.png:", alone=False)


def test_classes_go_by_name_and_number(dcgmm: Runner, tmp_path: Path) -> None:
    for name in ("1", "2", "10"):
        fill(tmp_path / "mine" / "train" / name, name, 10)
        fill(tmp_path / "mine" / "test" / name, name, 3)
    fill(tmp_path / "mine" / "test" / "crack", "crack", 2)
    for given, names in (("[2,0]", ["2", "1"]), ("[10]", ["10"])):
        outcome = dcgmm("train", *SHORT, "dataset.path=mine", f"dataset.classes={given}")
        assert outcome.code == 0, outcome.err
        assert read_json(outcome.directory / "result.json")["classes"] == names
        assert f"classes: {', '.join(names)}" in outcome.err
    for given, names in (("[crack,1]", ["1", "crack"]), ("null", ["1", "2", "crack"])):
        outcome = dcgmm("outliers", f"outliers.classes={given}", "outliers.count=0")
        assert outcome.code == 0, outcome.err
        assert read_json(outcome.directory / "result.json")["outliers"]["classes"] == names
    for command, argument, named in (
        ("train", "dataset.classes=[crack]", "dataset.classes folder 0 (1) 1 (2) (crack)"),
        ("outliers", "outliers.classes=[10]", "outliers.classes: 2 (10); 0 (1) 1 (2) (crack)"),
    ):
        rest = [*SHORT, "dataset.path=mine"] if command == "train" else []
        dcgmm(command, *rest, argument).check_refused(*named.split(), alone=False)


def test_new_images_are_prepared_as_those_of_training(dcgmm: Runner, data: Path, tmp_path: Path) -> None:
    size = f"dataset.size=[{SIDE},{SIDE}]"
    assert dcgmm("train", *SHORT, f"dataset.path={data}", size).code == 0
    new = tmp_path / "new"
    fill(new, "good", 3, 50)
    (new / "bad.png").write_bytes(b"no image")
    (new / "gone.png").symlink_to("nowhere.png")
    frames = [draw("good", number, 40).convert("RGBA") for number in range(2)]
    frames[0].save(new / "moves.gif", save_all=True, append_images=frames[1:])
    batch = load_run(tmp_path / "runs" / "latest").prepare(new)
    assert batch.images.shape == (4, SIDE, SIDE, 1)
    expected = load("folder", path=new, size=[SIDE, SIDE], test_fraction=0.0).train.images
    torch.testing.assert_close(batch.images, expected / 255)

    # A mask's picture has the size that the images have before they are resized; the right half is hidden.
    hidden = np.repeat(np.arange(50) >= 25, 50).reshape(50, 50).T
    Image.fromarray(hidden).save(tmp_path / "hidden.png")
    for arguments in (
        ["outliers", "input=new", "outliers.count=0"],
        ["outliers", "input=new", "outliers.count=0", "mask=hidden.png"],
        ["outliers", "outliers.path=new", "outliers.count=0"],
        ["sharpen", "input=new"],
        ["inpaint", "input=new", "peers=false", "mask=hidden.png"],
    ):
        outcome = dcgmm(*arguments)
        outcome.check_told("2 of 6", "bad.png:", "gone.png:")
        assert outcome.err.count("gone.png") == 1
        outcome.check_told("1 files", "moves.gif")
        result = read_json(outcome.directory / "result.json")
        assert (result["outliers"] if "auroc" in result else result)["failed"] == 2
    (tmp_path / "none").mkdir()
    shutil.copy(new / "bad.png", tmp_path / "none")
    for arguments in (
        ["outliers", "input=none"],
        ["sharpen", "input=none"],
        ["train", *SHORT, "dataset.path=none"],
    ):
        outcome = dcgmm(*arguments)
        outcome.check_refused("bad.png:", alone=False)
        if outcome.out:  # a start that failed at once leaves nothing
            assert read_json(outcome.directory / "result.json")["status"] == "failed"


def test_no_name_ends_a_run(dcgmm: Runner, tmp_path: Path) -> None:
    for number, name in enumerate((b"train/$g$_[red]", b"test/$g$_[red]", b"test/cr\xffck", "test/日本\nx".encode())):
        folder = os.fsencode(tmp_path / "mine") + b"/" + name
        os.makedirs(folder)
        for seed, odd in enumerate(ODD):
            with open(folder + b"/" + odd, "wb") as file:
                draw("good" if number < 2 else "crack", 10 * number + seed).save(file, "png")
    trained = dcgmm("train", *SHORT, "dataset.path=mine")
    assert trained.code == 0, trained.err
    assert "classes: $g$_[red]\nnot trained on, and no part of the test images: cr\\xffck, 日本\\nx\n" in trained.err
    judged = dcgmm("outliers", "outliers.count=1")
    assert judged.code == 0, judged.err
    assert "$g$_[red] against folder cr\\xffck,日本\\nx" in judged.out
    scored = dcgmm("outliers", "input=mine/test", "outliers.count=0", "outliers.images=['cr\\xffck/=1+1.png']")
    assert scored.code == 0, scored.err
    for outcome in (trained, judged, scored):
        assert "Glyph" not in outcome.err
        assert "Traceback" not in outcome.err
        assert "Logging error" not in outcome.err
    with (scored.directory / "scores.csv").open(newline="", encoding="utf-8") as file:
        names = [line["file"] for line in csv.DictReader(file)]
    assert len(names) == 3 * len(ODD)
    assert {"$g$_[red]/a\\nb.png", "cr\\xffck/\\xff.png", "日本\\nx/日本.png"} <= set(names)


def test_the_data_may_be_elsewhere_but_must_be_the_same(
    dcgmm: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    anomalies(tmp_path / "mine")
    run = dcgmm("train", *SHORT, "dataset.path=mine").directory
    assert read_json(run / "meta.json")["config"]["dataset"]["path"] == str(tmp_path / "mine")
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    here = [f"run={run}", f"runs_dir={tmp_path / 'runs'}"]
    assert dcgmm("outliers", *here, "outliers.count=0").code == 0

    (tmp_path / "mine").rename(tmp_path / "moved")
    for command, arguments in {
        "outliers": ["outliers.count=0"],
        "sample": ["sampling.count=2", "quality.count=5"],
        "train": ["trainer.steps=14"],
    }.items():
        named, advice = ("dataset.path", "folder", tmp_path / "mine"), "dataset.path=NEW"
        dcgmm(command, *here, *arguments).check_refused(*named, advice, alone=False)
        again = dcgmm(command, *here, *arguments, f"dataset.path={tmp_path / 'mine'}")
        again.check_refused(*named, alone=False)
        assert advice not in again.error
        found = dcgmm(command, *here, *arguments, "dataset.path=../moved")
        assert found.code == 0, found.err
    assert load_run(run).config["dataset"]["path"] == str(tmp_path / "moved")
    assert read_json(run / "result.json")["steps"] == 14

    # Other test classes change nothing; other training images are another training.
    fill(tmp_path / "moved" / "test" / "dent", "hole", 3)
    assert dcgmm("train", *here, "trainer.steps=16").code == 0
    draw("hole", 99).save(tmp_path / "moved" / "train" / "good" / "07.png")
    changed = dcgmm("train", *here, "trainer.steps=18")
    changed.check_refused(tmp_path / "moved", run, "good", 30, "dataset.path", alone=False)


def test_few_images_are_enough(dcgmm: Runner, tmp_path: Path) -> None:
    fill(tmp_path / "mine", "good", 12)
    trained = dcgmm("train", LAYERS, "dataset=folder", "dataset.path=mine", "trainer.annealing.alpha=0.5")
    trained.check_told(25, 258, 3)
    result = read_json(trained.directory / "result.json")
    assert (result["steps"], result["epochs"], round(result["layers"]["gmm1"]["sigma"], 6)) == (258, 258, 0.01)
    few = ["sampling.count=4", "quality.count=20"]
    for arguments in (["sample"], ["sharpen"]):
        outcome = dcgmm(*arguments, *few)
        outcome.check_told("NDB", 10, 100)
        result = read_json(outcome.directory / "result.json")
        assert (result["ndb"], result["js"], result["frechet"]) == (None, None, None)
        assert result["diversity"] > 0
    again = dcgmm("train", "run=latest", "trainer.epochs=300")
    assert again.code == 0, again.err
    assert (
        read_json(again.directory / "result.json")["steps"],
        load_run(again.directory).config["trainer"]["steps"],
    ) == (
        300,
        None,
    )


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["trainer.epochs=2"], "trainer.steps epochs=2 12"),
        (["dataset.white=0"], "dataset.white 1 65535 0"),
        (["dataset=mnist_sample"], "dataset.path folder parquet mnist_sample"),
    ],
)
def test_what_cannot_be_gets_one_line_and_code_2(dcgmm: Runner, data: Path, arguments: list[str], named: str) -> None:
    outcome = dcgmm("train", *SHORT, f"dataset.path={data}", *arguments)
    outcome.check_refused(*named.split(), alone=False)
