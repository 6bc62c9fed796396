"""Batches: in the order of each epoch, drawn ahead, whether the images are on the device or stay on the host."""

import pytest
import torch

from dcgmm.model import DCGMM
from dcgmm.model.fused import taken
from dcgmm.model.fused.gathered import Gathered
from dcgmm.training import TrainerOptions, batches
from dcgmm.training.batches import Batches
from dcgmm.training.tiles import MIXED, shuffled
from tests.dcgmm.training.test_trainer import QUICK, assert_same, go_on, side_by_side, train, trainer

LAYERS = [{"type": "gmm", "components": 4}]


def subject(*seeds: int, count: int = 7, batch_size: int = 2) -> Batches:
    models = [DCGMM.build((1, 2, 1), LAYERS) for _ in seeds]
    images = torch.arange(count, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 2, 1).contiguous()
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    model = models[0] if len(models) == 1 else DCGMM.side_by_side(models)
    return Batches(images, TrainerOptions(batch_size=batch_size), model, generators)


def numbers(given: Batches, epochs: int) -> list[torch.Tensor]:
    """Which images come in some epochs, (..., S B) each."""
    found = []
    for _ in range(epochs):
        rows = []
        for done in range(given.steps_per_epoch):
            given.prepare(done)
            batch = taken(given.coming())
            assert torch.equal(given.last(), batch)
            rows.append((255 * batch[..., 0, 0, 0]).round().long())
        found.append(torch.cat(rows, -1))
    return found


# Bytes that come to the device at a time: all, two batches of one model, one.
@pytest.fixture(
    params=[None, batches.STRETCH, 8, 1], ids=["on the device", "on the host", "in stretches", "one by one"]
)
def _where(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param is not None:
        monkeypatch.setattr(batches, "fits", lambda *_: False)
        monkeypatch.setattr(batches, "STRETCH", request.param)


@pytest.mark.usefixtures("_where")
def test_epochs_are_permutations_that_the_generators_draw_one_behind_the_other() -> None:
    expected = [torch.Generator().manual_seed(seed) for seed in (3, 8)]
    for epoch in numbers(subject(3, 8), 3):
        wanted = [torch.randperm(7, generator=generator)[:6] for generator in expected]
        assert torch.equal(epoch, torch.stack(wanted))


@pytest.mark.usefixtures("_where")
def test_what_is_drawn_ahead_does_not_show_in_the_states() -> None:
    given = subject(3)
    plain = torch.Generator().manual_seed(3)
    for _ in range(2):
        assert torch.equal(given.states(0)[0], plain.get_state())
        numbers(given, 1)
        assert torch.equal(given.states(1)[0], plain.get_state())
        torch.randperm(7, generator=plain)
    again = subject(99)
    again.load_states(given.states(0))
    assert torch.equal(numbers(again, 1)[0], numbers(given, 1)[0])


@pytest.mark.usefixtures("_where")
def test_an_epoch_that_is_gone_on_with_takes_the_batches_that_are_left() -> None:
    whole, given = subject(3), subject(99)
    (epoch,) = numbers(whole, 1)
    numbers(given, 1)  # what it drew ahead is of no use any more
    given.load_states(whole.states(1))
    for done in (1, 2):
        given.prepare(done)
        assert torch.equal((255 * taken(given.coming())[:, 0, 0, 0]).round().long(), epoch[2 * done : 2 * done + 2])


@pytest.mark.parametrize("seeds", [(0,), (4, 0, 7)])
def test_images_that_stay_on_the_host_train_to_the_same_bits(
    seeds: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = train(side_by_side(*seeds, **QUICK))
    monkeypatch.setattr(batches, "fits", lambda *_: False)
    for size in (batches.STRETCH, 10_000):
        monkeypatch.setattr(batches, "STRETCH", size)
        assert_same(train(side_by_side(*seeds, **QUICK)), expected)


def test_training_goes_on_where_images_stay_on_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = train(trainer())
    monkeypatch.setattr(batches, "fits", lambda *_: False)
    monkeypatch.setattr(batches, "STRETCH", 1)
    stopped, resumed = trainer(), trainer(seed=99)
    train(stopped, 9)
    go_on(resumed, stopped)
    assert_same(train(resumed), expected)


@pytest.mark.parametrize(("count", "block"), [(100, 7), (1, 5), (30, 1), (64, 8), (5, 100)])
def test_blocks_are_shuffled_and_ten_of_them_mixed(count: int, block: int) -> None:
    order = shuffled(count, block, torch.Generator().manual_seed(0))
    assert order.sort().values.tolist() == list(range(count))
    for part in order.split(MIXED * block):  # the block that is not whole shifts those after it
        assert len((part // block).unique()) <= MIXED + 1
    again = shuffled(count, block, torch.Generator().manual_seed(0))
    assert torch.equal(order, again)
    plain = shuffled(count, None, torch.Generator().manual_seed(0))
    assert torch.equal(plain, torch.randperm(count, generator=torch.Generator().manual_seed(0)))


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float64])
def test_a_gpu_gathers_images_however_they_were_given(dtype: torch.dtype) -> None:
    images = torch.arange(24, dtype=dtype).view(4, 1, 2, 3).movedim(1, -1) // 24  # (N, H, W, C), not as they lie
    model = DCGMM.build((2, 3, 1), LAYERS).cuda()
    given = Batches(images, TrainerOptions(batch_size=2), model, [torch.Generator()])
    given.prepare(0)
    assert isinstance(given.coming(), Gathered)
