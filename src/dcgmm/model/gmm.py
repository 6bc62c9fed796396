"""The GMM layer: one mixture of diagonal Gaussians, shared by all positions (section 3.1), or one for each."""

import torch
from torch import Tensor, nn

from dcgmm.errors import OptionError
from dcgmm.model import fused, native
from dcgmm.model.annealing import grid_side
from dcgmm.model.arrays import added, check_step
from dcgmm.model.gaussian import Gradient, natural_parameters, objective_gradient, smoothed_winner
from dcgmm.model.options import GMMOptions, LayerOptions, LayerType, Start
from dcgmm.model.patches import SINGLE, Patches
from dcgmm.model.scored import Rates, Scored, Sums
from dcgmm.model.shapes import Shape

IN_USE = 0.1  # of an even share: a component with less counts as unused


class GMM(nn.Module):
    """Mixture of K diagonal Gaussians over the channels at each position, one parameter set for all positions.

    With `shared=False` each position has a set of its own: (H, W) ends the leading shape of all parameters, the
    batch_shape of what is said here, and the layer learns as that many models side by side, of a position each.

    Args:
        input_shape: (H, W, D) of one sample.
        components: K, a square number.
        options: start values and limits.
        batch_shape: leading shape of all parameters; (R,) holds R models side by side.
        shared: whether all positions have the same parameters.

    Raises:
        InputError: K is not a square number.

    Examples:
        >>> GMM(Shape(4, 4, 49), components=25).log_prob(torch.rand(5, 4, 4, 49)).shape
        torch.Size([5, 4, 4])
    """

    def __init__(
        self,
        input_shape: Shape,
        components: int,
        options: GMMOptions | None = None,
        batch_shape: tuple[int, ...] = (),
        shared: bool = True,
    ) -> None:
        super().__init__()
        grid_side(components)
        self.input_shape, self.shared = Shape(*input_shape), shared
        self.output_shape = Shape(self.input_shape.height, self.input_shape.width, components)
        self.options = options or GMMOptions()
        shape = (*batch_shape, *self.own_shape, components)
        features = self.input_shape.channels
        # float32 whatever torch's default is: that is the program's, not the model's.
        self.logits = nn.Parameter(torch.zeros(shape, dtype=torch.float32))
        self.loc = nn.Parameter(torch.zeros(*shape, features, dtype=torch.float32))
        self.precision_sqrt = nn.Parameter(torch.full((*shape, features), self._start, dtype=torch.float32))

    @property
    def own_shape(self) -> tuple[int, ...]:
        """(H, W) where each position has parameters of its own, else ()."""
        return () if self.shared else (self.input_shape.height, self.input_shape.width)

    @property
    def components(self) -> int:
        """K."""
        return self.output_shape.channels

    @property
    def _start(self) -> float:
        """Start value of d = 1 / std."""
        return self.options.precision_sqrt_max if self.options.precision_sqrt_start is Start.limit else 1.0

    @property
    def components_in_use(self) -> int:
        """Components whose mixture weight is above a tenth of an even share, 0.1 / K; those of all positions' own."""
        return int((self.log_weights.exp() > IN_USE / self.components).sum())

    @property
    def flops(self) -> int:
        """Floating-point operations of the products that score one image: 4 P K D, of x and x^2 with K components."""
        return 4 * self.input_shape.positions * self.components * self.input_shape.channels

    @property
    def description(self) -> LayerOptions:
        """What `DCGMM.build` makes such a layer of."""
        return LayerOptions(LayerType.gmm, components=self.components, shared=self.shared)

    @property
    def learnt(self) -> tuple[Tensor, Tensor, Tensor]:
        """The parameters that all GMM layers have."""
        return self.logits, self.loc, self.precision_sqrt

    @property
    def limits(self) -> tuple[float, float]:
        """Least and largest value of d = 1 / std."""
        return self.options.precision_sqrt_min, self.options.precision_sqrt_max

    @property
    def log_weights(self) -> Tensor:  # (..., K)
        """Log mixture weights, log softmax of the logits."""
        return self.logits.log_softmax(-1)

    @property
    def variance(self) -> Tensor:  # (..., K, D)
        """Variance of each feature."""
        return self.precision_sqrt.pow(-2)

    def refresh(self) -> None:
        """Forget what is known of parameters that were replaced from outside."""

    @torch.no_grad()
    def draw_start(self, generator: torch.Generator) -> None:
        """Draw centroids by a CPU generator (section 3.2.1), and set all else back to where it starts."""
        noise = torch.rand(self.loc.shape, generator=generator, dtype=torch.float64, device="cpu")
        # Rounded to float32, so that a model starts from the same values in float64.
        self.loc.copy_(noise.mul_(2).sub_(1).mul_(self.options.loc_range).float())
        self.precision_sqrt.copy_(torch.tensor(self._start, dtype=torch.float32))
        self.logits.zero_()

    def component_scores(self, x: Tensor) -> Tensor:  # (..., N, H, W, D) -> (..., N, H, W, K)
        """Joint log-density of the channels at each position with each component: log pi_k + log N_k (nats)."""
        return self.score(x).component_scores

    def score(self, x: Tensor | Patches) -> Scored:  # (..., N, H, W, D)
        """Scores of a batch, from which log_prob, max_component_score and responsibilities follow."""
        patches = self.patches(x)
        log_weights = self.log_weights
        natural = natural_parameters(log_weights, self.loc, self.precision_sqrt)
        return Scored(patches, log_weights, natural, patches.contract(*natural))

    def log_prob(self, x: Tensor) -> Tensor:  # (..., N, H, W, D) -> (..., N, H, W)
        """Log-likelihood at each position (log-sum-exp, nats; equation 3)."""
        return self.score(x).log_prob

    def max_component_score(self, x: Tensor) -> Tensor:  # (..., N, H, W, D) -> (..., N, H, W)
        """Max-component approximation of the log-likelihood at each position (nats)."""
        return self.score(x).max_component_score

    def responsibilities(self, x: Tensor) -> Tensor:  # (..., N, H, W, D) -> (..., N, H, W, K)
        """Posterior of the components at each position (equation 2)."""
        return self.score(x).responsibilities

    def forward(self, x: Tensor) -> Tensor:  # (..., N, H, W, D) -> (..., N, H, W, K)
        """Upward: what the layer passes on, its responsibilities."""
        return self.responsibilities(x)

    def downward(
        self,
        components: Tensor,  # (N, H, W), long: the component of each position
        noise: Tensor,  # (N, H, W, D), standard normal
        std_scale: float = 1.0,
    ) -> Tensor:  # (N, H, W, D)
        """Downward: a draw mu_k + std_scale * noise / d_k from the Gaussian of each position's component."""
        loc, precision_sqrt = (self.flat(each)[self.flat_index(components)] for each in (self.loc, self.precision_sqrt))
        return torch.addcdiv(loc, noise, precision_sqrt, value=std_scale)

    def mean(self, weights: Tensor) -> Tensor:  # (N, H, W, K) -> (N, H, W, D)
        """Mean of the centroids, weighted at each position."""
        if self.shared:
            return weights @ self.loc
        return (weights.movedim(-4, -2) @ self.loc).movedim(-2, -4)

    def flat(self, parameter: Tensor) -> Tensor:  # (K, ...) or (H, W, K, ...) -> (M, ...)
        """A parameter of all M components: K, or H W K where each position has its own, position after position."""
        return parameter if self.shared else parameter.flatten(0, 2)

    def flat_index(self, components: Tensor) -> Tensor:  # (..., H, W) -> (..., H, W)
        """Where among all M components a component of each position stands."""
        if self.shared:
            return components
        place = torch.arange(self.input_shape.positions, device=components.device).view(self.own_shape)
        return components + self.components * place

    @torch.no_grad()
    def step(
        self,
        x: Tensor | Patches,  # (..., N, H, W, D)
        kernel: Tensor | None,  # (..., S, S), of one side of the grid; None after annealing
        rates: Rates,
        *,
        passes_on: bool,
        total: Tensor | None = None,  # (...), to which the objective is added
    ) -> tuple[Tensor, Tensor | None]:  # (...), (..., N, H, W, K)
        """One step of SGD ascent of the objective, in place.

        Returns the objective, and (where the layer `passes_on` something) the responsibilities, both as they were
        before the step. A position with parameters of its own has its own kernel, rates and objective too.

        Raises:
            OptionError: x is empty, or an array has another shape, number type or device than the parameters ask for.
        """
        patches, parameters = self.patches(x), self.learnt
        given = (patches.window, parameters, kernel, rates[:3], self.limits)
        if fused.takes(self.components, patches.source, *parameters):
            self._check_step(patches.source, kernel, rates)
            value, made = fused.step(patches.source, *given, passes_on=passes_on, total=total)
            return value, None if made is None else patches.placed(made)
        if native.takes(patches.x, *parameters):
            value, made = native.step(patches.x, *given, passes_on=passes_on)
            return added(value, total), None if made is None else patches.placed(made)
        self._check_step(patches.x, kernel, rates)
        value, responsibilities = self._step(patches, kernel, rates, passes_on=passes_on)
        return added(value, total), responsibilities

    def _step(
        self, patches: Patches, kernel: Tensor | None, rates: Rates, *, passes_on: bool
    ) -> tuple[Tensor, Tensor | None]:
        """`step` in tensors."""
        scored = self.score(patches)
        value, gradient = self.objective(scored, kernel)
        responsibilities = scored.responsibilities if passes_on else None
        self.ascend(gradient, rates)
        return value, responsibilities

    @torch.no_grad()
    def sums(self, x: Tensor | Patches, kernel: Tensor | None, *, passes_on: bool) -> tuple[Sums, Tensor | None]:
        """The first half of `step`, of the same arguments: what `update` needs, and the responsibilities.

        Raises:
            OptionError: as for `step`.
        """
        patches = self.patches(x)
        if native.takes(patches.x, *self.learnt):
            sums, made = native.sums(patches.x, patches.window, self.learnt, kernel, passes_on=passes_on)
            return Sums(*sums), None if made is None else patches.placed(made)
        self._check_step(patches.x, kernel)
        scored = self.score(patches)
        value, winner = smoothed_winner(patches.points(scored.component_scores), kernel)
        found = Sums(value.mean(-1), *patches.sums(winner, self.components))
        return found, scored.responsibilities if passes_on else None

    @torch.no_grad()
    def update(self, sums: Sums, points: int, kernel: Tensor | None, rates: Rates) -> None:
        """The second half of `step`, in place: the step that the sums of so many points give.

        The parameters, and the kernel, are those that the sums were made with.

        Raises:
            OptionError: as for `step`.
        """
        if native.takes(sums.counts, *self.learnt):
            native.update(sums[1:4], points, self.learnt, kernel, rates[:3], self.limits)
            return
        means, own = (sums.counts / points, sums.first / points, sums.second / points), (self.loc, self.precision_sqrt)
        self.ascend(objective_gradient(means, kernel, self.log_weights, *own, self.precision_sqrt.square()), rates)

    @torch.no_grad()
    def objective(self, scored: Scored, kernel: Tensor | None) -> tuple[Tensor, Gradient]:  # kernel as in `step`
        """Mean over samples and positions of max_k sum_j G_kj s_j, of batch_shape, and its gradient.

        `scored` was given by `score` with the parameters that the layer has now.
        """
        value, winner = smoothed_winner(scored.patches.points(scored.component_scores), kernel)
        means = scored.patches.means(winner, self.components)
        precision = scored.natural.precision
        gradient = objective_gradient(means, kernel, scored.log_weights, self.loc, self.precision_sqrt, precision)
        return value.mean(-1), gradient

    @torch.no_grad()
    def ascend(self, gradient: Gradient, rates: Rates) -> None:
        """One step of plain SGD ascent, in place; a centroid goes at most to the mean of what it won."""
        self.logits.addcmul_(gradient.logits, rates.logits[..., None])
        farthest = 1 / (self.precision_sqrt.square() * gradient.share.unsqueeze(-1))
        self.loc.addcmul_(gradient.loc, torch.minimum(farthest, rates.loc[..., None, None]))
        self.precision_sqrt.addcmul_(gradient.precision_sqrt, rates.precision_sqrt[..., None, None])
        # Project after the step: d can cross 0, where log d is undefined.
        self.precision_sqrt.clamp_(*self.limits)

    def patches(self, x: Tensor | Patches) -> Patches:  # (..., N, H, W, D)
        """What the layer sees, as its parameters are applied to it.

        Raises:
            OptionError: it has another number of features, number type or device than the parameters.
        """
        patches = x if isinstance(x, Patches) else Patches(x, SINGLE)
        features, given, own = self.input_shape.channels, patches.source, self.loc
        if patches.features != features or given.dtype != own.dtype or given.device != own.device:
            found = f"{patches.features}, {given.dtype}, on {given.device}"
            raise OptionError("x", f"of {features} features a patch, {own.dtype}, on {own.device}", found)
        return patches if self.shared else patches.by_position()

    def _check_step(self, x: fused.Maps, kernel: Tensor | None, rates: Rates | None = None) -> None:
        """Refuse what tensors would broadcast, and fused passes read as it lies; native ones see to it themselves."""
        check_step(x.shape, kernel, rates._asdict() if rates else {}, self.loc[..., 0, 0], grid_side(self.components))

    def extra_repr(self) -> str:
        """Components, whose they are, input and output shape."""
        own = "" if self.shared else " at each position"
        return f"{self.components}{own}; {self.input_shape} -> {self.output_shape}"
