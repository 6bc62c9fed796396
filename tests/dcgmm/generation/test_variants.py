import pytest
import torch

from dcgmm.errors import OptionError
from dcgmm.generation import control_signal, nearness, sample
from dcgmm.model import DCGMM
from tests.dcgmm.generation.models import awkward
from tests.dcgmm.small import SHAPE, small_images, small_model
from tests.refusals import refused


@pytest.mark.parametrize("layer", [None, "gmm1", "gmm2"])
def test_the_control_signal_is_the_posterior(layer: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    model, images = small_model(), small_images(5)
    expected = model.score(images)[layer or "gmm2"].responsibilities.detach()
    torch.testing.assert_close(control_signal(model, images, layer), expected)
    monkeypatch.setattr("dcgmm.model.stack.BATCH_SIZE", 2)
    torch.testing.assert_close(control_signal(model, images.numpy(), layer), expected)


def test_components_of_variants_follow_the_signal() -> None:
    model, images, count = small_model(), small_images(2), 4000
    signal = control_signal(model, images)
    drawn = sample(model, 2 * count, weights=signal.repeat_interleave(count, 0), seed=1).components["gmm2"]
    for own, expected in zip(drawn.view(2, count), signal.view(2, -1), strict=True):
        share = torch.bincount(own, minlength=9) / count
        torch.testing.assert_close(share.double(), expected, rtol=0, atol=4.5 * 0.5 / count**0.5)


def test_a_lower_layer_s_signal_keeps_what_lies_where() -> None:
    model = awkward()
    with torch.no_grad():
        model.gmms["gmm1"].precision_sqrt.mul_(4)
    images = sample(model, 6, seed=3).images.clamp(0, 1)
    signal = control_signal(model, images, "gmm1")
    drawn = sample(model, 6, start="gmm1", weights=signal, std_scale=0, seed=1)
    assert list(drawn.components) == ["gmm1"]
    sure = signal.amax(-1) > 0.999
    assert sure.any()
    assert torch.equal(drawn.components["gmm1"][sure], signal.argmax(-1)[sure])


def test_nearness_is_mean_distances_over_all_pixels() -> None:
    generator = torch.Generator().manual_seed(0)
    sets = [torch.rand(n, 4, 3, 2, generator=generator, dtype=torch.float64) for n in (5, 5, 5, 9)]
    own, variants, unrelated, training = (each.flatten(1) for each in sets)
    found = nearness(*sets)
    assert found.variant == pytest.approx(float((own - variants).norm(dim=1).mean()), rel=1e-5)
    assert found.unrelated_sample == pytest.approx(float((own - unrelated).norm(dim=1).mean()), rel=1e-5)
    assert found.nearest_training_image == pytest.approx(float(torch.cdist(own, training).amin(1).mean()), rel=1e-5)


def test_signals_that_cannot_be() -> None:
    model, images = small_model(), small_images(2)
    with pytest.raises(OptionError) as error:
        control_signal(model, images, "gmm3")
    assert (error.value.field, error.value.value) == ("start", "gmm3")
    for wrong in (images[:0], images[:, :5]):
        with pytest.raises(OptionError) as error:
            control_signal(model, wrong)
        assert error.value.field == "images"
    with refused("one", "[2]"):
        control_signal(DCGMM.side_by_side([model, model]), images)
    with pytest.raises(OptionError) as error:
        sample(model, 3, weights=torch.ones(3, 1, 1, 4))
    assert error.value.field == "weights"
    with pytest.raises(OptionError) as error:
        sample(model, 3, weights=torch.ones(3, 1, 1, 9), components="cycle")
    assert error.value.field == "components"
    assert sample(model, 3, weights=torch.ones(3, 1, 1, 9)).images.shape == (3, *SHAPE)
