import pytest
import torch
from torch import Tensor

from dcgmm.generation.classifier import FEATURES, Examples, examples_of, shapes, train_judge
from tests.conftest import uniform
from tests.refusals import refused


def two_kinds(count: int, height: int = 8, width: int = 11, channels: int = 1) -> Examples:
    """Images with a bright left or a bright upper half, with labels that are no positions."""
    images = 0.4 * uniform(count, height, width, channels).float()
    labels = torch.tensor([3, 7]).repeat(count // 2)
    images[labels == 3, :, : width // 2] += 0.6
    images[labels == 7, : height // 2] += 0.6
    return Examples(images, labels)


def test_the_same_seed_gives_the_same_judge_whatever_the_threads() -> None:
    examples, state, threads = two_kinds(120), torch.get_rng_state(), torch.get_num_threads()
    first = train_judge(examples)
    try:
        torch.set_num_threads(2)
        second = train_judge(examples)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(first.features(examples.images), second.features(examples.images))
    assert first.digest == second.digest != train_judge(examples, seed=1).digest
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(value.requires_grad for value in first.weights.values())


@pytest.mark.parametrize(("height", "width", "channels"), [(8, 8, 1), (13, 9, 3), (40, 20, 1)])
def test_images_of_any_size_and_bytes(height: int, width: int, channels: int) -> None:
    examples = two_kinds(120, height, width, channels)
    steps: list[tuple[int, int]] = []
    judge = train_judge(examples, report=lambda done, total: steps.append((done, total)))
    assert steps == [(step, 150) for step in range(1, 151)]
    assert {name: tuple(value.shape) for name, value in judge.weights.items()} == shapes(channels, 2)
    assert judge.accuracy(examples.images, examples.labels) > 0.95
    assert judge.labels.tolist() == [3, 7]
    features = judge.features(examples.images)
    assert features.shape == (120, FEATURES)
    assert (features.var(0) > 0).all()
    as_bytes = (255 * examples.images).round().to(torch.uint8)
    torch.testing.assert_close(judge.features(as_bytes), judge.features(as_bytes.float() / 255))
    outside = torch.where(examples.images < 0.2, -1.0, examples.images)
    torch.testing.assert_close(judge.features(outside), judge.features(outside.clamp(0, 1)))


def test_examples_are_the_first_of_each_class() -> None:
    images = torch.arange(300, dtype=torch.float32)[:, None, None, None].expand(300, 8, 8, 1) / 300
    labels = torch.arange(300) % 3
    examples = examples_of(images, labels, limit=30)
    assert examples.labels.bincount().tolist() == [10, 10, 10]
    # So those that are held out, at the end, change nothing.
    again = examples_of(images[:200], labels[:200], limit=30)
    assert torch.equal(examples.images, again.images)
    assert torch.equal(examples.images, images[torch.cat([torch.arange(30)[first::3] for first in range(3)])])


@pytest.mark.parametrize(
    ("images", "labels", "named"),
    [
        (torch.zeros(200, 8, 8, 1), torch.zeros(200, dtype=torch.int64), "classes 2 1"),
        (torch.zeros(99, 8, 8, 1), torch.arange(99) % 2, "100 8x8 99 8x8"),
        (torch.zeros(200, 9, 7, 1), torch.arange(200) % 2, "100 8x8 200 9x7"),
    ],
)
def test_refusals(images: Tensor, labels: Tensor, named: str) -> None:
    with refused(*named.split()):
        examples_of(images, labels)
