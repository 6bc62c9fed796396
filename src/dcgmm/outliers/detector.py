"""A model that knows how its scores are distributed over its training images, and so tells outliers (section 3.2.2)."""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from dcgmm.errors import InputError, OptionError
from dcgmm.images import Images
from dcgmm.model.stack import DCGMM
from dcgmm.outliers.batches import Batch, batches
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
        sums = PixelSums()
        for batch in batches(model, _some(images), size=batch_size):
            sums.add(batch.x, list(batch.scored(model).values())[-1])
        return cls._measured(model, images, None, batch_size, sums.mixture(model.dtype))

    @torch.no_grad()
    def seen_through(self, images: Images, observed: Images, batch_size: int | None = None) -> Self:
        """The detector for images of which only a part was seen: its moments are those of training images seen so.

        A score falls and rises with what is seen of an image, so that only an image of which the same part was seen
        can be compared; thresholds then keep about as many inliers as those of whole images do.

        Args:
            images: training images, whole, N >= 1; some hundred are enough for the moments of one mask.
            observed: (H, W), or (M, H, W) masks of a kind, as random ones of one share are: training image i is seen
                through mask i modulo M, and the moments are those over images and masks together.
            batch_size: images at a time; by default as many as memory bears.

        Raises:
            InputError: there are no images, or they or the masks do not fit the model.

        Example:
            >>> import dcgmm
            >>> model = dcgmm.DCGMM.build((28, 28, 1), dcgmm.arch("2L-b"))
            >>> training, left = torch.rand(50, 28, 28, 1), torch.arange(28).expand(28, 28) < 14
            >>> detector = Detector.fit(model, training).seen_through(training, left)
            >>> detector.scores(torch.rand(3, 28, 28, 1), observed=left)["joint"].shape
            torch.Size([3])
        """
        masks = torch.as_tensor(observed)
        if masks.dim() == 3 and len(masks):
            masks = masks[torch.arange(len(_some(images))) % len(masks)]
        return self._measured(self.model, images, masks, batch_size, self.pixels)

    @classmethod
    def _measured(
        cls, model: DCGMM, images: Images, observed: Tensor | None, batch_size: int | None, pixels: PixelMixture
    ) -> Self:
        """The detector with the moments of training images' scores."""
        positions = log_likelihood_moments(model, _some(images), batch_size, observed)

        def parts() -> Iterator[dict[str, Tensor]]:
            for batch in batches(model, images, observed, batch_size):
                scored = batch.scored(model)
                scores = own_scores(model, scored, position_maps(scored, positions))
                yield scores | {"pixels": pixels.log_prob(*batch)}

        scores = _gathered(parts(), len(images))
        moments = {name: Moments.of(values) for name, values in scores.items()}
        moments["joint"] = Moments.of(joint(scores, moments, list(positions)[-1]))
        return cls(model, positions, moments, pixels)

    @classmethod
    def from_state(cls, model: DCGMM, state: Mapping[str, Any]) -> Self:
        """The detector that `state_dict` was taken of.

        Raises:
            InputError: it was taken of another model's, or holds what is no such state.
        """
        device = model.device
        positions, images = (
            {name: Moments.from_state(part, device) for name, part in state[group].items()}
            for group in ("positions", "images")
        )
        shapes = {name: (gmm.output_shape.height, gmm.output_shape.width) for name, gmm in model.gmms.items()}
        pixels = PixelMixture.from_state(state["pixels"], device)
        restored = cls(model, positions, images, pixels)
        if not (_sound(positions, shapes) and _sound(images, dict.fromkeys(restored.names, ()))):
            raise InputError("the detector is of another model, or holds what are no moments")
        top = list(model.gmms.values())[-1]
        pixels.check(top.logits.numel(), math.prod(model.input_shape))
        return restored

    def state_dict(self) -> dict[str, Any]:
        """What was measured, as tensors and built-ins."""
        return {
            "positions": {name: moments.state_dict() for name, moments in self.positions.items()},
            "images": {name: moments.state_dict() for name, moments in self.images.items()},
            "pixels": self.pixels.state_dict(),
        }

    @torch.no_grad()
    def report(self, images: Images, observed: Images | None = None) -> ImageReport:  # (N, H, W, C)
        """Scores and maps of one batch, on the model's device.

        Args:
            images: as `as_images` takes them; what was not seen may be anything, NaN too.
            observed: (N, H, W) or (H, W), which pixels were seen; None: all. For thresholds that hold then, the
                detector must be one of such images: `seen_through`.

        Raises:
            InputError: the images or the mask do not fit the model.
        """
        return self.report_floats(*Batch.of(self.model, images, observed))

    def report_floats(self, x: Tensor, seen: Tensor | None = None) -> ImageReport:  # (N, H, W, C)
        """`report` of what is known to be images, as floats on the model's device; and what was seen, 0 elsewhere."""
        scored = Batch(x, seen).scored(self.model)
        maps = position_maps(scored, self.positions)
        scores = own_scores(self.model, scored, maps) | {"pixels": self.pixels.log_prob(x, seen)}
        scores["joint"] = joint(scores, self.images, self.layers[-1])
        return ImageReport({name: scores[name] for name in self.names}, maps)

    @torch.no_grad()
    def reports(
        self, images: Images, batch_size: int | None = None, observed: Images | None = None
    ) -> Iterator[ImageReport]:
        """Reports of images, batch by batch; arguments as for `report`."""
        for batch in batches(self.model, images, observed, batch_size):
            yield self.report_floats(*batch)

    def scores(
        self, images: Images, batch_size: int | None = None, observed: Images | None = None
    ) -> dict[str, Tensor]:  # (N,) each
        """All scores of images, by name, float64, on the CPU; arguments as for `report`.

        Raises:
            InputError: the images or the mask do not fit the model.
        """
        reports = self.reports(images, batch_size, observed)
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


def _sound(moments: Mapping[str, Moments], shapes: Mapping[str, tuple[int, ...]]) -> bool:
    """Whether there are moments of these names and shapes, and can be such."""
    return moments.keys() == shapes.keys() and all(
        type(each.count) is int
        and each.count >= 1
        and tuple(each.mean.shape) == tuple(each.squares.shape) == shapes[name]
        and bool(each.mean.isfinite().all() and each.squares.isfinite().all() and (each.squares >= 0).all())
        for name, each in moments.items()
    )


def _some(images: Images) -> Images:
    if not len(images):
        raise OptionError("images", "at least one training image", "none")
    return images


def _gathered(parts: Iterable[Mapping[str, Tensor]], count: int) -> dict[str, Tensor]:  # (n,) each -> (count,) each
    """Values of all batches, by name.

    They are copied into tensors that are there from the start: small ones that outlive their batch would keep the
    allocator from using the memory of the batch's large ones again.
    """
    gathered: dict[str, Tensor] = {}
    first = 0
    for batch in parts:
        size = 0
        for name, values in batch.items():
            if name not in gathered:
                gathered[name] = values.new_empty(count)
            size = len(values)
            gathered[name][first : first + size] = values
        first += size
    return gathered
