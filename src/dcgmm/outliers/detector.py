"""A model that knows how its scores are distributed over its training images, and so tells outliers (section 3.2.2)."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor

from dcgmm.distributed import ALONE, Processes
from dcgmm.errors import InputError, OptionError
from dcgmm.images import Images, as_mask
from dcgmm.model.stack import DCGMM
from dcgmm.outliers.batches import Batch, batches, gathered
from dcgmm.outliers.calibration import Calibration
from dcgmm.outliers.measuring import left_out, measured
from dcgmm.outliers.moments import Moments, log_likelihood_moments, sound, standardise
from dcgmm.outliers.options import LAYER_SCORES, MODEL_SCORES, SCORES
from dcgmm.outliers.pixels import PixelMixture, pixel_mixture
from dcgmm.outliers.scores import ImageReport, Scores, joint, layer_worst, own_scores, position_maps

OPTIONAL = ("pixels", "worst_region", "auto")  # scores that a detector may lack: it is pooled, or of an earlier version
FEW = 1000  # images of a pooled detector; of more, one counts little in what the model has learnt


@dataclass(frozen=True)
class Detector:
    """A model that knows how its scores are distributed over its training images. The scores: `dcgmm.outliers.scores`.

    Examples:
        >>> import dcgmm
        >>> model = dcgmm.DCGMM.build((28, 28, 1), dcgmm.arch("2L-b"))
        >>> train = dcgmm.datasets.load("mnist_sample", limit=50).train.images
        >>> dcgmm.Detector.fit(model, train).scores(train[:3])["joint"].shape
        torch.Size([3])
    """

    model: DCGMM
    positions: dict[str, Moments]  # by GMM layer: log-likelihood at each position, (H, W); pooled over all, (1, 1)
    images: dict[str, Moments]  # by score: its distribution over the images, ()
    pixels: PixelMixture | None  # None: positions are pooled, and there is no such score
    calibration: Calibration | None  # None: an earlier version measured it, without auto and p-values

    @classmethod
    @torch.no_grad()
    def fit(
        cls,
        model: DCGMM,
        images: Images,
        batch_size: int | None = None,
        *,
        pooled: bool = False,
        processes: Processes = ALONE,
    ) -> Self:
        """Measure the scores of training images.

        Args:
            model: trained, one (no batch_shape).
            images: (N, H, W, C), N >= 1, as `as_images` takes them.
            batch_size: images at a time; by default as many as memory bears.
            pooled: whether a layer's positions are alike, as in textures: one mean and deviation for all of them,
                which few images are enough for, and no score `pixels`, which knows places. p-values are then by
                scores that each of up to 1,000 images gets from a model without it (`dcgmm.outliers.jackknife`).
            processes: that share the images, each with the same model; all get the same detector.

        Raises:
            InputError: there are no images, or they do not fit the model.
        """
        pixels = None if pooled else pixel_mixture(model, _some(images), batch_size, processes)
        return cls._measured(model, images, None, batch_size, pixels, processes)

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
            InputError: there are no images, they or the masks do not fit the model, or nothing is seen by one.

        Examples:
            >>> import dcgmm
            >>> model = dcgmm.DCGMM.build((28, 28, 1), dcgmm.arch("2L-b"))
            >>> x, left = torch.rand(50, 28, 28, 1), torch.arange(28).expand(28, 28) < 14
            >>> Detector.fit(model, x).seen_through(x, left).scores(x[:3], observed=left)["joint"].shape
            torch.Size([3])
        """
        masks = as_mask(observed, self.model.input_shape[:2])
        if not len(masks) or not bool(masks.flatten(1).any(1).all()):
            found = "a mask of nothing" if len(masks) else "none"
            raise OptionError("observed", "at least one mask, and something seen by each", found)
        masks = masks[torch.arange(len(_some(images))) % len(masks)]
        return self._measured(self.model, images, masks, batch_size, self.pixels)

    @classmethod
    def _measured(
        cls,
        model: DCGMM,
        images: Images,
        observed: Tensor | None,
        batch_size: int | None,
        pixels: PixelMixture | None,
        processes: Processes = ALONE,
    ) -> Self:
        """The detector with the moments of training images' scores, calibrated by them."""
        alike = pixels is None and observed is None  # a mask makes positions differ
        given = (model, _some(images), batch_size, observed)
        positions = log_likelihood_moments(*given, pooled=alike, processes=processes)
        found = cls(model, positions, {}, pixels, None)
        scores, worst, pooled = measured(model, positions, pixels, images, observed, batch_size, processes)
        found.images.update({name: Moments.of(values) for name, values in scores.items()})
        scores["joint"] = joint(scores, found.images, found.layers[-1])
        known, lows = scores, worst
        if alike and 1 < len(images) <= FEW:
            known, lows = left_out(model, positions, images)
            known["joint"] = joint(known, found.images, found.layers[-1])
        calibration, auto = Calibration.of(known, lows, pooled)
        found.images.update(joint=Moments.of(scores["joint"]), auto=Moments.of(auto))
        return replace(found, calibration=calibration)

    @torch.no_grad()
    def calibrated(self, images: Images, batch_size: int | None = None) -> Self:
        """The detector with p-values by images, no outliers, that the model was not trained on.

        Training images score a little higher than new ones, so that false alarms exceed the rate asked for; means and
        deviations stay those of training.

        Args:
            images: (N, H, W, C), N >= 1; some hundred for a rate of a percent.
            batch_size: images at a time.

        Raises:
            InputError: there are no images, or they do not fit the model.
        """
        scores, worst, pooled = measured(self.model, self.positions, self.pixels, _some(images), None, batch_size)
        scores["joint"] = joint(scores, self.images, self.layers[-1])
        calibration, auto = Calibration.of(scores, worst, pooled)
        return replace(self, calibration=calibration, images=self.images | {"auto": Moments.of(auto)})

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
        pixels = None if state["pixels"] is None else PixelMixture.from_state(state["pixels"], device)
        known = state.get("calibration")
        calibration = None if known is None else Calibration.from_state(known, device)
        restored = cls(model, positions, images, pixels, calibration)
        places = shapes if pixels else dict.fromkeys(shapes, (1, 1))
        made_of = {"auto": calibration, "pixels": pixels}
        whole = all((name in images) == (part is not None) for name, part in made_of.items())
        if not (whole and sound(positions, places) and sound(images, dict.fromkeys(restored.names, ()))):
            others = f"{', '.join(map(str, positions))}; this one has {', '.join(shapes)}"
            raise InputError(f"the detector is of another model ({others}), or holds what are no moments")
        if pixels:
            pixels.check(list(model.gmms.values())[-1].logits.numel(), math.prod(model.input_shape))
        if calibration is not None:
            calibration.check(restored.names, [name for name in shapes if math.prod(shapes[name]) > 1] or list(shapes))
        return restored

    def state_dict(self) -> dict[str, Any]:
        """What was measured, as tensors and built-ins."""
        return {
            "positions": {name: moments.state_dict() for name, moments in self.positions.items()},
            "images": {name: moments.state_dict() for name, moments in self.images.items()},
            "pixels": None if self.pixels is None else self.pixels.state_dict(),
            **({} if self.calibration is None else {"calibration": self.calibration.state_dict()}),
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
        scores = own_scores(self.model, scored, maps) | self._pixel_scores(x, seen)
        scores["joint"] = joint(scores, self.images, self.layers[-1])
        if self.calibration is not None:
            scores["auto"] = self.calibration.auto(scores, layer_worst(maps))
        return ImageReport(Scores({name: scores[name] for name in self.names}), maps)

    def _pixel_scores(self, x: Tensor, seen: Tensor | None) -> dict[str, Tensor]:  # (N, H, W, C) -> (N,)
        return {} if self.pixels is None else {"pixels": self.pixels.log_prob(x, seen)}

    @torch.no_grad()
    def reports(
        self, images: Images, batch_size: int | None = None, observed: Images | None = None
    ) -> Iterator[ImageReport]:
        """Reports of images, batch by batch; arguments as for `report`."""
        for batch in batches(self.model, images, observed, batch_size):
            yield self.report_floats(*batch)

    def scores(
        self, images: Images, batch_size: int | None = None, observed: Images | None = None
    ) -> Scores:  # (N,) each
        """All scores of images, (N,) each by name, float64, on the CPU; arguments as for `report`.

        Raises:
            InputError: the images or the mask do not fit the model.
        """
        reports = self.reports(images, batch_size, observed)
        found = gathered(
            ({name: values.cpu() for name, values in report.scores.items()} for report in reports), len(images)
        )
        return Scores(found or {name: torch.empty(0, dtype=torch.float64) for name in self.names})

    def standardised(self, name: str, scores: Tensor) -> Tensor:  # (N,) -> (N,)
        """A score (N,) in training standard deviations from its training mean: an outlier at c lies below -c."""
        moments = self.images[self.name_of(name)]
        return standardise(scores.to(moments.mean.device), moments).to(scores.device)

    def threshold(self, name: str, c: float) -> float:
        """Smallest score of an inlier, mean - c std over the training images."""
        moments = self.images[self.name_of(name)]
        return float(moments.mean - c * moments.variance.sqrt())

    def p_values(self, name: str, scores: Tensor) -> Tensor:  # (N,) -> (N,)
        """The share (N,) of calibration images that score at most so, extrapolated where they are few."""
        distribution = self.known_calibration.scores[self.name_of(name)]
        return distribution.p_values(scores.to(distribution.values.device)).to(scores.device)

    def c_of(self, name: str, false_alarms: float) -> float:
        """The c under which a score has this share, in (0, 1), of the calibration images.

        Raises:
            InputError: the detector was measured by an earlier version.
        """
        threshold = self.known_calibration.scores[self.name_of(name)].value(false_alarms)
        return -float(self.standardised(name, torch.tensor([threshold], dtype=torch.float64)))

    @property
    def known_calibration(self) -> Calibration:
        """The calibration.

        Raises:
            InputError: an earlier version measured the detector, without one.
        """
        if self.calibration is None:
            raise InputError("an earlier version measured this detector, without p-values: fit it anew")
        return self.calibration

    def name_of(self, score: str, layer: str | None = None) -> str:
        """Name among `names` of a score: its own, or log_prob and standardised in a GMM layer, by default the top one.

        Raises:
            OptionError: there is no such score.
        """
        name = f"{layer or self.layers[-1]}_{score}" if score in LAYER_SCORES else score
        if name not in self.names:
            known = [each for each in SCORES if each in LAYER_SCORES or each in self.names]
            raise OptionError("score", f"one of {', '.join(dict.fromkeys([*known, *self.names]))}", score)
        return name

    @property
    def names(self) -> list[str]:
        """All scores."""
        layers = [f"{layer}_{score}" for layer in self.layers for score in LAYER_SCORES]
        return [*layers, *(score for score in MODEL_SCORES if score not in OPTIONAL or score in self.images)]

    @property
    def layers(self) -> list[str]:
        """GMM layers from below."""
        return list(self.positions)


def _some(images: Images) -> Images:
    if not len(images):
        raise OptionError("images", "at least one training image", "none")
    return images
