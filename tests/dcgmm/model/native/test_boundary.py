"""What does not fit is refused by its name before anything is computed, by compiled passes and by tensors alike."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from dcgmm.errors import OptionError
from dcgmm.model import GMM, Rates, Shape, native
from dcgmm.model.patches import Patches
from dcgmm.model.shapes import Window
from tests.conftest import normal, uniform
from tests.dcgmm.model.native.samples import NEEDS_COMPILER, kernel_of
from tests.refusals import refused

WINDOW = Window((2, 2), (1, 1))


@dataclass
class Step:
    """What a step is given: models side by side, over windows of 2x2 pixels of two channels."""

    x: Tensor
    kernel: Tensor
    rates: Rates
    batch_shape: tuple[int, ...] = ()

    def take(self, dtype: torch.dtype) -> Any:
        """Do it, with parameters of this type."""
        gmm = GMM(Shape(3, 2, 8), 9, batch_shape=self.batch_shape).to(dtype)
        return gmm.step(Patches(self.x, WINDOW), self.kernel, self.rates, passes_on=True)


def right(dtype: torch.dtype, batch_shape: tuple[int, ...] = ()) -> Step:
    kernel = kernel_of(9, 1.0)
    assert kernel is not None
    return Step(
        uniform(*batch_shape, 5, 4, 3, 2).to(dtype),
        kernel.to(dtype).expand(*batch_shape, 3, 3),
        Rates(*uniform(4, *batch_shape).to(dtype)),
        batch_shape,
    )


def with_rate(step: Step, name: str, change: Callable[[Tensor], Tensor]) -> Step:
    return replace(step, rates=step.rates._replace(**{name: change(getattr(step.rates, name))}))


def other(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float32 else torch.float32


# The argument that is refused, and what makes it wrong.
WRONG: dict[str, tuple[str, Callable[[Step], Step]]] = {
    "channels": ("x", lambda s: replace(s, x=s.x[..., :1])),
    "more channels": ("x", lambda s: replace(s, x=torch.cat([s.x, s.x], -1))),
    "no samples": ("x", lambda s: replace(s, x=s.x[..., :0, :, :, :])),
    "a single sample": ("x", lambda s: replace(s, x=s.x.flatten(0, -4)[0])),
    "another type": ("x", lambda s: replace(s, x=s.x.to(other(s.x.dtype)))),
    "models in x": ("x", lambda s: replace(s, x=s.x.expand(2, *s.x.shape))),
    "another kernel": ("kernel", lambda s: replace(s, kernel=s.kernel[..., :2, :2])),
    "a larger kernel": ("kernel", lambda s: replace(s, kernel=torch.zeros(*s.batch_shape, 4, 4, dtype=s.x.dtype))),
    "the kernel of all": ("kernel", lambda s: replace(s, kernel=torch.zeros(*s.batch_shape, 9, 9, dtype=s.x.dtype))),
    "the kernel's type": ("kernel", lambda s: replace(s, kernel=s.kernel.to(other(s.x.dtype)))),
    "models in the kernel": ("kernel", lambda s: replace(s, kernel=s.kernel.expand(2, *s.kernel.shape))),
    "the kernel's device": ("kernel", lambda s: replace(s, kernel=s.kernel.to("meta"))),
    "a rate's type": ("rates.loc", lambda s: with_rate(s, "loc", lambda rate: rate.to(other(rate.dtype)))),
    "a rate's shape": ("rates.logits", lambda s: with_rate(s, "logits", lambda rate: rate.expand(2, *rate.shape))),
    "a rate's device": ("rates.precision_sqrt", lambda s: with_rate(s, "precision_sqrt", lambda rate: rate.to("meta"))),
}
each_mistake = pytest.mark.parametrize(("name", "spoil"), WRONG.values(), ids=WRONG)
each_way = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["compiled", "tensors"])


@each_way
@each_mistake
@pytest.mark.parametrize("batch_shape", [(), (3,)])
def test_a_step_refuses_by_name(
    name: str, spoil: Callable[[Step], Step], dtype: torch.dtype, batch_shape: tuple[int, ...]
) -> None:
    right(dtype, batch_shape).take(dtype)
    with pytest.raises(OptionError) as caught:
        spoil(right(dtype, batch_shape)).take(dtype)
    assert caught.value.field == name


@each_way
def test_models_side_by_side_have_images_of_their_own(dtype: torch.dtype) -> None:
    step = right(dtype, (3,))
    with pytest.raises(OptionError) as caught:
        replace(step, x=step.x[0]).take(dtype)
    assert caught.value.field == "x"


@each_way
@pytest.mark.parametrize("x", [torch.zeros(2, 3, 3, 7), torch.zeros(2, 3, 3, 8, dtype=torch.float16)])
def test_scores_refuse_by_name(dtype: torch.dtype, x: Tensor) -> None:
    gmm = GMM(Shape(3, 3, 8), 9).to(dtype)
    with torch.no_grad(), pytest.raises(OptionError) as caught:
        gmm.score(x)
    assert caught.value.field == "x"


def arrays() -> dict[str, Tensor]:
    """What `native.scores` and `native.pull` take, right."""
    return {
        "x": normal(5, 4, 3, 2).float(),
        "weights": normal(5, 3, 2, 9).float(),
        "linear": normal(9, 8).float(),
        "precision": normal(9, 8).float(),
        "constant": normal(9).float(),
    }


TAKES = {
    native.scores: ("x", "linear", "precision", "constant"),
    native.pull: ("x", "weights", "linear", "precision"),
}
SPOILT: dict[str, Callable[[Tensor], Tensor]] = {
    "a dimension more": lambda array: array[None],
    "a row less": lambda array: array[1:],
    "a column less": lambda array: array[..., 1:],
    "float64": lambda array: array.double(),
    "bfloat16": lambda array: array.bfloat16(),
    "elsewhere": lambda array: array.to("meta"),
}


@NEEDS_COMPILER
@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT)
@pytest.mark.parametrize(
    ("run", "name"), [(run, name) for run, names in TAKES.items() for name in names], ids=lambda value: str(value)[:20]
)
def test_a_pass_reads_no_array_that_does_not_fit(
    run: Callable[..., Tensor], name: str, spoil: Callable[[Tensor], Tensor]
) -> None:
    def take(given: dict[str, Tensor]) -> Tensor:
        x, *others = (given[each] for each in TAKES[run])
        return run(x, WINDOW, *others)

    take(arrays())
    spoilt = arrays()
    spoilt[name] = spoil(spoilt[name])
    if run is native.scores and name == "x" and spoil is SPOILT["a row less"]:  # other images, as good as all
        return
    with pytest.raises(OptionError):
        take(spoilt)


@NEEDS_COMPILER
@pytest.mark.parametrize("scores", [torch.zeros(()), torch.zeros(3, 0), torch.zeros(3, 2, dtype=torch.float64)])
@pytest.mark.parametrize("run", [native.largest, native.log_prob, native.responsibilities])
def test_rows_of_scores_are_checked(run: Callable[[Tensor], Tensor], scores: Tensor) -> None:
    with pytest.raises(OptionError) as caught:
        run(scores)
    assert caught.value.field == "scores"


@NEEDS_COMPILER
def test_a_window_larger_than_the_map_is_refused() -> None:
    given = arrays()
    with refused("4x3"):
        native.scores(given["x"], Window((5, 3), (1, 1)), given["linear"], given["precision"], given["constant"])


def components_step(components: int, **changed: Tensor) -> None:
    logits, loc = torch.zeros(components), torch.zeros(components, 8)
    parameters = {"logits": logits, "loc": loc, "precision_sqrt": loc + 1, **changed}
    native.step(
        normal(5, 4, 3, 2).float(),
        WINDOW,
        list(parameters.values()),
        None,
        list(torch.zeros(3)),
        (0.1, 4.0),
        passes_on=False,
    )


@NEEDS_COMPILER
def test_components_that_fill_no_grid_are_refused() -> None:
    components_step(9)
    with pytest.raises(OptionError) as caught:
        components_step(7)
    assert caught.value.field == "components"


@NEEDS_COMPILER
@pytest.mark.parametrize("name", ["logits", "loc", "precision_sqrt"])
def test_parameters_that_lie_apart_are_refused_since_they_are_written_to(name: str) -> None:
    gaps = torch.ones(9, 16)[:, ::2] if name != "logits" else torch.ones(18)[::2]
    with pytest.raises(OptionError) as caught:
        components_step(9, **{name: gaps})
    assert caught.value.field == name


@NEEDS_COMPILER
@pytest.mark.parametrize("count", [2, 4])
def test_a_step_takes_three_rates(count: int) -> None:
    loc, rates = torch.zeros(9, 8), list(torch.zeros(count))
    with pytest.raises(ValueError, match="zip"):
        native.step(arrays()["x"], WINDOW, [torch.zeros(9), loc, loc + 1], None, rates, (0.1, 4.0), passes_on=False)
