"""The generative classifier: the top GMM layer with mixture weights of each class's own, and Bayes' rule.

With the responsibilities r_nk of the labelled training images, the weights of class c are

    pi_{k|c} = (sum over images n of class c of r_nk + a) / (the same, summed over k),

the density of an image x in it is p(x | c) = sum_k pi_{k|c} N_k(x), and p(c | x) is in proportion to p(c) p(x | c),
with the shares of the classes among the training images for p(c).

Where the top layer has several positions p, they are taken to be independent given the class:
log p(x | c) = w sum_p log sum_k pi_{k|c,p} N_k(x_p), the weights being each position's own or the same for all
(counted over all positions). Windows that overlap see pixels several times, and neighbours are alike: w in [1/P, 1]
makes up for that, where independence would be too sure. Which class is the most likely it changes only by the prior.

What was not seen of an image drops out of N_k: exactly where the top layer is the lowest one, see `model.observed`.

Shapes: N images, n of a batch, P = H W positions, K components, G classes.

Source: Bishop, "Pattern Recognition and Machine Learning" (2006), sections 1.5.4 and 2.2.1.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
import torch.nn.functional as F
from scipy.optimize import minimize_scalar
from torch import Tensor

from dcgmm.classification.classifier import Classifier, Labelled, scored_batches
from dcgmm.classification.options import GenerativeOptions
from dcgmm.errors import OptionError
from dcgmm.images import Images
from dcgmm.model.scored import Scored
from dcgmm.model.stack import DCGMM
from dcgmm.options import made


def log_class_weights(
    use: Tensor,  # (G, P, K), sums of responsibilities over each class's images
    concentration: float,
    per_position: bool,
) -> Tensor:  # (G, P, K), or (G, 1, K) the same for all positions
    """log pi_{k|c}, the smoothed shares of the sums.

    Examples:
        >>> log_class_weights(torch.tensor([[[3.0, 0.0]]]), 0.5, per_position=True).exp()
        tensor([[[0.8750, 0.1250]]])
    """
    counts = (use if per_position else use.sum(1, keepdim=True)) + concentration
    return counts.log() - counts.sum(-1, keepdim=True).log()


def log_evidence(scored: Scored, log_weights: Tensor) -> Tensor:  # (G, P, K) or (G, 1, K) -> (n, G) float64
    """Sum over positions of log sum_k pi_{k|c} N_k(x_p), for each class c."""
    densities = scored.component_scores - scored.log_weights  # (n, H, W, K)
    positions = densities.shape[1:3] if log_weights.shape[1] > 1 else (1, 1)
    of_classes = log_weights.to(densities).unflatten(1, positions)  # (G, H, W, K) or (G, 1, 1, K)
    joint = (replace(scored, component_scores=densities + own) for own in of_classes)
    return torch.stack([each.log_prob.double().sum((-2, -1)) for each in joint], -1)


@dataclass(frozen=True)
class GenerativeClassifier(Classifier):
    """Bayes' rule over class-wise mixture weights of the top layer.

    Attributes:
        log_weights: (G, P, K), or (G, 1, K) the same for all positions; float64, on the CPU.
        log_prior: (G,), log p(c).
        position_weight: w, the power of each position's likelihood.

    Examples:
        >>> import dcgmm
        >>> train = dcgmm.datasets.load("mnist_sample", limit=300).train
        >>> model = dcgmm.DCGMM.build((28, 28, 1), dcgmm.arch("2L-b"))
        >>> classifier = dcgmm.classification.GenerativeClassifier.fit(model, train.images, train.labels)
        >>> classifier.log_posterior(train.images[:5]).shape
        torch.Size([5, 10])
    """

    log_weights: Tensor
    log_prior: Tensor
    position_weight: float

    @classmethod
    @torch.no_grad()
    def fit(
        cls,
        model: DCGMM,
        images: Images,
        labels: Any,
        options: GenerativeOptions | None = None,
        *,
        seed: int = 0,
        **fields: Any,
    ) -> Self:
        """Count the classes' weights on training images.

        Args:
            model: trained, one (no batch_shape).
            images: (N, H, W, C) as `as_images` takes them.
            labels: (N,) whole numbers.
            options: how. What they leave open is chosen by log loss on a tenth of the images, which only then are
                counted too; where the top layer has one position there is nothing to choose.
            seed: of the images that are held out.
            fields: of `GenerativeOptions`, instead of those in `options`.

        Raises:
            InputError: images, labels and model do not fit each other, there are fewer than two classes, or an option
                is unknown or out of its range.
        """
        chosen = made(GenerativeOptions, vars(options or GenerativeOptions()) | fields)
        if not list(model.gmms.values())[-1].shared:  # each position's components are its own, and so are their weights
            chosen = replace(chosen, per_position=True)
        data = Labelled.of(model, images, labels)
        log_prior = (data.counts.double() / len(data.index)).log()
        positions = list(model.gmms.values())[-1].output_shape.positions
        held = data.held_out(seed)
        if positions == 1 or not held.any() or None not in (chosen.per_position, chosen.position_weight):
            use = class_use(model, data)
            per_position, weight = bool(chosen.per_position), chosen.position_weight or 1.0
        else:
            use = class_use(model, data[~held])
            evidence = _evidence_of(model, data[held], use, chosen)
            per_position, weight = _best(evidence, log_prior, data.index[held], positions, chosen.position_weight)
            use += class_use(model, data[held])
        log_weights = log_class_weights(use, chosen.concentration, per_position)
        return cls(model, data.classes, log_weights, log_prior, weight)

    def of_scores(self, scored: Mapping[str, Scored]) -> Tensor:  # (n, G) float64
        """log p(c | x) of the images of a batch that the model has scored."""
        evidence = log_evidence(list(scored.values())[-1], self.log_weights)
        return (self.position_weight * evidence + self.log_prior.to(evidence)).log_softmax(-1)

    @property
    def description(self) -> dict[str, Any]:
        """Whether each position has class weights of its own, and what a position weighs."""
        return {"per_position": self.log_weights.shape[1] > 1, "position_weight": self.position_weight}

    def component_weights(self, labels: Tensor) -> Tensor:  # (N,) -> (N, H, W, K)
        """pi_{.|c} at each position of the top layer, for images of these classes: `dcgmm.sample` draws by them.

        Args:
            labels: (N,), one of the classes for each image.

        Returns:
            (N, H, W, K), at the H W positions of the top layer.

        Raises:
            OptionError: a label is none of the classes.
        """
        for label in labels.tolist():
            if label not in self.classes:
                raise OptionError("labels", f"among {', '.join(map(str, self.classes))}", label)
        height, width, components = list(self.model.gmms.values())[-1].output_shape
        own = self.log_weights[[self.classes.index(label) for label in labels.tolist()]].exp()
        return own.expand(-1, height * width, -1).view(len(labels), height, width, components)


def class_use(model: DCGMM, data: Labelled) -> Tensor:  # (G, P, K) float64, on the CPU
    """Responsibilities of the top layer, summed over the images of each class."""
    shape = list(model.gmms.values())[-1].output_shape
    use = torch.zeros(len(data.classes), shape.positions, shape.channels, dtype=torch.float64, device=model.device)
    index = data.index.to(model.device)
    for rows, scored in scored_batches(model, data.images):
        # A product with the one-hot classes: unlike index_add it adds in the same order each time, on a GPU too.
        member = torch.nn.functional.one_hot(index[rows], len(data.classes)).double()
        use += (member.mT @ list(scored.values())[-1].responsibilities.flatten(1).double()).view(use.shape)
    return use.cpu()


def _evidence_of(
    model: DCGMM, data: Labelled, use: Tensor, options: GenerativeOptions
) -> dict[bool, Tensor]:  # (N, G) float64 each
    """Evidence of images for each class, with weights for each position or the same for all: what may be chosen."""
    open_choice = (False, True) if options.per_position is None else (options.per_position,)
    weights = {each: log_class_weights(use, options.concentration, each) for each in open_choice}
    found: dict[bool, list[Tensor]] = {each: [] for each in weights}
    for _, scored in scored_batches(model, data.images):
        for each, log_weights in weights.items():
            found[each].append(log_evidence(list(scored.values())[-1], log_weights).cpu())
    return {each: torch.cat(parts) for each, parts in found.items()}


def _best(
    evidence: Mapping[bool, Tensor], log_prior: Tensor, index: Tensor, positions: int, weight: float | None
) -> tuple[bool, float]:
    """Per position or not, and the weight of a position, with the least log loss, which is convex in the weight."""
    found: dict[bool, tuple[float, float]] = {}
    for each, values in evidence.items():

        def loss(scale: float, values: Tensor = values) -> float:
            return float(F.cross_entropy(scale * values + log_prior, index))

        chosen = weight or float(minimize_scalar(loss, bounds=(1 / positions, 1), method="bounded").x)
        found[each] = loss(chosen), chosen
    best = min(found, key=lambda each: found[each][0])
    return best, found[best][1]
