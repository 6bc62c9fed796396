import pytest
import torch

from dcgmm.training.options import TrainerOptions
from dcgmm.training.trainer import Trainer
from dcgmm.training.weights import LEAST, mean_responsibilities, weights_by_use
from tests.dcgmm.small import small_images, small_model


def test_mean_responsibilities_are_over_positions_and_images(monkeypatch: pytest.MonkeyPatch) -> None:
    model, images = small_model(), small_images(7)
    expected = {
        name: scored.component_scores.softmax(-1).flatten(0, -2).mean(0).detach()
        for name, scored in model.score(images).items()
    }
    monkeypatch.setattr("dcgmm.model.stack.BATCH_SIZE", 3)
    for name, value in expected.items():
        torch.testing.assert_close(mean_responsibilities(model, images, name), value.double())


def test_weights_follow_use_and_the_likelihood_does_not_fall() -> None:
    model, images = small_model(), small_images(20)
    with torch.no_grad():
        for number, gmm in enumerate(model.gmms.values()):
            gmm.logits.copy_(torch.randn(gmm.logits.shape, generator=torch.Generator().manual_seed(number)))
    lowest = model.score(images)["gmm1"].log_prob.detach().mean()
    use = mean_responsibilities(model, images, "gmm1")
    weights_by_use(model, images)
    torch.testing.assert_close(model.gmms["gmm1"].log_weights.exp().double(), use.clamp(min=LEAST))
    assert model.score(images)["gmm1"].log_prob.mean() >= lowest
    # The top layer has come near a fixed point: weights that are their own mean responsibilities.
    top = list(model.gmms)[-1]
    before = model.log_prob(images).mean()
    weights_by_use(model, images)
    assert before - 1e-9 <= model.log_prob(images).mean()
    assert all(gmm.logits.isfinite().all() for gmm in model.gmms.values())
    assert model.gmms[top].components_in_use <= model.gmms[top].components


def test_an_unused_component_has_next_to_no_weight_and_is_counted_so() -> None:
    model, images = small_model(), small_images(20)
    gmm = model.gmms["gmm1"]
    with torch.no_grad():
        gmm.loc[2] = 1e3
    weights_by_use(model, images)
    assert float(gmm.log_weights.detach().exp()[2]) == pytest.approx(LEAST, rel=1e-3)
    assert gmm.components_in_use <= gmm.components - 1


def test_training_goes_on_from_the_weights_that_it_had() -> None:
    images, options = small_images(20), TrainerOptions(epochs=4, batch_size=5, annealing={"alpha": 0.5})  # type: ignore[arg-type]

    def begun() -> Trainer:
        generator = torch.Generator().manual_seed(1)
        model = small_model()
        return Trainer(model, images, options, [generator])

    whole, parted = begun(), begun()
    for _ in range(9):
        whole.step()
        parted.step()
    state = parted.state_dicts()
    weights_by_use(parted.model, images)
    resumed = Trainer(parted.model, images, options, [torch.Generator()])
    resumed.load_state_dicts(state)
    whole.step()
    resumed.step()
    for first, second in zip(whole.model.parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(first, second)
