"""Tiles of larger images: which a step sees, and that training on them keeps what training promises."""

from typing import Any

import pytest
import torch
from torch import Tensor

import dcgmm
from dcgmm.errors import InputError, OptionError
from dcgmm.model import DCGMM
from dcgmm.model.fused import taken
from dcgmm.options import made
from dcgmm.training import Trainer, TrainerOptions
from dcgmm.training.batches import Batches
from tests.conftest import EXACT
from tests.refusals import refused

LAYERS: list[dict[str, Any]] = [
    {"type": "folding", "kernel": [3, 2], "stride": [2, 1]},
    {"type": "gmm", "components": 4},
    {"type": "pooling", "kernel": [2, 2]},
    {"type": "folding", "kernel": [2, 2]},
    {"type": "gmm", "components": 4, "factors": 2},
]
SHAPE, TILE = (11, 9, 2), [8, 6]  # an epoch takes four tiles an image
QUICK: dict[str, Any] = {"annealing": {"alpha": 1 / 2, "sigma_end": 0.2, "delta": 0.3, "gamma": 0.5}}


def images(count: int = 5) -> Tensor:
    """Every value tells where it is from."""
    return torch.arange(count * 11 * 9 * 2).view(count, *SHAPE) / 2000


def batches(seed: int = 0, **options: Any) -> Batches:
    model = DCGMM.build(SHAPE, LAYERS).double()
    generators = [torch.Generator().manual_seed(seed)]
    return Batches(images().double(), made(TrainerOptions, {"tile": TILE, **options}), model, generators)


def epoch(given: Batches, done: int = 0) -> Tensor:  # (B, h, w, C)
    parts = []
    for number in range(done, given.steps_per_epoch):
        given.prepare(number)
        parts.append(taken(given.coming()).clone())
    return torch.cat(parts)


def places(tiles: Tensor) -> list[tuple[int, int, int]]:
    """Image, row and column that tiles are from."""
    values = (tiles[:, 0, 0, 0] * 1000).round().long().tolist()
    return [(value // 99, value % 99 // 9, value % 9) for value in values]


def test_a_tile_is_a_part_of_an_image_and_an_epoch_takes_as_many_of_each_as_cover_it() -> None:
    given = batches()
    tiles = epoch(given)
    assert (given.batch_size, given.steps_per_epoch, tiles.shape) == (20, 1, (20, 8, 6, 2))
    for tile, (image, row, column) in zip(tiles, places(tiles), strict=True):
        assert torch.equal(tile, images().double()[image, row : row + 8, column : column + 6])
    assert [image for image, _, _ in sorted(places(tiles))] == [number for number in range(5) for _ in range(4)]


def test_tiles_reach_every_place() -> None:
    given = batches()
    found = {(row, column) for _ in range(30) for _, row, column in places(epoch(given))}
    assert found == {(row, column) for row in range(4) for column in range(4)}


def test_an_epoch_that_is_gone_on_with_has_the_same_tiles() -> None:
    given, other = batches(batch_size=3), batches(seed=9, batch_size=3)
    epoch(given)
    expected = epoch(given)
    other.load_states(given.states(2))
    assert torch.equal(epoch(other, 2), expected[6:])


def test_tiles_of_images_that_stay_on_the_host_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = epoch(batches(batch_size=3))
    monkeypatch.setattr("dcgmm.training.batches.fits", lambda *_: False)
    assert torch.equal(epoch(batches(batch_size=3)), expected)


def test_a_batch_takes_no_more_tiles_than_an_epoch_has() -> None:
    with pytest.raises(OptionError) as raised:
        batches(batch_size=21)
    assert (raised.value.field, raised.value.rule) == ("batch_size", "at most 20, the number of tiles of an epoch")


def trainer(seeds: tuple[int, ...] = (0,), layers: list[dict[str, Any]] | None = None, **options: Any) -> Trainer:
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    models = [DCGMM.build(SHAPE, layers or LAYERS) for _ in seeds]
    for model, generator in zip(models, generators, strict=True):
        model.draw_start(generator)
    model = models[0] if len(seeds) == 1 else DCGMM.side_by_side(models)
    given = {"tile": TILE, "batch_size": 6, "epochs": 12, "factor_epochs": 1.0, **QUICK, **options}
    return Trainer(model.double(), images(), made(TrainerOptions, given), generators)


def train(subject: Trainer, steps: int | None = None) -> dict[str, Tensor]:
    for _ in range(subject.total_steps if steps is None else steps):
        subject.step()
    return {name: value.clone() for name, value in subject.model.state_dict().items()}


@pytest.mark.parametrize("at", [1, 6, 20])
def test_training_on_tiles_resumes_to_the_same_bits(at: int) -> None:
    whole, stopped, resumed = trainer(), trainer(), trainer((9,))
    expected = train(whole)
    train(stopped, at)
    resumed.model.load_state_dict(stopped.model.state_dict())
    resumed.load_state_dicts(stopped.state_dicts())
    found = train(resumed, whole.total_steps - at)
    assert all(torch.equal(value, found[name]) for name, value in expected.items())
    assert any(gmm.has_factors for gmm in whole.model.gmms.values() if hasattr(gmm, "has_factors"))


def test_replicas_train_on_tiles_of_their_own_as_each_alone() -> None:
    together = trainer((3, 4), epochs=3)
    train(together)
    for seed, model in zip((3, 4), together.model.alone(), strict=True):
        alone = train(trainer((seed,), epochs=3))
        for name, value in model.state_dict().items():
            torch.testing.assert_close(value, alone[name], **EXACT)


def test_a_model_sees_a_tile_as_one_that_was_built_for_tiles() -> None:
    model = trainer().model
    small = DCGMM.build((*TILE, 2), LAYERS).double()
    small.load_state_dict(model.state_dict())
    tiles = images().double()[:, 2:10, 1:7]
    for name, scored in small.score(tiles).items():
        assert torch.equal(model.score_floats(tiles)[name].component_scores, scored.component_scores)


def test_fit_takes_tiles() -> None:
    model = DCGMM.build(SHAPE, LAYERS)
    history = dcgmm.fit(model, images(), tile=TILE, epochs=2, batch_size=6, annealing={"alpha": 0.25})
    assert history.steps[-1] == 4
    assert model.log_prob(images()).shape == (5,)


@pytest.mark.parametrize(
    ("tile", "layers", "named"),
    [
        ([12, 6], LAYERS, "tile [11, 9] [12, 6]"),
        ([8, 2], LAYERS, "8x2: 3 P(2,2):"),
        ([8, 6], [{"type": "gmm", "components": 4, "shared": False}], "tile: gmm1 false"),
    ],
)
def test_tiles_that_cannot_be(tile: list[int], layers: list[dict[str, Any]], named: str) -> None:
    kind = OptionError if tile == [12, 6] else InputError
    with refused(*named.split(), kind=kind):
        trainer(tile=tile, layers=layers)
