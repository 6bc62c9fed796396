"""The GMM layer whose components are factor analysers: each covariance has a part of low rank."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from dcgmm.errors import OptionError
from dcgmm.model import conditionals, factor_step
from dcgmm.model.arrays import added
from dcgmm.model.factors import (
    FactorGradient,
    FactorParameters,
    Won,
    add_factors,
    cross_sums,
    factor_gradient,
    factor_parameters,
    project,
    start_factors,
    winners,
)
from dcgmm.model.gaussian import Gradient, natural_parameters, objective_gradient
from dcgmm.model.gmm import GMM
from dcgmm.model.options import GMMOptions, LayerOptions
from dcgmm.model.patches import Patches
from dcgmm.model.scored import Rates, Scored, Sums
from dcgmm.model.shapes import Shape


class FactorGMM(GMM):
    """Mixture of K Gaussians of precision diag(d^2) - G G^T with L factors G (`factors`).

    It is the diagonal mixture until `begin_factors`: training does that once the diagonal part has been annealed.

    Args:
        input_shape: (H, W, D) of one sample.
        components: K, a square number.
        factors: L, fewer than D.
        options: start values and limits.
        batch_shape: leading shape of all parameters; (R,) holds R models side by side.
        shared: whether all positions have the same parameters.

    Raises:
        OptionError: K is not a square number, or L is not from 1 to D - 1.

    Examples:
        >>> import dcgmm
        >>> import torch
        >>> layer = dcgmm.model.FactorGMM((4, 4, 9), components=25, factors=2)
        >>> layer.begin_factors(torch.tensor(True), seeds=[0])
        >>> layer.factors.shape, layer.log_prob(torch.rand(3, 4, 4, 9)).shape
        (torch.Size([25, 9, 2]), torch.Size([3, 4, 4]))

    Source: Richardson & Weiss (2018); Gepperth (2023).
    """

    def __init__(
        self,
        input_shape: Shape,
        components: int,
        factors: int,
        options: GMMOptions | None = None,
        batch_shape: tuple[int, ...] = (),
        shared: bool = True,
    ) -> None:
        super().__init__(input_shape, components, options, batch_shape, shared)
        features = self.input_shape.channels
        if not 1 <= factors < features:
            most = f"from 1 to {features - 1}" if features > 1 else "0"
            raise OptionError("factors", f"{most}, fewer than the {features} features of a patch", factors)
        # In memory as (..., L, K, D), in which the passes over points take them.
        shape = (*self.logits.shape[:-1], factors, components, features)
        self.factors = nn.Parameter(torch.zeros(shape, dtype=torch.float32).movedim(-3, -1))
        self.has_factors = False  # whether any is not 0
        self.held: Tensor | None = None  # (...), models whose points go to the winner of the diagonal part; None: none
        self._moved: Tensor  # (..., K), components that the last step has moved
        self.register_buffer("_moved", torch.zeros(self.logits.shape, dtype=torch.bool), persistent=False)
        self.register_load_state_dict_post_hook(_refresh)  # type: ignore[no-untyped-call]  # torch's hook has no types

    @property
    def flops(self) -> int:
        """Floating-point operations of the products that score one image: those of L factors, 2 P K D L, as well."""
        features, factors = self.factors.shape[-2:]
        return super().flops + 2 * self.input_shape.positions * self.components * features * factors

    @property
    def description(self) -> LayerOptions:
        """What `DCGMM.build` makes such a layer of."""
        return replace(super().description, factors=self.factors.shape[-1])

    @property
    def loadings(self) -> Tensor:  # (..., K, D, L)
        """What a standard deviation of each factor adds to a draw, E^-1 G M^-1/2."""
        return conditionals.loadings(self.precision_sqrt, self.factors)

    @property
    def variance(self) -> Tensor:  # (..., K, D)
        """Variance of each feature, the diagonal of the covariance: what the factors add included."""
        return super().variance + self.loadings.square().sum(-1)

    def refresh(self) -> None:
        """Look at the factors anew, after they were changed from outside, and lay them out as rows again."""
        rows = self.factors.detach().movedim(-1, -3)
        if not rows.is_contiguous():
            self.factors.data = rows.contiguous().movedim(-3, -1)
        self.has_factors = bool(rows.any())
        self.held = None
        if self._moved.shape == self.logits.shape and self._moved.device == self.logits.device:
            self._moved.zero_()  # in place: a graph of a step may hold its address
        else:
            self._moved = torch.zeros_like(self.logits, dtype=torch.bool)

    @torch.no_grad()
    def draw_start(self, generator: torch.Generator) -> None:
        """Draw start values of the centroids, and set all else back to where it starts: no factors yet."""
        super().draw_start(generator)
        self.factors.zero_()
        self.has_factors = False

    @torch.no_grad()
    def begin_factors(self, which: Tensor, seeds: list[int]) -> None:  # (...), bool
        """Give start values to the factors of those models that are to have them and have none, by a seed each."""
        components, features, count = self.factors.shape[-3:]
        models = zip(
            which.reshape(-1),
            self.factors.flatten(0, -4) if self.factors.dim() > 3 else [self.factors],
            self.precision_sqrt.reshape(-1, components, features),
            seeds,
            strict=True,
        )
        for wanted, factors, precision_sqrt, seed in models:
            if wanted and not factors.any():
                drawn = start_factors(components, features, count, torch.Generator().manual_seed(seed)).to(factors)
                factors.copy_(project(precision_sqrt, drawn, self.options.factor_floor))
                self.has_factors = True

    def factor_parameters(self) -> FactorParameters:
        """What scores and gradients need of the factors."""
        return factor_parameters(self.loc, self.precision_sqrt, self.factors)

    def score(self, x: Tensor | Patches) -> Scored:  # (..., N, H, W, D)
        """Scores of a batch, from which log_prob, max_component_score and responsibilities follow."""
        scored = super().score(x)
        if not self.has_factors:
            return scored
        patches, diagonal = scored.patches, scored.patches.points(scored.component_scores)
        scores = add_factors(diagonal, patches.values, self.factor_parameters())
        return replace(scored, component_scores=patches.on_map(scores))

    def downward(
        self,
        components: Tensor,  # (N, H, W), long
        noise: Tensor,  # (N, H, W, D), standard normal
        std_scale: float = 1.0,
        factor_noise: Tensor | None = None,  # (N, H, W, L), standard normal; None is none
        factor_scale: float = 1.0,
    ) -> Tensor:  # (N, H, W, D)
        """Downward: a draw from the Gaussian of each position's component; its two kinds of noise are scaled apart."""
        if not self.has_factors or factor_noise is None:
            return super().downward(components, noise, std_scale)
        loc, precision_sqrt, factors = map(self.flat, (self.loc, self.precision_sqrt, self.factors))
        given = (loc, precision_sqrt, factors, self.flat_index(components))
        return conditionals.draw(*given, noise, factor_noise, std_scale, factor_scale)

    @torch.no_grad()
    def step(
        self,
        x: Tensor | Patches,  # (..., N, H, W, D)
        kernel: Tensor | None,  # (..., S, S), of one side of the grid; None after annealing
        rates: Rates,
        *,
        passes_on: bool,
        total: Tensor | None = None,  # (...), to which the objective is added
        projects: bool = True,
    ) -> tuple[Tensor, Tensor | None]:  # (...), (..., N, H, W, K)
        """One step of SGD ascent of the objective, in place; as `GMM.step`, and of the factors once there are any.

        Args:
            projects: whether it ends with `project`, which no CUDA graph can hold.
        """
        if not self.has_factors:
            return super().step(x, kernel, rates, passes_on=passes_on, total=total)
        patches = self.patches(x)
        self._check_step(patches.x, kernel, rates)
        parameters = factor_step.Parameters(self.logits, self.loc, self.precision_sqrt, self.factors.movedim(-1, -3))
        if factor_step.takes(patches, parameters, kernel):
            given = (kernel, rates, self.options, self.held)
            value, made = factor_step.step(patches, parameters, *given, passes_on=passes_on)
            return added(value, total), None if made is None else patches.placed(made)
        scored, value, gradient = self._ascent(patches, kernel)
        responsibilities = scored.responsibilities if passes_on else None
        self._ascend(gradient, rates)
        if projects:
            self.project()
        return added(value, total), responsibilities

    @torch.no_grad()
    def sums(self, x: Tensor | Patches, kernel: Tensor | None, *, passes_on: bool) -> tuple[Sums, Tensor | None]:
        """As `GMM.sums`, in tensors once there are factors."""
        if not self.has_factors:
            return super().sums(x, kernel, passes_on=passes_on)
        patches = self.patches(x)
        self._check_step(patches.x, kernel)
        scored, won = self._won(patches, kernel, self.factor_parameters())
        sums = Sums(won.value.mean(-1), *patches.sums(won.winner, self.components), cross_sums(patches.values, won))
        return sums, scored.responsibilities if passes_on else None

    @torch.no_grad()
    def update(self, sums: Sums, points: int, kernel: Tensor | None, rates: Rates) -> None:
        """As `GMM.update`, and of the factors once there are any."""
        if sums.cross is None:
            super().update(sums, points, kernel, rates)
            return
        means = (sums.counts / points, sums.first / points, sums.second / points)
        self._ascend(self._gradient(means, sums.cross / points, kernel, self.factor_parameters()), rates)
        self.project()

    def _ascend(self, gradient: FactorGradient, rates: Rates) -> None:
        """One step, in place, before the projection."""
        self.ascend(_without_factors(gradient), rates)
        self.factors.addcmul_(gradient.factors, rates.factors[..., None, None, None])
        torch.gt(gradient.share, 0, out=self._moved)

    @torch.no_grad()
    def project(self) -> None:
        """Shrink the factors that the last step has moved to where the precision is positive definite, in place."""
        projected = project(self.precision_sqrt, self.factors, self.options.factor_floor)
        # A component that wins nothing keeps its bits: it has not moved, and rotating it anew would only round it.
        self.factors.copy_(torch.where(self._moved[..., None, None], projected, self.factors))

    @torch.no_grad()
    def objective(self, scored: Scored, kernel: Tensor | None) -> tuple[Tensor, Gradient]:
        """As `GMM.objective`: the gradient with respect to the parameters that all GMM layers have."""
        if not self.has_factors:
            return super().objective(scored, kernel)
        _, value, gradient = self._ascent(scored.patches, kernel)
        return value, _without_factors(gradient)

    def extra_repr(self) -> str:
        """What `GMM` says, and the factors."""
        return f"{super().extra_repr()}, {self.factors.shape[-1]} factors"

    def _ascent(self, patches: Patches, kernel: Tensor | None) -> tuple[Scored, Tensor, FactorGradient]:
        """Scores, and the objective with its gradient."""
        parameters = self.factor_parameters()
        scored, won = self._won(patches, kernel, parameters)
        means = patches.means(won.winner, self.components)
        cross = cross_sums(patches.values, won) / won.winner.shape[-1]
        return scored, won.value.mean(-1), self._gradient(means, cross, kernel, parameters)

    def _won(self, patches: Patches, kernel: Tensor | None, parameters: FactorParameters) -> tuple[Scored, Won]:
        """Scores, and what those who win say."""
        log_weights = self.log_weights
        natural = natural_parameters(log_weights, self.loc, self.precision_sqrt)
        diagonal = patches.points(patches.contract(*natural))
        won = winners(diagonal, patches.values, parameters, kernel, self.held)
        return Scored(patches, log_weights, natural, patches.on_map(won.scores)), won

    def _gradient(
        self,
        means: tuple[Tensor, Tensor, Tensor],  # (..., K), (..., K, D), (..., K, D): of 1, x and x^2 by winner
        cross: Tensor,  # (..., K, D, L), of x z^T
        kernel: Tensor | None,
        parameters: FactorParameters,
    ) -> FactorGradient:
        given = (self.loc, self.precision_sqrt)
        plain = objective_gradient(means, kernel, self.log_weights, *given, self.precision_sqrt.square())
        return factor_gradient(plain, means, cross, *given, parameters)


def _without_factors(gradient: FactorGradient) -> Gradient:
    return Gradient(gradient.logits, gradient.loc, gradient.precision_sqrt, gradient.share)


def _refresh(layer: nn.Module, _: Any) -> None:
    assert isinstance(layer, FactorGMM)
    layer.refresh()
