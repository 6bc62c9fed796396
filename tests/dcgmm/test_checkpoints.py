import copy
import os
import pickle
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import dcgmm
from dcgmm.checkpoints import load, load_run, read_state, save, save_detector, write_state
from dcgmm.errors import InputError
from dcgmm.files import CHECKPOINT, DETECTOR
from dcgmm.model import DCGMM, Architecture, GMMOptions
from dcgmm.model.options import Start
from dcgmm.options import made
from dcgmm.outliers import Detector
from dcgmm.states import build_model, model_state
from tests.conftest import normal, uniform
from tests.refusals import check_names

OPTIONS = GMMOptions(loc_range=0.5, precision_limit=9.0, precision_sqrt_start=Start.unit)
ARCHITECTURE: dict[str, Any] = {
    "name": "x",
    "layers": [{"type": "folding", "kernel": [3, 2], "stride": [1, 2]}, {"type": "gmm", "components": 4}],
    "exponent": 0.5,
    "sharpening": {"iterations": 3, "layers": ["folding1"]},
}


def model() -> DCGMM:
    built = DCGMM.build((4, 6, 2), made(Architecture, ARCHITECTURE), OPTIONS).double()
    built.draw_start(torch.Generator().manual_seed(0))
    with torch.no_grad():
        built.gmms["gmm1"].logits.copy_(normal(4))
    return built


def state(given: DCGMM | None = None) -> dict[str, Any]:
    """What a training run writes."""
    return {
        "model": model_state(given or model()),
        "training": {"steps": 12, "generator": torch.Generator().manual_seed(0).get_state()},
        "config": {"seed": 3, "arch": ARCHITECTURE},
        "class_names": ["a", "b"],
    }


def written(directory: Path, content: dict[str, Any] | None = None) -> Path:
    write_state(directory / CHECKPOINT, content or state())
    return directory / CHECKPOINT


def refused(call: Callable[[Path], Any], path: Path) -> str:
    with pytest.raises(InputError) as error:
        call(path)
    message = str(error.value)
    assert "\n" not in message
    assert len(message) < 400
    return message


def assert_plain(value: object) -> None:
    if isinstance(value, dict):
        for key, inner in value.items():
            assert type(key) is str
            assert_plain(inner)
    elif isinstance(value, list):
        for inner in value:
            assert_plain(inner)
    else:
        assert value is None or type(value) in (torch.Tensor, int, float, str, bool)


def assert_same(one: DCGMM, other: DCGMM) -> None:
    assert one.architecture == other.architecture
    assert one.exponent == other.exponent
    assert one.dtype is other.dtype
    assert one.input_shape == other.input_shape
    assert [gmm.options for gmm in one.gmms.values()] == [gmm.options for gmm in other.gmms.values()]
    for name, value in one.state_dict().items():
        assert torch.equal(value, other.state_dict()[name])
    x = uniform(3, *one.input_shape)
    assert torch.equal(one.log_prob(x), other.log_prob(x))


def test_what_was_written_is_read_and_nothing_lies_beside_it(tmp_path: Path) -> None:
    given = state()
    path = written(tmp_path, {**given, "training": {"steps": 1}})
    written(tmp_path, given)
    loaded = read_state(path)
    assert loaded.keys() == {"format", "dcgmm", *given}
    assert loaded["dcgmm"] == dcgmm.__version__
    assert loaded["config"] == given["config"]
    assert loaded["training"]["steps"] == 12
    assert torch.equal(loaded["training"]["generator"], given["training"]["generator"])
    assert [path.name for path in path.parent.iterdir()] == ["last.pt"]


def test_files_are_plain_data(tmp_path: Path) -> None:
    path = written(tmp_path)
    loaded = torch.load(path, weights_only=True)
    assert loaded["format"] == 2
    assert_plain(loaded)
    save(model(), tmp_path / "model.pt")
    assert_plain(torch.load(tmp_path / "model.pt", weights_only=True))
    save_detector(Detector.fit(model(), uniform(9, 4, 6, 2)), tmp_path)
    assert_plain(torch.load(tmp_path / DETECTOR, weights_only=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_model_comes_back_as_it_was_saved(tmp_path: Path, dtype: torch.dtype) -> None:
    original = model().to(dtype)
    save(original, tmp_path / "folder" / "model.pt")
    assert_same(load(tmp_path / "folder" / "model.pt"), original)
    assert_same(load(str(tmp_path / "folder" / "model.pt")), original)
    assert_same(build_model(model_state(original)), original)


def test_a_model_built_by_hand_comes_back(tmp_path: Path) -> None:
    original = DCGMM(list(model().layers), exponent=2.0)  # type: ignore[arg-type]  # nn.ModuleList forgets types
    save(original, tmp_path / "model.pt")
    assert_same(load(tmp_path / "model.pt"), original)


def test_a_state_is_not_changed_by_what_the_model_learns_later() -> None:
    original = model()
    kept = model_state(original)
    before = copy.deepcopy(kept)
    with torch.no_grad():
        original.gmms["gmm1"].loc.add_(1)
    for name, value in before["parameters"].items():
        assert torch.equal(kept["parameters"][name], value)


def test_models_side_by_side_are_not_saved_as_one(tmp_path: Path) -> None:
    message = refused(lambda path: save(DCGMM.side_by_side([model(), model()]), path), tmp_path / "model.pt")
    check_names(message, "save", "one", "[2]")


def test_a_run_is_opened_by_its_directory(tmp_path: Path) -> None:
    original = model()
    path = written(tmp_path / "run", state(original))
    before = sorted(tmp_path.rglob("*"))
    run = load_run(tmp_path / "run")
    assert run.directory == tmp_path / "run"
    assert_same(run.model, original)
    assert run.config == {"seed": 3, "arch": ARCHITECTURE}
    assert run.class_names == ["a", "b"]
    assert run.state["training"]["steps"] == 12
    assert sorted(tmp_path.rglob("*")) == before
    assert_same(load(path), original)
    (tmp_path / "latest").symlink_to("run")
    assert load_run(str(tmp_path / "latest")).directory == tmp_path / "run"


def test_a_run_s_detector(tmp_path: Path) -> None:
    written(tmp_path)
    run = load_run(tmp_path)
    check_names(refused(lambda path: load_run(path).detector(), tmp_path), tmp_path, DETECTOR)
    original = Detector.fit(run.model, uniform(30, 4, 6, 2))
    save_detector(original, tmp_path)
    again, x = load_run(tmp_path).detector(), uniform(5, 4, 6, 2, seed=1)
    for name, values in original.scores(x).items():
        assert torch.equal(again.scores(x)[name], values)


@pytest.mark.parametrize(
    "content", [{}, {"detector": {}}, {"detector": None}, {"detector": {"positions": {"gmm1": 3}}}]
)
def test_a_damaged_detector(content: dict[str, Any], tmp_path: Path) -> None:
    written(tmp_path)
    write_state(tmp_path / DETECTOR, content)
    message = refused(lambda path: load_run(path).detector(), tmp_path)
    assert message.startswith(f"{tmp_path / DETECTOR} is damaged: ")


def test_a_detector_of_another_version(tmp_path: Path) -> None:
    written(tmp_path)
    torch.save({"format": 3}, tmp_path / DETECTOR)
    assert "(format 3)" in refused(lambda path: load_run(path).detector(), tmp_path)


def test_models_side_by_side_are_opened_one_by_one(tmp_path: Path) -> None:
    path = written(tmp_path, {"replicas": [state(), state()], "config": {}})
    message = f"{path} holds several models: give that of one, under replicas/"
    assert refused(load_run, tmp_path) == refused(load, path) == message


def test_without_a_checkpoint(tmp_path: Path) -> None:
    assert refused(load_run, tmp_path) == (
        f"{tmp_path} has no checkpoint (checkpoints/last.pt): train it first, or give another run"
    )
    assert refused(load_run, tmp_path / "none").startswith(f"{tmp_path / 'none'} is no directory")
    assert refused(load, tmp_path / "model.pt") == f"{tmp_path / 'model.pt'} does not exist"
    assert refused(read_state, tmp_path) == f"{tmp_path} is a directory"


def test_cut_short_anywhere(tmp_path: Path) -> None:
    path = written(tmp_path)
    whole = path.read_bytes()
    cuts = [0, 1, 4, 30, len(whole) // 4, len(whole) // 2, len(whole) - 100, len(whole) - 1]
    for cut in cuts:
        path.write_bytes(whole[:cut])
        assert refused(load_run, tmp_path).startswith(f"{path} is damaged and cannot be read"), cut


def test_another_byte_than_was_written(tmp_path: Path) -> None:
    path = written(tmp_path)
    whole = path.read_bytes()
    stored = load(path).state_dict()["layers.1.loc"].numpy().tobytes()
    place = whole.index(stored)
    for at in (place, place + len(stored) - 1):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        check_names(refused(load, path), path, "(BadZipFile)")


class Planted:
    """An object whose loading would run code."""

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, ("raise SystemExit('code from a checkpoint was run')",)


@pytest.mark.parametrize("content", [b"", b"\n", b"hello", b"PK\x03\x04", bytes(range(256)), pickle.dumps({}, 2)])
def test_another_kind_of_file(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_bytes(content)
    check_names(refused(load, tmp_path / "model.pt"), tmp_path / "model.pt", "train")


def test_code_in_a_file_is_not_run(tmp_path: Path) -> None:
    write_state(tmp_path / "model.pt", {"planted": Planted()})
    check_names(refused(load, tmp_path / "model.pt"), tmp_path / "model.pt", "(UnpicklingError)")


@pytest.mark.parametrize(
    ("content", "writer", "version"),
    [
        ({"format": 1, "model": {}, "config": {}}, "dcgmm 0.1", "1"),
        ({"format": 3}, "something else", "3"),
        ({"format": 0}, "something else", "0"),
        ({"model": {}}, "something else", "None"),
        ([1], "something else", "None"),
        ({"format": "2"}, "something else", "2"),
        ({"format": [2]}, "something else", "[2]"),
        ({"format": True}, "something else", "True"),
    ],
)
def test_another_format(content: object, writer: str, version: str, tmp_path: Path) -> None:
    path = tmp_path / CHECKPOINT
    path.parent.mkdir()
    torch.save(content, path)
    expected = (
        f"{path} was written by {writer} (format {version}); dcgmm {dcgmm.__version__} reads format 2: train it again"
    )
    assert refused(load_run, tmp_path) == refused(load, path) == refused(read_state, path) == expected


def without(part: str) -> Callable[[dict[str, Any]], None]:
    return lambda given: given.pop(part)


def changed(**parts: Any) -> Callable[[dict[str, Any]], None]:
    return lambda given: given.update(parts)


def parameter(name: str, change: Callable[[torch.Tensor], Any]) -> Callable[[dict[str, Any]], None]:
    def damage(given: dict[str, Any]) -> None:
        given["parameters"][name] = change(given["parameters"][name])

    return damage


def holding(value: float) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda tensor: tensor.index_fill(-1, torch.tensor([1]), value)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (without("architecture"), "KeyError: 'architecture'"),
        (without("parameters"), "KeyError: 'parameters'"),
        (changed(parameters=None), "AttributeError"),
        (changed(input_shape=[4, 6]), "OptionError: input_shape "),
        (changed(input_shape=[2, 6, 2]), r"InputError: layer 1, F\(.* 2x6 "),
        (changed(input_shape=3), "TypeError"),
        (changed(dtype="float16"), "InputError: .* float16, .* float32"),
        (changed(architecture={**ARCHITECTURE, "exponent": 0.0}), "OptionError: exponent .* 0.0"),
        (changed(gmm={"precision_limit": -1.0}), "OptionError: precision_limit .* -1.0"),
        (
            parameter("layers.1.loc", lambda loc: loc[:-1]),
            r"InputError: parameter layers.1.loc of shape \[3, 12\], not",
        ),
        (parameter("layers.1.loc", lambda _: "mu"), r"InputError: parameter layers.1.loc of shape \[\], not"),
        (parameter("layers.1.loc", holding(torch.nan)), "InputError: NaN .* layers.1.loc"),
        (parameter("layers.1.logits", holding(torch.inf)), "InputError: .* infinite .* layers.1.logits"),
        (parameter("layers.1.precision_sqrt", holding(-1.0)), "InputError: .* gmm1"),
    ],
)
def test_parts_that_do_not_fit_each_other(damage: Callable[[dict[str, Any]], None], said: str, tmp_path: Path) -> None:
    content = state()
    damage(content["model"])
    path = written(tmp_path, content)
    for call, given in ((load, path), (load_run, tmp_path)):
        message = refused(call, given)
        assert re.match(rf"{re.escape(str(path))} is damaged: ({said}).*; train it again$", message), message


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (parameter("layers.1.loc", lambda loc: loc.long()), "InputError: .* layers.1.loc .* int64"),
        *(
            (parameter("layers.1.loc", change), "InputError: model.parameters.layers.1.loc ")
            for change in (
                lambda loc: loc[:, :1].expand(loc.shape),
                lambda loc: loc.to_sparse(),
                lambda loc: loc.to(torch.complex64),
                lambda loc: loc.half(),
                lambda loc: loc.to("meta"),
            )
        ),
        (lambda given: given["parameters"].pop("layers.1.loc"), "InputError: parameters layers.1.logits, "),
        (lambda given: given["parameters"].update(more=torch.zeros(1)), "InputError: parameters .*more"),
        (changed(architecture={**ARCHITECTURE, "name": "../../x"}), "OptionError: name .* ../../x"),
        (changed(architecture={**ARCHITECTURE, "layers": ARCHITECTURE["layers"] * 9}), "InputError: layer 3, "),
        (changed(input_shape=[10**9, 10**9, 1]), "InputError: parameter|InputError: .*memory"),
        (changed(gmm=[]), "OptionError: GMMOptions .* empty"),
    ],
)
def test_parameters_that_are_not_the_model_s(
    damage: Callable[[dict[str, Any]], Any], said: str, tmp_path: Path
) -> None:
    content = state()
    damage(content["model"])
    path = written(tmp_path, content)
    message = refused(load, path)
    assert re.match(rf"{re.escape(str(path))} is damaged: ({said})", message), message


def test_no_memory_is_taken_for_what_does_not_fit(tmp_path: Path) -> None:
    content = state()
    components = 20_000**2
    content["model"]["architecture"] = {"layers": [{"type": "gmm", "components": components}]}
    content["model"]["parameters"] = {
        f"layers.0.{name}": torch.zeros(1).expand(shape)  # one stored value
        for name, shape in (("logits", [components]), ("loc", [components, 2]), ("precision_sqrt", [components, 2]))
    }
    message = refused(load, written(tmp_path, content))
    check_names(message, "model.parameters.layers.0.precision_sqrt")


def test_an_archive_that_holds_more_than_the_file_does(tmp_path: Path) -> None:
    path = written(tmp_path)
    packed = tmp_path / "packed.pt"
    with zipfile.ZipFile(path) as one, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as other:
        for member in one.namelist():
            other.writestr(member, one.read(member))
    check_names(refused(load, packed), packed, "(BadZipFile)")


def test_what_is_no_regular_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert refused(load, tmp_path / "pipe") == f"{tmp_path / 'pipe'} is no regular file"


@pytest.mark.parametrize(
    ("key", "value"), [("config", 3), ("config", [1]), ("class_names", "ab"), ("class_names", [1]), ("classes", 7)]
)
def test_a_run_s_other_parts(key: str, value: object, tmp_path: Path) -> None:
    path = written(tmp_path, {**state(), key: value})
    assert refused(load_run, tmp_path).startswith(f"{path} is damaged: InputError: its {key} ")


def detector_state(change: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    content = Detector.fit(model(), uniform(9, 4, 6, 2)).state_dict()
    change(content)
    return {"detector": content}


@pytest.mark.parametrize(
    "change",
    [
        lambda given: given["positions"].update(gmm2=given["positions"]["gmm1"]),
        lambda given: given["positions"]["gmm1"].update(mean=torch.zeros(1, 1)),
        lambda given: given["positions"]["gmm1"].update(mean=given["positions"]["gmm1"]["mean"].to(torch.complex64)),
        lambda given: given["positions"]["gmm1"].update(count=0),
        lambda given: given["positions"]["gmm1"].update(count="9"),
        lambda given: given["positions"]["gmm1"]["mean"].fill_(torch.nan),
        lambda given: given["positions"]["gmm1"]["squares"].fill_(-1),
        lambda given: given["images"].pop("joint"),
        lambda given: given["images"]["joint"].update(mean=torch.zeros(2)),
        lambda given: given["pixels"].update(mean=torch.zeros(4, 7)),
        lambda given: given["pixels"].pop("mean"),
        lambda given: given["pixels"]["variance"].fill_(0),
        lambda given: given["pixels"]["weights"].fill_(-1),
        lambda given: given["pixels"]["weights"].fill_(0),
        lambda given: given["pixels"].update(weights=given["pixels"]["weights"].long()),
        lambda given: given["pixels"]["mean"].fill_(torch.inf),
        lambda given: given["calibration"]["scores"].pop("auto"),
        lambda given: given["calibration"]["worst"].update(gmm9=given["calibration"]["worst"]["gmm1"]),
        lambda given: given["calibration"]["scores"]["joint"].update(scale=0.0),
        lambda given: given["calibration"]["scores"]["joint"]["values"].fill_(1),
        lambda given: given["calibration"]["positions"]["gmm1"]["log_p"].fill_(torch.nan),
    ],
)
def test_a_detector_that_is_not_the_model_s(change: Callable[[dict[str, Any]], Any], tmp_path: Path) -> None:
    written(tmp_path)
    write_state(tmp_path / DETECTOR, detector_state(change))
    message = refused(lambda path: load_run(path).detector(), tmp_path)
    assert message.startswith(f"{tmp_path / DETECTOR} is damaged: ")


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert refused(lambda path: save(model(), path), tmp_path / "file" / "model.pt").startswith("cannot write ")


def test_a_write_that_fails_keeps_the_file_before(tmp_path: Path) -> None:
    path = written(tmp_path)
    before = path.read_bytes()
    with pytest.raises((AttributeError, pickle.PicklingError)):
        write_state(path, {"broken": lambda: None})
    assert path.read_bytes() == before
    assert [path.name for path in path.parent.iterdir()] == ["last.pt"]


def test_a_file_without_a_model_is_not_called_damaged(tmp_path: Path) -> None:
    path = written(tmp_path, {"detector": {}})
    assert refused(load, path) == f"{path} holds no model"
