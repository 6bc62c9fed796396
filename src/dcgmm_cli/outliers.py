"""Outlier scores of images and of positions in them, with thresholds learnt from training images (section 3.2.2).

All scores are high for inliers, and nothing here ever sees an outlier before it is scored. An image has, for each GMM
layer, three scores, each the mean of a map over the layer's positions:

    log_prob       log-likelihood, log-sum-exp over the components (nats): the paper's score, in the top layer
    max_component  max-component approximation of it (nats): the quantity that training ascends
    standardised   log_prob in training standard deviations from its training mean, position by position

and five for the whole model, with t the top layer's standardised score and z_l those of the layers under it, all scaled
by their mean and deviation on the training images:

    residual       t - (b_0 + sum_l b_l z_l + b'_l z_l^2), with b the least-squares fit on the training images
    combined       the smaller of t and the residual, the latter scaled in the same way
    ratio          log-likelihood ratio of what the top layer sees, with and without it (`log_ratio`)
    joint          the smaller of t and the ratio, the latter scaled in the same way
    pixels         log-likelihood of the pixels, as the top components' training images have them (`PixelMixture`)

How likely an image looks to the lower layers says mostly how plain it is: a single stroke is likely whatever it means.
The residual takes that part out of the top layer's score: it says by how much an image is less likely as a whole than
training images made of equally likely parts. An image that is unlikely in either sense is outlying by the combined
score. The ratio asks the same of the arrangement alone: how much better does the top layer tell which component of the
layer under it is where than that layer's overall frequencies do? An image of likely parts in an order of no kind that
training images have loses there, however plain it is. The likelihood of the pixels looks at the image as a whole, with
dark structure spread, and knows no parts. In a model of one GMM layer all but the last are the standardised score.

Shapes: N images, H W positions of a GMM layer, L GMM layers, K components of the top layer and J of the layer under it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import torch
from torch import Tensor

from dcgmm_cli.model import DCGMM, GMM, Scored
from dcgmm_cli.model.patches import Patches, unfold
from dcgmm_cli.pixel_mixture import PixelMixture, PixelSums
from dcgmm_cli.statistics import Moments, image_batches, log_likelihood_moments

LAYER_SCORES = ("log_prob", "max_component", "standardised")
RESIDUAL, COMBINED, RATIO, JOINT = "residual", "combined", "ratio", "joint"
PIXELS = "pixels"
MODEL_SCORES = (RESIDUAL, COMBINED, RATIO, JOINT, PIXELS)
SCORES = (*LAYER_SCORES, *MODEL_SCORES)

# Positions that (nearly) never vary in training, such as an image's corners, count as varying by this fraction of the
# layer's mean deviation: else rounding there would outweigh all else.
DEVIATION_FLOOR = 0.02

# The share of its overall frequency that a lower component has where no training image of the top component had it.
SMOOTHING = 0.01


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

    scores: dict[str, Tensor]  # (N,) float64: <layer>_<score> of each GMM layer, and MODEL_SCORES
    maps: dict[str, Tensor]  # (N, H, W) float64, standardised log-likelihood by GMM layer


@dataclass(frozen=True)
class Detector:
    """A model that knows how its scores are distributed over its training images."""

    model: DCGMM
    positions: dict[str, Moments]  # by GMM layer: log-likelihood at each position, (H, W)
    images: dict[str, Moments]  # by score: its distribution over the images, ()
    regression: Tensor  # (2 L - 1,) float64, b of the residual
    pixels: PixelMixture

    @classmethod
    @torch.no_grad()
    def fit(cls, model: DCGMM, images: Tensor, batch_size: int = 200) -> Self:
        """Measure the scores of training images (N, H, W, C), uint8 or float in [0, 1], on the model's device."""
        positions, sums = log_likelihood_moments(model, images, batch_size), PixelSums()

        def parts() -> Iterator[dict[str, Tensor]]:
            for batch in image_batches(images, batch_size, model.dtype):
                scored = model.score(batch)
                sums.add(batch, list(scored.values())[-1])
                yield own_scores(model, scored, positions)

        scores = _gathered(parts(), len(images))
        pixels, batches = sums.mixture(model.dtype), image_batches(images, batch_size, model.dtype)
        scores |= _gathered(({PIXELS: pixels.log_prob(batch)} for batch in batches), len(images))
        moments = {name: Moments.of(values) for name, values in scores.items()}
        *under, top = scaled_layers(scores, moments)
        # On the CPU, where the solver copes with a layer whose score never varies.
        fit = torch.linalg.lstsq(regressors(under, top).cpu(), top.unsqueeze(-1).cpu(), driver="gelsd")
        regression = fit.solution.squeeze(-1).to(top.device)
        moments[RESIDUAL] = Moments.of(residual(scores, moments, regression))
        for name, values in model_scores(scores, moments, regression).items():
            moments[name] = Moments.of(values)
        return cls(model, positions, moments, regression, pixels)

    @classmethod
    def from_state(cls, model: DCGMM, state: Mapping[str, Any]) -> Self:
        """The detector that `state_dict` was taken of."""
        device = model.device
        positions, images = (
            {name: Moments(part["count"], part["mean"].to(device), part["squares"].to(device)) for name, part in group}
            for group in (state["statistics"].items(), state["image_statistics"].items())
        )
        pixels = PixelMixture.from_state(state["image_mixture"], device)
        return cls(model, positions, images, state["image_regression"].to(device), pixels)

    def state_dict(self) -> dict[str, Any]:
        """What was measured, as tensors and built-ins: entries of a checkpoint."""
        return {
            "statistics": {name: asdict(moments) for name, moments in self.positions.items()},
            "image_statistics": {name: asdict(moments) for name, moments in self.images.items()},
            "image_regression": self.regression,
            "image_mixture": self.pixels.state_dict(),
        }

    @torch.no_grad()
    def report(self, x: Tensor) -> ImageReport:  # (N, H, W, C) float, on the model's device
        """Scores and maps of one batch.

        Raises:
            UserError: the images have another shape than the model's.
        """
        scored = self.model.score(x)
        scores = own_scores(self.model, scored, self.positions) | {PIXELS: self.pixels.log_prob(x)}
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
        log_prob = layer.log_prob
        maps = (log_prob, layer.max_component_score, standardise(log_prob, positions[name]))
        for kind, values in zip(LAYER_SCORES, maps, strict=True):
            scores[f"{name}_{kind}"] = values.double().mean((-2, -1))
    return scores


def own_scores(model: DCGMM, scored: Mapping[str, Scored], positions: Mapping[str, Moments]) -> dict[str, Tensor]:
    """The scores (N,) that need no other image's: those of each layer, and the ratio."""
    scores = layer_scores(scored, positions)
    if len(scored) == 1:
        return scores | {RATIO: scores[f"{next(iter(scored))}_standardised"]}
    *_, under, top = model.gmms.values()
    return scores | {RATIO: log_ratio(top, under.components, list(scored.values())[-1].patches).double().mean((-2, -1))}


def arrangement(top: GMM, lower: int) -> tuple[Tensor, Tensor]:  # (P, K, J), (J,)
    """Which components of the layer under it the top layer expects where.

    Args:
        top: the top layer, which sees responsibilities of the layer under it (maybe pooled) in P cells of a window.
        lower: J.

    Returns:
        theta_pkj, for each top component the frequency of component j in cell p: its centroid, normalised over j, and
        with the share SMOOTHING of b_j; and b_j, the mean of theta over top components (by weight) and cells.
    """
    expected = normalised(top.loc.view(top.components, -1, lower).movedim(0, 1))
    overall = (top.log_weights.exp() @ expected).mean(0).clamp(min=torch.finfo(expected.dtype).eps)
    return (1 - SMOOTHING) * expected + SMOOTHING * overall, overall


def log_ratio(top: GMM, lower: int, patches: Patches) -> Tensor:  # (N, H, W)
    """Log-likelihood ratio of what the top layer sees at each of its positions (nats):

        log sum_k pi_k prod_p [ sum_j theta_pkj N_j(x_p) / sum_j b_j N_j(x_p) ]
            = log sum_k pi_k prod_p sum_j r_pj theta_pkj / b_j,

    with theta and b of `arrangement`, N_j the lower layer's Gaussians and r_p its responsibilities in cell p under the
    weights b. The layer's own responsibilities stand in for them, normalised again where pooling took their largest.

    Args:
        top, lower: as in `arrangement`.
        patches: what the top layer sees.
    """
    expected, overall = arrangement(top, lower)
    seen = unfold(patches.x, patches.window)  # (N, H, W, P J)
    cells = normalised(seen.reshape(-1, len(expected), lower).movedim(1, 0)) / overall  # (P, N H W, J)
    likelihood = (cells @ expected.mT).clamp(min=torch.finfo(seen.dtype).tiny)  # (P, N H W, K)
    return (likelihood.log().sum(0) + top.log_weights).logsumexp(-1).view(seen.shape[:-1])


def normalised(frequencies: Tensor) -> Tensor:  # (..., J) -> (..., J)
    """Frequencies that sum to 1, without negative ones."""
    positive = frequencies.clamp(min=0)
    return positive / positive.sum(-1, keepdim=True).clamp(min=torch.finfo(positive.dtype).tiny)


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
    """The scores of the whole model that are made of others."""
    top, rest = scaled_layers(scores, moments)[-1], residual(scores, moments, regression)
    return {
        RESIDUAL: rest,
        COMBINED: torch.minimum(top, standardise(rest, moments[RESIDUAL])),
        JOINT: torch.minimum(top, standardise(scores[RATIO], moments[RATIO])),
    }
