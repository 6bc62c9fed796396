"""Models in files: plain state dicts of tensors and built-ins, loaded with `weights_only=True`.

A training run's checkpoint holds its model in the same form, and beside it all that training goes on from.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

import dcgmm
from dcgmm.background import on_host
from dcgmm.classification.classifier import Classifier
from dcgmm.classification.fitting import fit_classifier
from dcgmm.classification.options import Method
from dcgmm.datasets import DatasetOptions, ImageData, loading
from dcgmm.errors import InputError
from dcgmm.files import CHECKPOINT, DETECTOR, check_archive, write_whole
from dcgmm.model.arrays import check_stored
from dcgmm.model.stack import DCGMM
from dcgmm.options import made
from dcgmm.outliers.detector import Detector
from dcgmm.states import build_model, model_state

if TYPE_CHECKING:
    from dcgmm.datasets.images import ImageBatch, Preparation

FORMAT = 2
# What comes of parts that are missing, of another type or shape, or do not fit each other.
_UNFIT = (ValueError, LookupError, TypeError, AttributeError, RuntimeError, ArithmeticError, AssertionError)
WRITTEN_BY = {1: "0.1"}  # earlier formats: the version of dcgmm that wrote them


def save(model: DCGMM, path: str | Path) -> None:
    """Write a model, whole or not at all.

    Args:
        model: the model, one (no batch_shape).
        path: of the file.

    Raises:
        InputError: the file cannot be written, or the model is several, side by side.

    Examples:
        >>> import tempfile
        >>> import dcgmm
        >>> model = dcgmm.DCGMM.build((28, 28, 1), dcgmm.arch("1L"))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     dcgmm.save(model, f"{folder}/model.pt")
        ...     print(dcgmm.load(f"{folder}/model.pt").architecture)
        F(28,28,1,1) G(25)
    """
    if model.batch_shape:
        raise InputError(f"save takes one model, this one holds {list(model.batch_shape)} side by side")
    write_state(Path(path), {"model": model_state(model)})


def load(path: str | Path) -> DCGMM:
    """The model in a file that `save` wrote, or in a run's checkpoint; on the CPU.

    Args:
        path: of the file.

    Raises:
        InputError: the file is missing or damaged, or another version of dcgmm wrote it.

    Examples:
        >>> import dcgmm
        >>> dcgmm.load("runs/latest/checkpoints/last.pt").input_shape
        Shape(height=28, width=28, channels=1)
    """
    return _model(read_state(Path(path)), Path(path))


@dataclass(frozen=True)
class TrainedRun:
    """A training run: its model, on the CPU, and what it was trained with.

    Attributes:
        directory: of the run.
        model: as training left it, or had it at its last checkpoint.
        config: as `dcgmm train --cfg job` shows it.
        class_names: of the data set, also of classes that the run was not trained on.
        state: the checkpoint.

    Examples:
        >>> import dcgmm
        >>> run = dcgmm.load_run("runs/latest")
        >>> str(run.model.architecture), run.config["dataset"]["name"], run.finished
        ('F(7,7,7,7) G(25) F(4,4,1,1) G(36)', 'mnist_sample', True)
    """

    directory: Path
    model: DCGMM
    config: dict[str, Any] = field(repr=False)
    class_names: list[str]
    state: dict[str, Any] = field(repr=False)

    @property
    def classes(self) -> list[str]:
        """Names of the classes that it was trained on."""
        given = self.config.get("dataset", {}).get("classes")
        if "classes" not in self.state and given is not None:  # written before they stood there
            from dcgmm.datasets.loading import labels_of

            return [self.class_names[label] for label in labels_of(given, self.class_names)]
        return list(self.state.get("classes", self.class_names))

    @property
    def preparation(self) -> "Preparation":
        """What became of images before they were trained on: so are new ones to be prepared."""
        from dcgmm.datasets.images import Preparation  # imports Pillow

        return Preparation.of(self.model.input_shape, self.config.get("dataset", {}))

    def prepare(self, path: str | Path, *, missing: bool = False) -> "ImageBatch":
        """Images of a folder, an image file, or a .npy or .npz file, as the model takes them.

        Args:
            path: arrays are taken as they are; image files are prepared as those that the run was trained on.
            missing: whether arrays may hold NaN, for pixels that were not seen.

        Raises:
            InputError: there are no such images, or none of them can be used.

        Examples:
            >>> import dcgmm
            >>> run = dcgmm.load_run("runs/latest")
            >>> run.detector().scores(run.prepare("new.npy").images)["joint"].shape
            torch.Size([5])
        """
        from dcgmm.datasets.images import load_images

        return load_images(path, self.preparation, missing=missing)

    @property
    def finished(self) -> bool:
        """Whether its training has come to its end."""
        return bool(self.state.get("finished"))

    def detector(self) -> Detector:
        """The outlier detector that training left.

        Raises:
            InputError: training has not ended, or the detector's file is damaged.
        """
        path = self.directory / DETECTOR
        if not path.is_file():
            raise InputError(f"{self.directory} has no detector ({DETECTOR}): its training has not ended")
        state = read_state(path)
        with fitting(path):
            return Detector.from_state(self.model, state["detector"])

    def data(self) -> ImageData:
        """The images that it was trained and tested on, if they are still where they were, or in the default place.

        Raises:
            InputError: they are not, or cannot be read.
        """
        return loading.load(loading.at_hand(made(DatasetOptions, self.config["dataset"])))

    def classifier(self, method: Method | str = "generative", *, seed: int = 0, **fields: Any) -> Classifier:
        """A classifier fitted to the labels of its training images, which its model was trained without.

        Args:
            method: generative or readout.
            seed: of the images that are held out, for what is chosen by them.
            fields: of `GenerativeOptions` or `ReadoutOptions`.

        Raises:
            InputError: the data are missing, are of one class, or an option is unknown or out of its range.

        Examples:
            >>> import dcgmm
            >>> run = dcgmm.load_run("runs/latest")
            >>> run.classifier().predict(run.prepare("new.npy").images).shape
            torch.Size([5])
        """
        train = self.data().train
        return fit_classifier(self.model, train.images, train.labels, method, seed=seed, **fields)


def load_run(path: str | Path) -> TrainedRun:
    """A training run, by its directory; writes nothing.

    Args:
        path: of the directory, as `dcgmm train` tells it on its last line.

    Raises:
        InputError: there is no such run, it has no checkpoint, or that is damaged or of another version.

    Examples:
        >>> import dcgmm
        >>> run = dcgmm.load_run("runs/latest")
        >>> dcgmm.sample(run.model, 4, seed=1).images.shape, run.data().test.images.shape
        (torch.Size([4, 28, 28, 1]), torch.Size([300, 28, 28, 1]))
    """
    directory = Path(path).resolve()
    if not (directory / CHECKPOINT).is_file():
        what = "has no checkpoint" if directory.is_dir() else "is no directory"
        raise InputError(f"{path} {what} ({CHECKPOINT}): train it first, or give another run")
    state = read_state(directory / CHECKPOINT)
    model = _model(state, directory / CHECKPOINT)
    config = state.get("config", {})
    with fitting(directory / CHECKPOINT):
        if not isinstance(config, dict):
            raise InputError(f"its config must be a dictionary, not {type(config).__name__}")
        check_names(state)
    return TrainedRun(directory, model, config, state.get("class_names", []), state)


def check_names(state: Mapping[str, Any]) -> None:
    """Check the names of classes in a run's state.

    Raises:
        InputError: they are no texts.
    """
    for key in ("class_names", "classes"):
        names = state.get(key, [])
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise InputError(f"its {key} must be a list of texts, not {names!r:.50}")


def save_detector(detector: Detector, directory: Path) -> None:
    """Write a run's detector, whole or not at all."""
    write_state(directory / DETECTOR, {"detector": detector.state_dict()})


def write_state(path: Path, state: dict[str, Any]) -> None:
    """Write a state of tensors and built-ins with its format version, whole or not at all, over the one before.

    In the file all tensors are on the CPU.

    Raises:
        InputError: the file cannot be written.
    """
    marks = {"format": FORMAT, "dcgmm": dcgmm.__version__}
    content, wait = on_host(state)
    wait()
    write_whole(path, lambda file: torch.save({**marks, **content}, file))


def read_state(path: Path) -> dict[str, Any]:
    """State that `write_state` wrote, with all tensors on the CPU.

    Raises:
        InputError: the file is missing or damaged, or its format version is another.
    """
    if not path.is_file():
        what = "does not exist" if not path.exists() else "is a directory" if path.is_dir() else "is no regular file"
        raise InputError(f"{path} {what}")
    try:
        check_archive(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever torch's unpickler comes across in a damaged file
        raise InputError(f"{path} is damaged and cannot be read ({type(error).__name__}); train it again") from None
    version = state.get("format") if isinstance(state, dict) else None
    if type(version) is not int or version != FORMAT:
        by = f"dcgmm {WRITTEN_BY[version]}" if type(version) is int and version in WRITTEN_BY else "something else"
        reads = f"dcgmm {dcgmm.__version__} reads format {FORMAT}"
        raise InputError(f"{path} was written by {by} (format {version}); {reads}: train it again")
    assert isinstance(state, dict)
    with fitting(path):
        check_stored(state)
    return state


@contextmanager
def fitting(path: Path) -> Iterator[None]:
    """Name the file whose content does not fit together.

    Raises:
        InputError: what was made of its content could not be.
    """
    try:
        yield
    except _UNFIT as error:
        said = next(iter(str(error).splitlines()), "")[:200]
        raise InputError(f"{path} is damaged: {type(error).__name__}: {said}; train it again") from None


def _model(state: dict[str, Any], path: Path) -> DCGMM:
    if "model" not in state or "replicas" in state:
        what = "several models: give that of one, under replicas/" if "replicas" in state else "no model"
        raise InputError(f"{path} holds {what}")
    with fitting(path):
        return build_model(state["model"])
