import pytest
import torch

from dcgmm.clustering import assign
from dcgmm.clustering.assignment import choose_position
from dcgmm.errors import OptionError
from tests.dcgmm.small import small_images, small_model
from tests.refusals import option_refused


def test_an_image_belongs_to_its_most_likely_component() -> None:
    model, images = small_model(), small_images(12)
    assigned = assign(model, images, "gmm1", [3, 1])
    scores = model.score(images)["gmm1"].component_scores[:, 3, 1]
    assert (assigned.layer, assigned.position) == ("gmm1", (3, 1))
    assert torch.equal(assigned.labels, scores.argmax(-1))
    torch.testing.assert_close(assigned.responsibilities, scores.detach().softmax(-1))
    assert not assigned.responsibilities.requires_grad

    top = assign(model, images.numpy())
    assert (top.layer, top.position) == ("gmm2", (0, 0))
    assert torch.equal(top.labels, model.score(images)["gmm2"].component_scores[:, 0, 0].argmax(-1))


def test_the_batch_size_leaves_the_assignment_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    model, images = small_model(), small_images(20)
    whole = assign(model, images, "gmm1", (3, 1))
    monkeypatch.setattr("dcgmm.model.stack.BATCH_SIZE", 7)
    parts = assign(model, images, "gmm1", (3, 1))
    torch.testing.assert_close(whole.responsibilities, parts.responsibilities)
    assert torch.equal(whole.labels, parts.labels)
    assert assign(model, images[:0]).responsibilities.shape == (0, 9)


@pytest.mark.parametrize(
    ("layer", "position", "field"),
    [
        ("gmm3", None, "layer"),
        ("gmm1", None, "position"),
        ("gmm1", [4, 0], "position"),
        ("gmm1", [0, -1], "position"),
        ("gmm1", [1], "position"),
        ("gmm2", [0, 1], "position"),
    ],
)
def test_layers_and_positions_that_a_model_lacks(layer: str, position: list[int] | None, field: str) -> None:
    with pytest.raises(OptionError) as caught:
        choose_position(small_model(), layer, position)
    assert caught.value.field == field


def test_images_of_another_shape_are_refused() -> None:
    with option_refused("images", (3, 9, 7, 1), "9, 7, 2"):
        assign(small_model(), torch.zeros(3, 9, 7, 1))
