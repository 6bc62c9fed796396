"""The fused passes against the tensors that they stand for, in float64: on a GPU, or else in Triton's interpreter."""

import copy
import importlib
import importlib.util
import logging
import math
import sys
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from dcgmm.images import to_float
from dcgmm.model import GMM, Folding, Pooling, Rates, Shape, fused
from dcgmm.model.fused.gathered import Gathered
from dcgmm.model.fused.plan import MOST_COMPONENTS, plan
from dcgmm.training.tiles import Tiles, Whole
from tests.conftest import EXACT, normal, uniform
from tests.dcgmm.model.native.samples import LIKE_FLOAT64, Case, assert_like, in_float64, kernel_of, layers, rates

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
NEEDS_TRITON = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="needs Triton")

# samples, map (H, W, C), kernel, stride, K. One kernel that scores and sums up, and several; features split among
# programs; one component to many; unequal sides and strides, an uncovered rim; single positions; over 1,024 points
CASES: list[Case] = [
    (3, (6, 5, 1), (3, 3), (1, 1), 25),
    (2, (6, 9, 3), (3, 2), (2, 3), 49),
    (2, (3, 6, 11), (2, 3), (1, 2), 4),
    (7, (5, 7, 1), (2, 3), (1, 2), 1),
    (20, (3, 4, 11), (3, 4), (1, 1), 4),
    (3, (3, 2, 7), (1, 1), (1, 1), 121),
    (20, (8, 9, 1), (2, 2), (1, 1), 9),
]
cases = pytest.mark.parametrize("case", CASES, ids=[f"{case[1]}-{case[2]}-{case[3]}-{case[4]}" for case in CASES])


def fused_step(
    folding: Folding, gmm: GMM, x: fused.Maps, kernel: Tensor | None, speed: Rates, passes_on: bool = True
) -> tuple[GMM, Tensor, Tensor | None]:
    """A step of a copy, on the device of the tests; what comes of it is on the CPU."""
    stepped, options = copy.deepcopy(gmm).to(DEVICE), gmm.options
    value, passed = fused.step(
        x.to(DEVICE) if isinstance(x, Tensor) else x,
        folding.window,
        [each.detach() for each in (stepped.logits, stepped.loc, stepped.precision_sqrt)],
        None if kernel is None else kernel.to(DEVICE),
        [rate.to(DEVICE) for rate in speed[:3]],
        (options.precision_sqrt_min, options.precision_sqrt_max),
        passes_on=passes_on,
    )
    return stepped.cpu(), value.cpu(), None if passed is None else passed.cpu()


@NEEDS_TRITON
@pytest.mark.parametrize(
    ("case", "sigma"),
    [*((case, 0.8) for case in CASES if case != CASES[2]), (CASES[0], None), (CASES[2], None)],
    ids=str,
)
def test_a_step_is_that_of_tensors(case: Case, sigma: float | None) -> None:
    folding, gmm, x = layers(case)
    kernel = kernel_of(case[4], sigma)
    exact, value, passed = in_float64(folding, gmm, x, kernel, rates())
    stepped, objective, responsibilities = fused_step(folding, gmm, x, kernel, rates())
    assert responsibilities is not None
    torch.testing.assert_close(objective.double(), value, **LIKE_FLOAT64)
    torch.testing.assert_close(responsibilities.double(), passed, **LIKE_FLOAT64)
    assert_like(stepped, exact)


@NEEDS_TRITON
@pytest.mark.parametrize(
    "case", [CASES[0], pytest.param(CASES[2], marks=pytest.mark.slow)], ids=["few features", "many features"]
)
def test_models_side_by_side_are_each_as_alone(case: Case) -> None:
    folding, gmm, x = layers(case, (2,))
    kernel, speed = (
        torch.stack([normal(k, k, seed=8).softmax(-1).float() for k in [math.isqrt(case[4])] * 2]),
        rates((2,)),
    )
    together, value, passed = fused_step(folding, gmm, x, kernel, speed)
    assert passed is not None
    for number in range(2):
        alone = GMM(gmm.input_shape, gmm.components)
        alone.load_state_dict({name: tensor[number] for name, tensor in gmm.state_dict().items()})
        own, objective, responsibilities = fused_step(
            folding, alone, x[number], kernel[number], Rates(*(rate[number] for rate in speed))
        )
        assert responsibilities is not None
        torch.testing.assert_close(objective, value[number], **EXACT)
        torch.testing.assert_close(responsibilities, passed[number], **EXACT)
        for name, parameter in own.state_dict().items():
            torch.testing.assert_close(parameter, together.state_dict()[name][number], **EXACT)


@NEEDS_TRITON
@pytest.mark.parametrize(("case", "batch_shape"), [(CASES[6], ()), (CASES[0], (2,)), (CASES[5], ())], ids=str)
def test_a_small_gpu_takes_its_points_in_turns(
    case: Case, batch_shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fused, "_multiprocessors", lambda device: 1)
    monkeypatch.setattr(sys.modules["dcgmm.model.fused.plan"], "SHARES", 1)
    folding, gmm, x = layers(case, batch_shape)
    kernel = None if batch_shape else kernel_of(case[4], 0.8)
    exact, value, passed = in_float64(folding, gmm, x, kernel, rates(batch_shape))
    stepped, objective, responsibilities = fused_step(folding, gmm, x, kernel, rates(batch_shape))
    assert responsibilities is not None
    torch.testing.assert_close(objective.double(), value, **LIKE_FLOAT64)
    torch.testing.assert_close(responsibilities.double(), passed, **LIKE_FLOAT64)
    assert_like(stepped, exact)


@NEEDS_TRITON
def test_objectives_are_added_to_their_totals() -> None:
    folding, gmm, x = layers(CASES[3], (2,))
    parameters = [each.detach().to(DEVICE) for each in (gmm.logits, gmm.loc, gmm.precision_sqrt)]
    speed, total = [rate.to(DEVICE) for rate in rates((2,))[:3]], torch.tensor([1.0, -2.0], device=DEVICE)
    before = total.clone()
    given = (x.to(DEVICE), folding.window, parameters, None, speed, (0.1, 4.0))
    value, _ = fused.step(*given, passes_on=False, total=total)
    torch.testing.assert_close(total, before + value, **EXACT)


@NEEDS_TRITON
def test_any_kernel_whose_rows_sum_to_one_will_do() -> None:
    # The kernel of the torus is symmetric, and would not tell rows from columns.
    folding, gmm, x = layers((6, (7, 6, 3), (3, 2), (1, 1), 25))
    kernel = normal(5, 5, seed=8).softmax(-1).float()
    exact, value, _ = in_float64(folding, gmm, x, kernel, rates())
    stepped, objective, nothing = fused_step(folding, gmm, x, kernel, rates(), passes_on=False)
    assert nothing is None
    torch.testing.assert_close(objective.double(), value, **LIKE_FLOAT64)
    assert_like(stepped, exact)


@NEEDS_TRITON
def test_near_ties_far_from_zero_are_told_apart() -> None:
    # Scores near -1e5 that differ by a hundredth: smoothed as they are, rounding would choose.
    gmm = GMM(Shape(1, 1, 2), 4)
    with torch.no_grad():
        gmm.loc.copy_(torch.tensor([[100.0, 0.0], [100.001, 0.0], [100.002, 0.0], [100.003, 0.0]]))
        gmm.precision_sqrt.fill_(4.0)
    folding, x = Folding(Shape(1, 1, 2), (1, 1)), torch.tensor([[0.0, 0.0]]).view(1, 1, 1, 2)
    kernel = torch.tensor([[0.9, 0.1], [0.1, 0.9]])
    exact, _, _ = in_float64(folding, gmm, x, kernel, rates())
    stepped, _, _ = fused_step(folding, gmm, x, kernel, rates())
    assert_like(stepped, exact)


@NEEDS_TRITON
@pytest.mark.parametrize("batch_shape", [(), (2,)])
@cases
def test_scores_are_those_of_tensors(case: Case, batch_shape: tuple[int, ...]) -> None:
    folding, gmm, x = layers(case, batch_shape)
    scored = copy.deepcopy(gmm).double().score(folding.patches(x.double()))
    linear, precision, constant = (each.detach().float().to(DEVICE) for each in scored.natural)
    scores = fused.contract(x.to(DEVICE), folding.window, linear, precision, constant).cpu()
    torch.testing.assert_close(scores.double(), scored.component_scores.detach(), **LIKE_FLOAT64)


@NEEDS_TRITON
def test_more_components_than_a_block_are_scored_block_by_block() -> None:
    folding, gmm, x = layers((2, (3, 4, 2), (2, 2), (1, 1), 324))
    scored = copy.deepcopy(gmm).double().score(folding.patches(x.double()))
    linear, precision, constant = (each.detach().float().to(DEVICE) for each in scored.natural)
    scores = fused.contract(x.to(DEVICE), folding.window, linear, precision, constant).cpu()
    torch.testing.assert_close(scores.double(), scored.component_scores.detach(), **LIKE_FLOAT64)


def gathered(as_bytes: bool, batch_shape: tuple[int, ...], tile: tuple[int, int] | None, position: int) -> Gathered:
    """A batch of three among seven images, each model's own; its position is not looked at on the host."""
    images = uniform(7, 8, 6, 3).mul(255).byte() if as_bytes else uniform(7, 8, 6, 3).float()
    generators = [torch.Generator().manual_seed(seed) for seed in range(math.prod(batch_shape))]
    parts = Whole(images) if tile is None else Tiles(images, None, tile)
    order = torch.stack([parts.drawn(generator, 6) for generator in generators]).view(*batch_shape, 6)
    return Gathered(images.to(DEVICE), order.to(DEVICE), torch.tensor([position], device=DEVICE), 3, tile)


def floats(batch: Gathered) -> Tensor:  # (..., B, H, W, C)
    """What a batch says that it is, by tensors."""
    first = 3 * int(batch.position)
    rows = batch.order[..., first : first + 3].flatten().cpu()
    images = batch.images.cpu()
    parts = Whole(images) if batch.tile is None else Tiles(images, None, batch.tile)
    return to_float(parts.gathered(rows), torch.float32).view(batch.shape)


@NEEDS_TRITON
@pytest.mark.parametrize("tile", [None, (8, 5), (4, 3)])
@pytest.mark.parametrize("batch_shape", [(), (2,)])
@pytest.mark.parametrize("as_bytes", [True, False])
def test_gathered_images_are_those_of_the_batch(
    as_bytes: bool, batch_shape: tuple[int, ...], tile: tuple[int, int] | None
) -> None:
    for position in range(2):
        batch = gathered(as_bytes, batch_shape, tile, position)
        expected = floats(batch)
        torch.testing.assert_close(fused.taken(batch).cpu(), expected, **EXACT)
        assert batch.position.tolist() == [position + 1]


@NEEDS_TRITON
@pytest.mark.parametrize(
    ("as_bytes", "batch_shape", "tile", "kernel"),
    [
        (True, (), None, (3, 2)),
        (False, (2,), (4, 3), (2, 2)),
        (True, (), (8, 3), (8, 3)),  # summed up by themselves
        pytest.param(True, (), None, (8, 6), marks=pytest.mark.slow),  # of features that are split among programs, too
    ],
    ids=["bytes", "tiles of floats, side by side", "tiles of one position", "one position"],
)
def test_a_step_on_what_it_gathers_is_that_on_the_images_to_the_bit(
    as_bytes: bool, batch_shape: tuple[int, ...], tile: tuple[int, int] | None, kernel: tuple[int, int]
) -> None:
    batch = gathered(as_bytes, batch_shape, tile, 1)
    folding = Folding(Shape(*batch.shape[-3:]), kernel)
    gmm = GMM(folding.output_shape, 4, batch_shape=batch_shape)
    with torch.no_grad():
        gmm.loc.copy_(uniform(*gmm.loc.shape, seed=2))
    expected, *made = fused_step(folding, gmm, floats(batch), None, rates(batch_shape))
    stepped, *found = fused_step(folding, gmm, batch, None, rates(batch_shape))
    torch.testing.assert_close(found, made, **EXACT)
    for name, value in stepped.state_dict().items():
        torch.testing.assert_close(value, expected.state_dict()[name], **EXACT)
    assert batch.position.tolist() == [2]  # by now it is read


@NEEDS_TRITON
@pytest.mark.parametrize(("kernel", "stride"), [((2, 2), None), ((3, 2), (2, 1)), ((2, 3), (3, 3)), ((1, 1), (1, 2))])
def test_pooled_maps_are_those_of_tensors(kernel: tuple[int, int], stride: tuple[int, int] | None) -> None:
    pooling, x = Pooling(Shape(7, 9, 5), kernel, stride), normal(2, 3, 7, 9, 5).float()
    x[1, 1, 4, 4, 2] = math.nan
    got = fused.pool(x.to(DEVICE), pooling.window, *pooling.output_shape[:2]).cpu()
    torch.testing.assert_close(got, pooling(x), equal_nan=True, **EXACT)


def test_a_cpu_float64_and_many_components_are_left_to_others() -> None:
    with torch.no_grad():
        assert not fused.takes(4, torch.ones(2))
        assert not fused.contracts(torch.ones(2, dtype=torch.float64))
    assert not fused.takes(MOST_COMPONENTS + 1, torch.ones(2))


def test_gpus_without_tensor_cores_for_tf32_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (7, 5))
    with pytest.raises(RuntimeError, match=r"8\.0, and this is 7\.5$"):
        fused._check(torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (8, 0))
    fused._check(torch.device("cuda"))
    monkeypatch.setattr(torch.version, "hip", "6.0")
    with pytest.raises(RuntimeError, match="NVIDIA"):
        fused._check(torch.device("cuda"))


@pytest.mark.parametrize(
    ("maps", "linear", "fits"),
    [
        ((100, 28, 28, 1), (25, 784), True),
        ((1, 1, 1, 2**22), (25, 2**22), True),
        ((1, 1, 1, 2**22 + 1), (25, 2**22 + 1), False),
        ((2**11, 2**10, 2**10, 1), (25, 1), False),  # 2^31 points
    ],
)
def test_sizes_that_kernels_cannot_count_are_left_to_tensors(
    maps: tuple[int, ...], linear: tuple[int, ...], fits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fused, "available", lambda _: True)
    monkeypatch.setattr(fused, "most_components", lambda _: MOST_COMPONENTS)
    given = [
        SimpleNamespace(dtype=torch.float32, is_cuda=True, device=None, shape=torch.Size(s)) for s in (maps, linear)
    ]
    with torch.no_grad():
        assert fused.contracts(*given) == fits  # type: ignore[arg-type]  # as large tensors are not made


def test_without_triton_the_log_says_so(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setitem(sys.modules, "dcgmm.model.fused.kernels", None)
    fused.available.cache_clear()
    with caplog.at_level(logging.WARNING):
        assert [fused.available(torch.device("cpu")) for _ in range(2)] == [False, False]
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "no fused passes on cpu" in caplog.text
    fused.available.cache_clear()


@NEEDS_TRITON
def test_a_triton_that_is_too_old_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    kernels = importlib.import_module("dcgmm.model.fused.kernels")
    monkeypatch.setattr("triton.__version__", "3.4.0")
    with pytest.raises(ImportError, match=r"^Triton 3.4.0: 3.5 or later is needed$"):
        importlib.reload(kernels)


@pytest.mark.parametrize("models", [1, 10])
@pytest.mark.parametrize(
    ("points", "features"), [(1, 1), (100, 785), (6400, 49), (16900, 400), (100, 1600), (67600, 9)]
)
def test_a_plan_leaves_nothing_out(models: int, points: int, features: int) -> None:
    found = plan(models, points, features, 36)
    assert (found.parts - 1) * found.turns * found.points < points <= found.parts * found.turns * found.points
    assert (found.splits - 1) * found.split < features <= found.splits * found.split
    assert (found.pieces - 1) * found.stretch < points <= found.pieces * found.stretch
    assert found.sums == (features <= found.features or found.features > 32)
    assert not found.sums or (found.pieces, found.stretch) == (found.parts, found.turns * found.points)
    assert found.whole or found.turns == 1
    assert models * found.parts <= 4 * 132  # however many points there are
