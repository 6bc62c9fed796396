"""Outlier scores of images and of positions in them, with thresholds learnt from training images (section 3.2.2).

All scores are high for inliers, and nothing here ever sees an outlier before it is scored. An image has, for each GMM
layer, three scores, each the mean of a map over the layer's positions:

    log_prob       log-likelihood, log-sum-exp over the components (nats): the paper's score, in the top layer
    max_component  max-component approximation of it (nats): the quantity that training ascends
    standardised   log_prob in training standard deviations from its training mean, position by position

and two for the whole model, with t the top layer's standardised score and z_l those of the layers under it, all scaled
by their mean and deviation on the training images:

    residual       t - (b_0 + sum_l b_l z_l + b'_l z_l^2), with b the least-squares fit on the training images
    combined       the smaller of t and the residual, the latter scaled in the same way

How likely an image looks to the lower layers says mostly how plain it is: a single stroke is likely whatever it means.
The residual takes that part out of the top layer's score: it says by how much an image is less likely as a whole than
training images made of equally likely parts. An image that is unlikely in either sense is outlying by the combined
score. In a model of one GMM layer it is the standardised score.

Shapes: N images, H W positions of a GMM layer, L GMM layers.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import torch
from torch import Tensor

from dcgmm_cli.model import DCGMM, Scored
from dcgmm_cli.statistics import Moments, image_batches, log_likelihood_moments

LAYER_SCORES = ("log_prob", "max_component", "standardised")
RESIDUAL, COMBINED = "residual", "combined"
MODEL_SCORES = (RESIDUAL, COMBINED)
SCORES = (*LAYER_SCORES, *MODEL_SCORES)

# Positions that (nearly) never vary in training, such as an image's corners, count as varying by this fraction of the
# layer's mean deviation: else rounding there would outweigh all else.
DEVIATION_FLOOR = 0.02


def standardise(values: Tensor, moments: Moments) -> Tensor:  # (N, ...) -> (N, ...), float64
    """Distance from the training mean in training standard deviations, (value - mean) / std, at each position (...).

    A position is an inlier at c where this is at least -c (section 3.2.2: L >= mean - c std).
    """
    deviation = moments.variance.sqrt()
    floor = DEVIATION_FLOOR * deviation.mean()
    # Where no position ever varies, only the mean itself is usual.
    difference = values.double() - moments.mean
    return torch.where(difference == 0, 0.0, difference / deviation.clamp(min=floor))


@dataclass(frozen=True)
class ImageReport:
    """What a detector says of some images."""

    scores: dict[str, Tensor]  # (N,) float64: <layer>_<score> of each GMM layer, residual, combined
    maps: dict[str, Tensor]  # (N, H, W) float64, standardised log-likelihood by GMM layer


@dataclass(frozen=True)
class Detector:
    """A model that knows how its scores are distributed over its training images."""

    model: DCGMM
    positions: dict[str, Moments]  # by GMM layer: log-likelihood at each position, (H, W)
    images: dict[str, Moments]  # by score: its distribution over the images, ()
    regression: Tensor  # (2 L - 1,) float64, b of the residual

    @classmethod
    @torch.no_grad()
    def fit(cls, model: DCGMM, images: Tensor, batch_size: int = 200) -> Self:
        """Measure the scores of training images (N, H, W, C), uint8 or float in [0, 1], on the model's device."""
        positions = log_likelihood_moments(model, images, batch_size)
        batches = image_batches(images, batch_size, model.dtype)
        scores = _gathered((layer_scores(model.score(batch), positions) for batch in batches), len(images))
        moments = {name: Moments.of(values) for name, values in scores.items()}
        *under, top = scaled_layers(scores, moments)
        # On the CPU, where the solver copes with a layer whose score never varies.
        fit = torch.linalg.lstsq(regressors(under, top).cpu(), top.unsqueeze(-1).cpu(), driver="gelsd")
        regression = fit.solution.squeeze(-1).to(top.device)
        moments[RESIDUAL] = Moments.of(residual(scores, moments, regression))
        moments[COMBINED] = Moments.of(model_scores(scores, moments, regression)[COMBINED])
        return cls(model, positions, moments, regression)

    @classmethod
    def from_state(cls, model: DCGMM, state: Mapping[str, Any]) -> Self:
        """The detector that `state_dict` was taken of."""
        device = model.device
        positions, images = (
            {name: Moments(part["count"], part["mean"].to(device), part["squares"].to(device)) for name, part in group}
            for group in (state["statistics"].items(), state["image_statistics"].items())
        )
        return cls(model, positions, images, state["image_regression"].to(device))

    def state_dict(self) -> dict[str, Any]:
        """What was measured, as tensors and built-ins: entries of a checkpoint."""
        return {
            "statistics": {name: asdict(moments) for name, moments in self.positions.items()},
            "image_statistics": {name: asdict(moments) for name, moments in self.images.items()},
            "image_regression": self.regression,
        }

    @torch.no_grad()
    def report(self, x: Tensor) -> ImageReport:  # (N, H, W, C) float, on the model's device
        """Scores and maps of one batch.

        Raises:
            UserError: the images have another shape than the model's.
        """
        scored = self.model.score(x)
        scores = layer_scores(scored, self.positions)
        scores |= model_scores(scores, self.images, self.regression)
        maps = {name: standardise(layer.log_prob, self.positions[name]) for name, layer in scored.items()}
        return ImageReport(scores, maps)

    def reports(self, images: Tensor, batch_size: int = 200) -> Iterator[ImageReport]:  # (N, H, W, C)
        """Reports of images, uint8 or float in [0, 1], batch by batch."""
        for batch in image_batches(images, batch_size, self.model.dtype):
            yield self.report(batch.to(self.model.device))

    def scores(self, images: Tensor, batch_size: int = 200) -> dict[str, Tensor]:  # (N, H, W, C) -> (N,) each
        """All scores of images, uint8 or float in [0, 1], by name, on the CPU."""
        reports = self.reports(images, batch_size)
        return _gathered(
            ({name: values.cpu() for name, values in report.scores.items()} for report in reports), len(images)
        )

    def standardised(self, name: str, scores: Tensor) -> Tensor:  # (N,) -> (N,)
        """A score in training standard deviations from its training mean: an outlier at c lies below -c."""
        moments = self.images[name]
        return standardise(scores.to(moments.mean.device), moments).to(scores.device)

    def threshold(self, name: str, c: float) -> float:
        """Smallest score of an inlier, mean - c std over the training images."""
        moments = self.images[name]
        return float(moments.mean - c * moments.variance.sqrt())

    def name_of(self, score: str, layer: str | None = None) -> str:
        """Name among `scores` of one of `SCORES`, in a GMM layer or, by default, in the top one."""
        return score if score in MODEL_SCORES else f"{layer or self.layers[-1]}_{score}"

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


def layer_scores(scored: Mapping[str, Scored], positions: Mapping[str, Moments]) -> dict[str, Tensor]:  # (N,) each
    """The three scores of each GMM layer, named <layer>_<score>: means over the layer's positions, float64."""
    scores = {}
    for name, layer in scored.items():
        maps = (layer.log_prob, layer.max_component_score, standardise(layer.log_prob, positions[name]))
        for kind, values in zip(LAYER_SCORES, maps, strict=True):
            scores[f"{name}_{kind}"] = values.double().mean((-2, -1))
    return scores


def scaled_layers(scores: Mapping[str, Tensor], moments: Mapping[str, Moments]) -> list[Tensor]:  # (N,) each
    """Standardised score of each GMM layer from below, scaled by its mean and deviation on the training images."""
    return [standardise(scores[name], moments[name]) for name in scores if name.endswith("_standardised")]


def regressors(under: Sequence[Tensor], top: Tensor) -> Tensor:  # (N,) each -> (N, 2 L - 1)
    """What the residual predicts the top layer's score from: 1, and z and z^2 of each layer under it."""
    columns = [torch.ones_like(top)]
    for values in under:
        columns += [values, values.square()]
    return torch.stack(columns, -1)


def residual(scores: Mapping[str, Tensor], moments: Mapping[str, Moments], regression: Tensor) -> Tensor:  # (N,)
    """The top layer's score less what the layers under it lead to expect, in its training standard deviations."""
    *under, top = scaled_layers(scores, moments)
    return top - regressors(under, top) @ regression


def model_scores(
    scores: Mapping[str, Tensor], moments: Mapping[str, Moments], regression: Tensor
) -> dict[str, Tensor]:  # (N,) each
    """The scores of the whole model, from those of its layers."""
    top, rest = scaled_layers(scores, moments)[-1], residual(scores, moments, regression)
    return {RESIDUAL: rest, COMBINED: torch.minimum(top, standardise(rest, moments[RESIDUAL]))}
