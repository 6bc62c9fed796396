"""A model that knows how its scores are distributed over its training images, and so tells outliers (section 3.2.2)."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from dcgmm.errors import OptionError
from dcgmm.images import Images, as_images, image_batches, to_float
from dcgmm.model.stack import DCGMM
from dcgmm.outliers.moments import Moments, log_likelihood_moments, standardise
from dcgmm.outliers.options import LAYER_SCORES, SCORES
from dcgmm.outliers.pixels import PixelMixture, PixelSums
from dcgmm.outliers.scores import joint, own_scores, position_maps


@dataclass(frozen=True)
class ImageReport:
    """What a detector says of some images."""

    scores: dict[str, Tensor]  # (N,) float64, by name
    maps: dict[str, Tensor]  # (N, H, W) float64, standardised log-likelihood by GMM layer


@dataclass(frozen=True)
class Detector:
    """A model that knows how its scores are distributed over its training images. The scores: `dcgmm.outliers.scores`.

    Example:
        >>> import dcgmm
        >>> model = dcgmm.DCGMM.build((28, 28, 1), dcgmm.arch("2L-b"))
        >>> detector = Detector.fit(model, torch.rand(50, 28, 28, 1))
        >>> detector.scores(torch.rand(3, 28, 28, 1))["joint"].shape
        torch.Size([3])
    """

    model: DCGMM
    positions: dict[str, Moments]  # by GMM layer: log-likelihood at each position, (H, W)
    images: dict[str, Moments]  # by score: its distribution over the images, ()
    pixels: PixelMixture

    @classmethod
    @torch.no_grad()
    def fit(cls, model: DCGMM, images: Images, batch_size: int | None = None) -> Self:
        """Measure the scores of training images.

        Args:
            model: trained, one (no batch_shape).
            images: (N, H, W, C), N >= 1, as `as_images` takes them.
            batch_size: images at a time; by default as many as memory bears.

        Raises:
            InputError: there are no images, or they do not fit the model.
        """
        given, size = as_images(images, model.input_shape), batch_size or model.batch_size
        if not len(given):
            raise OptionError("images", "at least one training image", "none")
        positions, sums = log_likelihood_moments(model, given, size), PixelSums()

        def batches() -> Iterator[Tensor]:
            for batch in image_batches(given, size, model.dtype):
                yield batch.to(model.device)

        def parts() -> Iterator[dict[str, Tensor]]:
            for batch in batches():
                scored = model.score_floats(batch)
                sums.add(batch, list(scored.values())[-1])
                yield own_scores(model, scored, position_maps(scored, positions))

        scores = _gathered(parts(), len(given))
        pixels = sums.mixture(model.dtype)
        scores |= _gathered(({"pixels": pixels.log_prob(batch)} for batch in batches()), len(given))
        moments = {name: Moments.of(values) for name, values in scores.items()}
        moments["joint"] = Moments.of(joint(scores, moments, list(positions)[-1]))
        return cls(model, positions, moments, pixels)

    @classmethod
    def from_state(cls, model: DCGMM, state: Mapping[str, Any]) -> Self:
        """The detector that `state_dict` was taken of."""
        device = model.device
        positions, images = (
            {name: Moments.from_state(part, device) for name, part in state[group].items()}
            for group in ("positions", "images")
        )
        return cls(model, positions, images, PixelMixture.from_state(state["pixels"], device))

    def state_dict(self) -> dict[str, Any]:
        """What was measured, as tensors and built-ins."""
        return {
            "positions": {name: moments.state_dict() for name, moments in self.positions.items()},
            "images": {name: moments.state_dict() for name, moments in self.images.items()},
            "pixels": self.pixels.state_dict(),
        }

    @torch.no_grad()
    def report(self, images: Images) -> ImageReport:  # (N, H, W, C)
        """Scores and maps of one batch, on the model's device.

        Raises:
            InputError: the images do not fit the model.
        """
        given = as_images(images, self.model.input_shape)
        return self.report_floats(to_float(given.to(self.model.device), self.model.dtype))

    def report_floats(self, x: Tensor) -> ImageReport:  # (N, H, W, C)
        """`report` of what is known to be images, as floats on the model's device."""
        scored = self.model.score_floats(x)
        maps = position_maps(scored, self.positions)
        scores = own_scores(self.model, scored, maps) | {"pixels": self.pixels.log_prob(x)}
        scores["joint"] = joint(scores, self.images, self.layers[-1])
        return ImageReport({name: scores[name] for name in self.names}, maps)

    @torch.no_grad()
    def reports(self, images: Images, batch_size: int | None = None) -> Iterator[ImageReport]:  # (N, H, W, C)
        """Reports of images, batch by batch."""
        given = as_images(images, self.model.input_shape)
        for batch in image_batches(given, batch_size or self.model.batch_size, self.model.dtype):
            yield self.report_floats(batch.to(self.model.device))

    def scores(self, images: Images, batch_size: int | None = None) -> dict[str, Tensor]:  # (N, H, W, C) -> (N,) each
        """All scores of images, by name, float64, on the CPU.

        Raises:
            InputError: the images do not fit the model.
        """
        reports = self.reports(images, batch_size)
        gathered = _gathered(
            ({name: values.cpu() for name, values in report.scores.items()} for report in reports), len(images)
        )
        return gathered or {name: torch.empty(0, dtype=torch.float64) for name in self.names}

    def standardised(self, name: str, scores: Tensor) -> Tensor:  # (N,) -> (N,)
        """A score in training standard deviations from its training mean: an outlier at c lies below -c."""
        moments = self.images[name]
        return standardise(scores.to(moments.mean.device), moments).to(scores.device)

    def threshold(self, name: str, c: float) -> float:
        """Smallest score of an inlier, mean - c std over the training images."""
        moments = self.images[name]
        return float(moments.mean - c * moments.variance.sqrt())

    def name_of(self, score: str, layer: str | None = None) -> str:
        """Name among `names` of a score: its own, or log_prob and standardised in a GMM layer, by default the top one.

        Raises:
            OptionError: there is no such score.
        """
        name = f"{layer or self.layers[-1]}_{score}" if score in LAYER_SCORES else score
        if name not in self.names:
            raise OptionError("score", f"one of {', '.join(dict.fromkeys([*SCORES, *self.names]))}", score)
        return name

    @property
    def names(self) -> list[str]:
        """All scores."""
        layers = [f"{layer}_{score}" for layer in self.layers for score in LAYER_SCORES]
        return [*layers, *(score for score in SCORES if score not in LAYER_SCORES)]

    @property
    def layers(self) -> list[str]:
        """GMM layers from below."""
        return list(self.positions)


def _gathered(batches: Iterable[Mapping[str, Tensor]], count: int) -> dict[str, Tensor]:  # (n,) each -> (count,) each
    """Values of all batches, by name.

    They are copied into tensors that are there from the start: small ones that outlive their batch would keep the
    allocator from using the memory of the batch's large ones again.
    """
    gathered: dict[str, Tensor] = {}
    first = 0
    for batch in batches:
        size = 0
        for name, values in batch.items():
            if name not in gathered:
                gathered[name] = values.new_empty(count)
            size = len(values)
            gathered[name][first : first + size] = values
        first += size
    return gathered
