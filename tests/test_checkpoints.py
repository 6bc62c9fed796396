import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from dcgmm_cli.checkpoints import build_model, load_checkpoint, save_checkpoint
from dcgmm_cli.errors import UserError
from dcgmm_cli.model import DCGMM, GMMOptions
from tests.conftest import normal

OPTIONS: dict[str, Any] = {"loc_range": 0.5, "precision_limit": 9.0, "precision_sqrt_start": "unit"}
LAYERS: list[dict[str, Any]] = [
    {"type": "folding", "kernel": [3, 2], "stride": [1, 2], "components": None},
    {"type": "gmm", "kernel": None, "stride": None, "components": 4},
]


def state() -> dict[str, Any]:
    model = DCGMM.build((4, 6, 2), LAYERS, GMMOptions(**OPTIONS)).double()
    model.draw_start(torch.Generator().manual_seed(0))
    return {
        "model": model.state_dict(),
        "input_shape": [4, 6, 2],
        "config": {"arch": {"name": "x", "layers": LAYERS}, "gmm": OPTIONS, "trainer": {"dtype": "float64"}},
        "steps": 12,
        "generator": torch.Generator().manual_seed(0).get_state(),
    }


def path_of(directory: Path) -> Path:
    return directory / "checkpoints" / "last.pt"


def refused(directory: Path) -> str:
    with pytest.raises(UserError) as error:
        load_checkpoint(directory)
    message = str(error.value)
    assert "\n" not in message
    assert len(message) < 300
    return message


def test_what_was_saved_is_loaded_and_nothing_lies_beside_it(tmp_path: Path) -> None:
    saved = state()
    save_checkpoint(tmp_path, {**saved, "steps": 1})
    save_checkpoint(tmp_path, saved)
    loaded = load_checkpoint(tmp_path)
    assert loaded.keys() == {"format", *saved}
    assert loaded["steps"] == 12
    assert loaded["config"] == saved["config"]
    assert torch.equal(loaded["generator"], saved["generator"])
    assert loaded["model"].keys() == saved["model"].keys()
    assert all(torch.equal(loaded["model"][name], value) for name, value in saved["model"].items())
    assert [path.name for path in path_of(tmp_path).parent.iterdir()] == ["last.pt"]


def test_a_checkpoint_is_plain_data(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, state())
    loaded = torch.load(path_of(tmp_path), weights_only=True)
    assert loaded["format"] == 1

    def check(value: object) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                assert type(key) is str
                check(inner)
        elif isinstance(value, list):
            for inner in value:
                check(inner)
        else:
            assert value is None or type(value) in (torch.Tensor, int, float, str, bool)

    check(loaded)


def test_the_model_is_built_as_it_was(tmp_path: Path) -> None:
    saved = state()
    save_checkpoint(tmp_path, saved)
    model = build_model(load_checkpoint(tmp_path))
    assert model.dtype is torch.float64
    assert model.input_shape == (4, 6, 2)
    assert model.gmms["gmm1"].options == GMMOptions(**OPTIONS)
    original = DCGMM.build((4, 6, 2), LAYERS, GMMOptions(**OPTIONS)).double()
    original.load_state_dict(saved["model"])
    x = normal(3, 4, 6, 2)
    assert torch.equal(model.log_prob(x), original.log_prob(x))


def test_without_a_checkpoint(tmp_path: Path) -> None:
    assert refused(tmp_path) == (
        f"{tmp_path} has no checkpoint (checkpoints/last.pt): train it first, or give another run"
    )


def test_cut_short_anywhere(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, state())
    whole = path_of(tmp_path).read_bytes()
    cuts = [0, 1, 4, 30, len(whole) // 4, len(whole) // 2, len(whole) - 100, len(whole) - 1]
    for cut in cuts:
        path_of(tmp_path).write_bytes(whole[:cut])
        assert refused(tmp_path).startswith(f"{path_of(tmp_path)} is damaged and cannot be read"), cut


class Planted:
    """An object whose loading would run code."""

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, ("raise SystemExit('code from a checkpoint was run')",)


@pytest.mark.parametrize("content", [b"", b"\n", b"hello", b"PK\x03\x04", bytes(range(256)), pickle.dumps({}, 2)])
def test_another_kind_of_file(content: bytes, tmp_path: Path) -> None:
    path_of(tmp_path).parent.mkdir()
    path_of(tmp_path).write_bytes(content)
    assert "is damaged and cannot be read" in refused(tmp_path)


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, {"planted": Planted()})
    assert "is damaged and cannot be read" in refused(tmp_path)


@pytest.mark.parametrize(
    ("content", "version"),
    [({"format": 2}, "2"), ({"format": 0}, "0"), ({"model": {}}, "None"), ([1], "None"), ({"format": "1"}, "1")],
)
def test_another_format(content: object, version: str, tmp_path: Path) -> None:
    path_of(tmp_path).parent.mkdir()
    torch.save(content, path_of(tmp_path))
    assert refused(tmp_path) == (
        f"{path_of(tmp_path)} has checkpoint format {version}, this dcgmm reads format 1; train it again"
    )


def test_a_save_that_fails_keeps_the_checkpoint_before(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, state())
    before = path_of(tmp_path).read_bytes()
    with pytest.raises((AttributeError, pickle.PicklingError)):
        save_checkpoint(tmp_path, {"broken": lambda: None})
    assert path_of(tmp_path).read_bytes() == before
    assert [path.name for path in path_of(tmp_path).parent.iterdir()] == ["last.pt"]
