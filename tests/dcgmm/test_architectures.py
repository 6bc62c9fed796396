from pathlib import Path

import pytest
import torch

import dcgmm
from dcgmm import architectures
from dcgmm.errors import OptionError
from dcgmm.model import DCGMM, SharpeningPreset

FOLDER = Path(__file__).parents[2] / "conf" / "arch"
NAMES = sorted(path.stem for path in FOLDER.glob("*.yaml"))
# Table 1, as it is printed but for 3L-a, whose last window fits no map, and for strides that are written out.
TABLE_1 = {
    "1L": "F(28,28,1,1) G(25)",
    "2L-a": "F(20,20,8,8) G(25) F(2,2,1,1) G(36)",
    "2L-b": "F(7,7,7,7) G(25) F(4,4,1,1) G(36)",
    "2L-c": "F(7,7,3,3) G(25) F(8,8,1,1) G(36)",
    "2L-d": "F(28,28,1,1) G(25) F(1,1,1,1) G(36)",
    "2L-e": "F(7,7,3,3) G(25) F(8,8,1,1) G(36)",
    "3L-a": "F(3,3,1,1) G(25) P(2,2) F(4,4,1,1) G(25) P(2,2) F(5,5,1,1) G(49)",
    "3L-b": "F(28,28,1,1) G(25) F(1,1,1,1) G(25) F(1,1,1,1) G(25)",
}

OWN = {
    "tiles-400": "F(7,7,7,7) G(100) F(4,4,1,1) G(400)",
    "tiles-factors": "F(7,7,7,7) G(100,6) F(4,4,1,1) G(400)",
    "factors": "F(28,28,1,1) G(100,16)",
    "patches-100": "F(7,7,2,2) G(100)",
    "parts": "F(8,8,4,4) G(9,own)",
    "textures": "F(8,8,4,4) G(64)",
}
ALL = TABLE_1 | OWN


def test_the_files_are_those_of_table_1_and_our_own() -> None:
    assert set(NAMES) == set(ALL)


@pytest.mark.parametrize("name", NAMES)
def test_every_file_makes_a_model(name: str) -> None:
    architecture = dcgmm.arch(name)
    assert (architecture.name, str(architecture), architecture.exponent) == (name, ALL[name], 1.0)
    model = DCGMM.build((28, 28, 1), architecture)
    assert str(model.architecture) == ALL[name]
    assert model.architecture.sharpening == architecture.sharpening
    assert model.log_prob(torch.zeros(2, 28, 28)).shape == (2,)
    # What a file says of sharpening fits its layers.
    assert set(architecture.sharpening.layers or ()) <= set(model.foldings)


def test_what_a_file_says_of_sharpening() -> None:
    assert dcgmm.arch("2L-a").sharpening == SharpeningPreset(10, 0.003, ["folding2"])
    assert dcgmm.arch("2L-b").sharpening == SharpeningPreset(10, 0.05)
    assert dcgmm.arch("3L-a").sharpening == SharpeningPreset(10, 0.005, ["folding3"])
    assert dcgmm.arch("2L-c").sharpening == SharpeningPreset()


def test_two_calls_give_two_architectures() -> None:
    dcgmm.arch("1L").layers.clear()
    assert len(dcgmm.arch("1L").layers) == 2


@pytest.mark.parametrize("name", ["4L", "", "1L.yaml", "../arch/1L", "1l"])
def test_unknown_names(name: str) -> None:
    with pytest.raises(OptionError) as error:
        dcgmm.arch(name)
    assert (error.value.field, error.value.value) == ("arch", name)
    assert error.value.rule == f"one of {', '.join(NAMES)}"


def test_inside_the_installed_package_the_files_are_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "dcgmm" / "conf" / "arch"
    folder.mkdir(parents=True)
    (folder / "own.yaml").write_text("name: own\nlayers:\n  - {type: gmm, components: 4}\nexponent: 0.5\n")
    monkeypatch.setattr(architectures, "__file__", str(tmp_path / "dcgmm" / "architectures.py"))
    assert str(dcgmm.arch("own")) == "x^0.5 G(4)"
    (folder / "own.yaml").write_text("name: own\nlayer: []\n")
    with pytest.raises(OptionError):
        dcgmm.arch("own")
