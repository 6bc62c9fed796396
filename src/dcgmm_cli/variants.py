"""Control signals that images are drawn from, of given images or of a file.

Shapes: N signals, H W positions of the layer that is started in, K its components.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dcgmm.errors import InputError
from dcgmm.generation.variants import control_signal
from dcgmm.images import to_float
from dcgmm.model import DCGMM
from dcgmm_cli.array_files import read_array
from dcgmm_cli.schema import TEST, SampleConfig
from dcgmm_cli.trained import OpenedRun

IMAGES = 10  # test images that variants are drawn of


@dataclass(frozen=True)
class Signals:
    """Control signals, each of which as many images are drawn from."""

    control: Tensor  # (N, H, W, K), on the model's device
    originals: Tensor | None  # (N, H, W, C) in [0, 1], of which they are the responsibilities

    def index(self, count: int) -> Tensor:  # (count,)
        """Which of them each of so many images is drawn from: in their order, evenly."""
        return torch.arange(count) * len(self.control) // count

    def weights(self, count: int) -> Tensor:  # (count, H, W, K)
        """What the components of so many images are drawn by."""
        return self.control[self.index(count).to(self.control.device)]


def check_signals(config: SampleConfig) -> None:
    """Check that the options have an effect.

    Raises:
        InputError: one has none.
    """
    if config.like is not None and config.control is not None:
        raise InputError(f"like={config.like} and control={config.control} both give a control signal: leave one out")
    if config.images is not None and config.like != TEST:
        given = f"images={config.images} has no effect without like={TEST}"
        raise InputError(f"{given}: it says how many test images are varied")


def signals_of(config: SampleConfig, opened: OpenedRun) -> Signals | None:
    """The control signals of `like` or `control`; None where neither is given.

    Raises:
        InputError: images or file are missing or do not fit the model, or there are more than images to draw.
    """
    model, start = opened.model, config.sampling.start
    if config.like is not None:
        originals = _originals(config, opened)
        found = Signals(control_signal(model, originals, start), originals.cpu())
    elif config.control is not None:
        found = Signals(_read(config.control, model, start).to(model.device, model.dtype), None)
    else:
        return None
    if len(found.control) > config.sampling.count:
        what = f"sampling.count={config.sampling.count} draws fewer images than there are control signals"
        raise InputError(f"{what}: {len(found.control)}")
    return found


def _originals(config: SampleConfig, opened: OpenedRun) -> Tensor:  # (N, H, W, C)
    assert config.like is not None
    if config.like == TEST:
        images = opened.data().test.images
        generator = torch.Generator().manual_seed(config.seed)
        return to_float(
            images[torch.randperm(len(images), generator=generator)[: config.images or IMAGES]], torch.float32
        )
    return opened.run.prepare(config.like).images


def _read(path: str, model: DCGMM, start: str | None) -> Tensor:  # (N, H, W, K)
    """A file's control signals.

    Raises:
        InputError: it cannot be read, or its array is none of the layer that is started in.
    """
    name = start or list(model.gmms)[-1]
    if name not in model.gmms:
        raise InputError(f"sampling.start={name} is no GMM layer of the model ({', '.join(model.gmms)})")
    array, shape = read_array("control", path, "control"), model.gmms[name].output_shape
    if array.ndim != 4 or array.shape[1:] != tuple(shape) or not len(array):
        found, wanted = ("x".join(map(str, sizes)) for sizes in (array.shape, ("N", *shape)))
        raise InputError(f"control={path} holds an array {found or 'of one number'}; {name} takes {wanted}")
    if array.dtype.kind not in "buif" or not np.isfinite(array).all() or (array < 0).any():
        raise InputError(f"control={path} holds values that are no weights: give finite numbers of at least 0")
    return torch.from_numpy(array.astype(np.float64))
