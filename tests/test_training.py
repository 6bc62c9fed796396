from typing import Any

import pytest
import torch

from dcgmm_cli.errors import UserError
from dcgmm_cli.model import DCGMM, AnnealingRule, GMMOptions
from dcgmm_cli.training import Trainer, TrainerOptions

LAYERS: list[dict[str, Any]] = [
    {"type": "folding", "kernel": [2, 2], "stride": [2, 2]},
    {"type": "gmm", "components": 9},
    {"type": "folding", "kernel": [2, 2]},
    {"type": "gmm", "components": 4},
]
RULE = AnnealingRule(window=4, sigma_end=0.01, rate_start=0.05, rate_end=0.01, delta=0.05, gamma=0.9)


def images(count: int = 35) -> torch.Tensor:
    return torch.randint(0, 256, (count, 4, 6, 1), generator=torch.Generator().manual_seed(5), dtype=torch.uint8)


def trainer(seed: int = 0, data: torch.Tensor | None = None, device: str = "cpu", **changes: Any) -> Trainer:
    given: dict[str, Any] = {"epochs": 3, "batch_size": 5, "centroid_epochs": 0.5, "annealing": RULE}
    given |= {"logits_factor": 0.1, "loc_factor": 1.0, "precision_sqrt_factor": 1.0, **changes}
    generator = torch.Generator().manual_seed(seed)
    model = DCGMM.build((4, 6, 1), LAYERS, GMMOptions(loc_range=0.3))
    model.draw_start(generator)
    data = images() if data is None else data
    return Trainer(model.to(device), data.to(device), TrainerOptions(**given), generator)


def train(subject: Trainer, steps: int | None = None) -> dict[str, torch.Tensor]:
    for _ in range(subject.total_steps - subject.steps if steps is None else steps):
        subject.step()
    return {name: value.clone() for name, value in subject.model.state_dict().items()}


def assert_same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    for name, value in one.items():
        assert torch.equal(value, other[name]), name


def test_same_seed_same_parameters_and_another_seed_others() -> None:
    first, second, other = train(trainer()), train(trainer()), train(trainer(seed=1))
    assert_same(first, second)
    assert not torch.equal(first["layers.1.loc"], other["layers.1.loc"])


# 7 steps an epoch, windows of 4: mid-window, mid-epoch, a window's end, an epoch's end, and just after it
@pytest.mark.parametrize("at", [0, 1, 4, 6, 7, 8, 14, 20])
def test_resumed_training_is_the_uninterrupted_one(at: int) -> None:
    whole = trainer()
    expected = train(whole)
    stopped = trainer()
    train(stopped, at)
    resumed = trainer(seed=99)
    resumed.load_state_dict(stopped.state_dict())
    assert_same(train(resumed), expected)
    assert resumed.sigma() == whole.sigma()


def test_a_state_dict_is_not_changed_by_further_steps() -> None:
    subject = trainer()
    train(subject, 3)
    state = subject.state_dict()
    before = {name: value.clone() for name, value in state["model"].items()}
    train(subject, 3)
    assert_same(before, state["model"])


def test_first_phase_adapts_centroids_only() -> None:
    subject = trainer(centroid_epochs=1.0)
    before = {name: value.clone() for name, value in subject.model.state_dict().items()}
    after = train(subject, subject.steps_per_epoch)
    for name, value in after.items():
        assert torch.equal(value, before[name]) == (not name.endswith("loc")), name
    later = train(subject, 1)
    assert not torch.equal(later["layers.1.precision_sqrt"], after["layers.1.precision_sqrt"])
    assert not torch.equal(later["layers.3.logits"], after["layers.3.logits"])


def test_a_layer_does_not_feel_the_layers_above_it() -> None:
    subject, other = trainer(), trainer()
    with torch.no_grad():
        other.model.gmms["gmm2"].loc.add_(1)
    assert_same({"loc": train(subject)["layers.1.loc"]}, {"loc": train(other)["layers.1.loc"]})


def test_reports_come_at_the_windows_ends() -> None:
    subject = trainer()
    reports = [subject.step() for _ in range(8)]
    assert [report is not None for report in reports] == [False, False, False, True] * 2
    last = reports[-1]
    assert last is not None
    assert set(last) == {"gmm1", "gmm2"}
    assert last["gmm1"].sigma == pytest.approx(0.25 * 18**0.5)
    assert last["gmm1"].learning_rate == pytest.approx(0.05)


def test_recovers_the_components_of_a_known_mixture() -> None:
    generator = torch.Generator().manual_seed(0)
    centres = torch.tensor([[0.2, 0.2], [0.2, 1.8], [1.8, 0.2], [1.8, 1.8]])
    labels = torch.randint(0, 4, (4000,), generator=generator)
    data = centres[labels] + 0.3 * torch.randn(4000, 2, generator=generator)
    options = GMMOptions(precision_sqrt_start="unit")
    model = DCGMM.build((1, 1, 2), [{"type": "gmm", "components": 4}], options)
    model.draw_start(generator)
    rule = AnnealingRule(window=10, sigma_end=0.01, rate_start=0.05, rate_end=0.01, delta=0.05, gamma=0.9)
    how = TrainerOptions(80, 50, 5.0, rule, 0.1, 1.0, 1.0)
    subject = Trainer(model, data.view(-1, 1, 1, 2), how, generator)
    train(subject)
    gmm = model.gmms["gmm1"]
    distances = torch.cdist(centres, gmm.loc.detach())
    assert sorted(distances.argmin(1).tolist()) == [0, 1, 2, 3]
    assert distances.min(1).values.max() < 0.05
    assert (1 / gmm.precision_sqrt.detach() - 0.3).abs().max() < 0.03
    assert (gmm.log_weights.detach().exp() - 0.25).abs().max() < 0.05
    assert subject.sigma() == {"gmm1": pytest.approx(0.01)}


def test_nan_stops_with_layer_and_step() -> None:
    data = images().float() / 255
    data[:, 2, 3] = torch.nan
    subject = trainer(data=data)
    with pytest.raises(UserError, match=r"gmm1: NaN or infinite .* step 4"):
        train(subject)


def test_batch_larger_than_the_data() -> None:
    with pytest.raises(UserError, match="batch_size=36 is larger than the data: 35 training images"):
        trainer(batch_size=36)


@pytest.mark.parametrize("change", [{"epochs": 0}, {"batch_size": 0}, {"centroid_epochs": -1.0}, {"loc_factor": -1.0}])
def test_options_out_of_range(change: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=next(iter(change))):
        trainer(**change)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_trains_like_the_cpu_and_repeats_itself() -> None:
    on_cpu, on_cuda, again = train(trainer()), train(trainer(device="cuda")), train(trainer(device="cuda"))
    assert_same(on_cuda, again)
    for name, value in on_cpu.items():
        torch.testing.assert_close(on_cuda[name].cpu(), value, rtol=1e-3, atol=1e-4)
