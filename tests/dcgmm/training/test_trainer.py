import copy
import dataclasses
import functools
import io
import math
import operator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal

from dcgmm.errors import InputError, OptionError
from dcgmm.model import DCGMM, GMMOptions, Scored
from dcgmm.options import made
from dcgmm.training import Trainer, TrainerOptions
from tests.refusals import check_option, refused

LAYERS: list[dict[str, Any]] = [
    {"type": "folding", "kernel": [2, 2], "stride": [2, 2]},
    {"type": "gmm", "components": 9},
    {"type": "folding", "kernel": [2, 2]},
    {"type": "gmm", "components": 4},
]
# Windows of 4 steps, and an annealing that ends within 30 steps.
SLOW: dict[str, Any] = {"annealing": {"alpha": 1 / 4, "sigma_end": 0.01, "delta": 0.05, "gamma": 0.9}}
QUICK: dict[str, Any] = {"annealing": {"alpha": 1 / 2, "sigma_end": 0.2, "delta": 0.3, "gamma": 0.5}}


def images(count: int = 35) -> torch.Tensor:
    return torch.randint(0, 256, (count, 4, 6, 1), generator=torch.Generator().manual_seed(5), dtype=torch.uint8)


def trainer(seed: int = 0, data: torch.Tensor | None = None, device: str = "cpu", **changes: Any) -> Trainer:
    rates = {"start": 0.05, "end": 0.01, "logits": 0.1, "loc": 1.0, "precision_sqrt": 1.0}
    given = {"epochs": 3, "batch_size": 5, "centroid_epochs": 0.5, "learning_rate": rates, **SLOW, **changes}
    generator = torch.Generator().manual_seed(seed)
    model = DCGMM.build((4, 6, 1), LAYERS, GMMOptions(loc_range=0.3))
    model.draw_start(generator)
    data = images() if data is None else data
    return Trainer(model.to(device), data.to(device), made(TrainerOptions, given), [generator])


def train(subject: Trainer, steps: int | None = None) -> dict[str, torch.Tensor]:
    for _ in range(subject.total_steps - subject.steps if steps is None else steps):
        subject.step()
    return {name: value.clone() for name, value in subject.model.state_dict().items()}


def go_on(resumed: Trainer, stopped: Trainer) -> None:
    """A trainer takes over where another stands."""
    resumed.model.load_state_dict(stopped.model.state_dict())
    resumed.load_state_dicts(stopped.state_dicts())


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
    go_on(resumed, stopped)
    assert_same(train(resumed), expected)
    assert resumed.sigma() == whole.sigma()


def test_a_state_dict_is_not_changed_by_further_steps() -> None:
    subject = trainer()
    train(subject, 3)
    state = subject.state_dicts()[0]
    kept = copy.deepcopy(state)
    train(subject, 10)  # past an epoch's and a window's end
    assert state["generator"].equal(kept["generator"])
    for name, layer in kept["layers"].items():
        assert state["layers"][name]["total"].equal(layer["total"])
        for key, value in layer["annealing"].items():
            assert torch.as_tensor(value).equal(torch.as_tensor(state["layers"][name]["annealing"][key]))
    assert (state["steps"], state["epoch"]) == (3, 0)


def test_a_state_dict_is_what_training_knows_beside_the_model() -> None:
    subject = trainer()
    train(subject, 9)
    (state,) = subject.state_dicts()
    assert state.keys() == {"layers", "steps", "epoch", "generator"}
    assert (state["steps"], state["epoch"]) == (9, 1)


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
    assert reports[-1] is not None
    (last,) = reports[-1]
    assert set(last) == {"gmm1", "gmm2"}
    assert last["gmm1"].sigma == pytest.approx(0.25 * 18**0.5)
    assert last["gmm1"].learning_rate == pytest.approx(0.05)


def test_recovers_the_components_of_a_known_mixture() -> None:
    generator = torch.Generator().manual_seed(0)
    centres = torch.tensor([[0.2, 0.2], [0.2, 1.8], [1.8, 0.2], [1.8, 1.8]])
    labels = torch.randint(0, 4, (4000,), generator=generator)
    data = centres[labels] + 0.3 * torch.randn(4000, 2, generator=generator)
    # Values of images lie in [0, 1]: all is scaled down, and with it the steps of the centroids.
    centres, data = 0.25 + centres / 4, (0.25 + data / 4).clamp(0, 1)
    options = GMMOptions(precision_limit=200.0)
    model = DCGMM.build((1, 1, 2), [{"type": "gmm", "components": 4}], options)
    model.draw_start(generator)
    how: dict[str, Any] = {"epochs": 80, "batch_size": 50, "centroid_epochs": 5.0, "annealing": {"alpha": 0.1}}
    how["learning_rate"] = {"start": 0.05, "end": 0.01, "logits": 0.1, "loc": 0.1}
    subject = Trainer(model, data.view(-1, 1, 1, 2), made(TrainerOptions, how), [generator])
    train(subject)
    gmm = model.gmms["gmm1"]
    distances = torch.cdist(centres, gmm.loc.detach())
    assert sorted(distances.argmin(1).tolist()) == [0, 1, 2, 3]
    assert distances.min(1).values.max() < 0.05 / 4
    assert (1 / gmm.precision_sqrt.detach() - 0.3 / 4).abs().max() < 0.03 / 4
    assert (gmm.log_weights.detach().exp() - 0.25).abs().max() < 0.05
    assert subject.sigma() == [{"gmm1": pytest.approx(0.01)}]


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf, -0.1, 1.1])
def test_images_that_are_none(value: float) -> None:
    data = images().float() / 255
    data[:, 2, 3] = value
    with pytest.raises(OptionError) as error:
        trainer(data=data)
    assert error.value.field == "images"


def test_images_of_another_shape() -> None:
    with pytest.raises(OptionError) as error:
        trainer(data=images().transpose(1, 2))
    assert error.value.field == "images"


def test_batch_larger_than_the_data() -> None:
    with pytest.raises(OptionError) as error:
        trainer(batch_size=36)
    check_option(error.value, "batch_size", 36, 35)
    assert error.value.owner is TrainerOptions


# The same training written out: every density by torch.distributions, every gradient by autograd, the annealing
# rule as it stands in the model's description, and no code of the model but the options.


def written_out_scores(x: torch.Tensor, layer: dict[str, torch.Tensor]) -> torch.Tensor:
    densities: torch.Tensor = Normal(layer["loc"], 1 / layer["precision_sqrt"]).log_prob(x.unsqueeze(-2))
    return layer["logits"].log_softmax(-1) + densities.sum(-1)


def written_out_kernel(components: int, sigma: float) -> torch.Tensor:
    side = round(components**0.5)
    rows = []
    for k in range(components):
        row = []
        for j in range(components):
            down, right = abs(k // side - j // side), abs(k % side - j % side)
            row.append(math.exp(-(min(down, side - down) ** 2 + min(right, side - right) ** 2) / (2 * sigma**2)))
        rows.append([value / sum(row) for value in row])
    return torch.tensor(rows, dtype=torch.float64)


def written_out_patches(x: torch.Tensor, stride: int) -> torch.Tensor:
    """2x2 windows of (N, H, W, C) at a stride, a window at a time."""
    tops, lefts = range(0, x.shape[1] - 1, stride), range(0, x.shape[2] - 1, stride)
    rows = [torch.stack([x[:, i : i + 2, j : j + 2].flatten(1) for j in lefts], 1) for i in tops]
    return torch.stack(rows, 1)


def written_out_training(
    layers: list[dict[str, torch.Tensor]], data: torch.Tensor, options: TrainerOptions, generator: torch.Generator
) -> tuple[list[list[float]], list[float]]:
    """Train two layers over 2x2 windows in place; objectives by window and layer, and the final sigmas."""
    assert options.batch_size is not None
    assert options.epochs is not None
    rule, rate, steps_per_epoch = options.annealing, options.learning_rate, len(data) // options.batch_size
    sigmas = [0.25 * math.sqrt(2 * len(layer["logits"])) for layer in layers]
    rates = [rate.start for _ in layers]
    objectives: list[list[float]] = [[] for _ in layers]
    averages: list[list[float]] = [[] for _ in layers]
    for step in range(options.epochs * steps_per_epoch):
        if step % steps_per_epoch == 0:
            order = torch.randperm(len(data), generator=generator)
        position = step % steps_per_epoch * options.batch_size
        x = data[order[position : position + options.batch_size]].double() / 255
        for number, (layer, stride) in enumerate(zip(layers, (2, 1), strict=True)):
            x = written_out_patches(x.detach(), stride)
            free = {name: value.clone().requires_grad_() for name, value in layer.items()}
            scores = written_out_scores(x, free)
            at_end = sigmas[number] <= rule.sigma_end
            components = scores.shape[-1]
            kernel = torch.eye(components, dtype=x.dtype) if at_end else written_out_kernel(components, sigmas[number])
            objective = torch.einsum("kj,nhwj->nhwk", kernel, scores).amax(-1).mean()
            gradient = dict(zip(free, torch.autograd.grad(objective, list(free.values())), strict=True))
            only_centroids = step < options.centroid_epochs * steps_per_epoch
            factors = {
                "logits": 0.0 if only_centroids else rate.logits,
                "loc": rate.loc,
                "precision_sqrt": 0.0 if only_centroids else rate.precision_sqrt,
            }
            share = (gradient["logits"] + layer["logits"].softmax(-1)).clamp(min=1e-300)[:, None]
            farthest = 1 / (layer["precision_sqrt"] ** 2 * share)  # a centroid goes at most to the mean of what it won
            for name, value in layer.items():
                speed = torch.tensor(rates[number] * factors[name] * max(1, components / 25), dtype=x.dtype)
                value += (torch.minimum(farthest, speed) if name == "loc" else speed) * gradient[name]
            layer["precision_sqrt"].clamp_(0.01, math.sqrt(20))
            objectives[number].append(objective.item())
            x = scores.softmax(-1)
        if (step + 1) % rule.window:
            continue
        for number in range(len(layers)):
            average = sum(objectives[number][-rule.window :]) / rule.window
            if len(averages[number]) >= 2:
                first, last = averages[number][0], averages[number][-1]
                if -2 * rule.delta < (average - last) / (last - first) < rule.delta:
                    sigmas[number] = max(sigmas[number] * rule.gamma, rule.sigma_end)
                    rates[number] = max(rates[number] * rule.gamma, rate.end)
            averages[number].append(average)
    return averages, sigmas


BOTH = pytest.mark.parametrize(("annealing", "epochs"), [(SLOW, 3), (QUICK, 6)], ids=["annealing", "annealed"])


@BOTH
def test_training_is_the_one_written_out(annealing: dict[str, Any], epochs: int) -> None:
    subject = trainer(**annealing, epochs=epochs, centroid_epochs=4 / 7)
    subject.model.double()
    layers = [
        {name: value.detach().clone() for name, value in gmm.named_parameters()} for gmm in subject.model.gmms.values()
    ]
    generator = torch.Generator()
    generator.set_state(subject.state_dicts()[0]["generator"])
    subject = Trainer(subject.model, images(), subject.options, subject._generators)
    reports = [report[0] for report in (subject.step() for _ in range(subject.total_steps)) if report]
    averages, sigmas = written_out_training(layers, images(), subject.options, generator)
    for number, (gmm, layer) in enumerate(zip(subject.model.gmms.values(), layers, strict=True)):
        for name, value in gmm.named_parameters():
            torch.testing.assert_close(value.detach(), layer[name], rtol=1e-7, atol=1e-9)
        objectives = [report[f"gmm{number + 1}"].objective for report in reports]
        assert objectives == pytest.approx(averages[number], rel=1e-9)
    assert list(subject.sigma()[0].values()) == pytest.approx(sigmas)
    assert (max(sigmas) == subject.options.annealing.sigma_end) == (annealing is QUICK)


@pytest.mark.parametrize("at", [3, 20, 29, 30])
def test_training_resumed_after_annealing_is_the_uninterrupted_one(at: int) -> None:
    whole = trainer(**QUICK, epochs=6)
    expected = train(whole)
    stopped, resumed = (trainer(**QUICK, epochs=6) for _ in range(2))
    train(stopped, at)
    file = io.BytesIO()
    torch.save((stopped.model.state_dict(), stopped.state_dicts()), file)
    file.seek(0)
    parameters, states = torch.load(file, weights_only=True)
    resumed.model.load_state_dict(parameters)
    resumed.load_state_dicts(states)
    assert_same(train(resumed), expected)
    assert resumed.sigma() == whole.sigma() == [{"gmm1": pytest.approx(0.2), "gmm2": pytest.approx(0.2)}]


def test_a_resumed_run_reports_what_the_uninterrupted_one_reports() -> None:
    whole, stopped, resumed = trainer(), trainer(), trainer()
    expected = [whole.step() for _ in range(12)]
    train(stopped, 6)
    go_on(resumed, stopped)
    assert [resumed.step() for _ in range(6)] == expected[6:]
    assert resumed.epoch == whole.epoch == pytest.approx(12 / 7)


def test_every_epoch_takes_each_image_at_most_once(monkeypatch: pytest.MonkeyPatch) -> None:
    # Image i is i everywhere: the objective's batches can be read off what the model scores.
    data = torch.arange(35, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 4, 6, 1).contiguous()
    # No window ends, for whose report the batch would be scored again.
    subject = trainer(data=data, annealing={"alpha": 0.01})
    seen: list[list[int]] = []
    upward = subject.model.upward

    def watched(x: Tensor, take: Any) -> None:
        seen.append((x[:, 0, 0, 0] * 255).round().int().tolist())
        upward(x, take)

    monkeypatch.setattr(subject.model, "upward", watched)
    train(subject)
    epochs = [[number for batch in seen[start : start + 7] for number in batch] for start in range(0, 21, 7)]
    assert [sorted(epoch) for epoch in epochs] == [list(range(35))] * 3
    assert len({tuple(epoch) for epoch in epochs}) == 3


def test_neither_the_global_generator_nor_the_images_are_touched() -> None:
    data = images()
    kept, before = data.clone(), torch.get_rng_state()
    train(trainer(data=data))
    assert torch.equal(data, kept)
    floats = kept.float() / 255
    kept = floats.clone()
    train(trainer(data=floats))
    assert torch.equal(floats, kept)
    assert torch.equal(torch.get_rng_state(), before)


def test_bytes_and_floats_train_alike() -> None:
    by_bytes, by_floats = train(trainer()), train(trainer(data=images().float() / 255))
    for name, value in by_bytes.items():
        torch.testing.assert_close(by_floats[name], value, rtol=1e-3, atol=1e-4)


def test_the_log_likelihood_of_the_layer_on_the_images_rises() -> None:
    subject = trainer(epochs=20)
    reports = [report[0]["gmm1"] for report in (subject.step() for _ in range(subject.total_steps)) if report]
    assert reports[-1].log_likelihood > reports[0].log_likelihood + 1
    assert reports[-1].objective > reports[0].objective + 1


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_a_state_with_bad_values_is_never_given_out(value: float) -> None:
    # The window's end, where training stops, comes after the epoch's, where a checkpoint is written.
    subject = trainer(annealing={"alpha": 0.01})
    with torch.no_grad():
        subject.model.gmms["gmm1"].loc[1, 2] = value
    train(subject, 3)
    with pytest.raises(InputError, match=r"^gmm1: NaN or infinite [^\n]* step 3;[^\n]*$"):
        subject.state_dicts()


def test_steps_that_are_too_large_stop_with_layer_and_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dcgmm.options.LARGEST", 10**39)
    subject = trainer(learning_rate={"start": 1e38, "end": 0.01, "logits": 1e3}, centroid_epochs=0)
    with refused("gmm1:", "step 4;"):
        train(subject)


def test_a_log_likelihood_that_overflows_after_the_last_step_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    subject = trainer()
    train(subject, 3)
    log_prob = torch.full((5, 1, 1), torch.inf)
    monkeypatch.setattr(Scored, "log_prob", property(lambda self: log_prob))
    with refused("gmm1:", "step 4;"):
        subject.step()


def test_of_models_side_by_side_the_bad_one_is_named() -> None:
    subject = side_by_side(0, 1, 2)
    train(subject, 3)
    with torch.no_grad():
        subject.model.gmms["gmm1"].loc[1, 0, 0] = torch.nan
    with refused("gmm1 of model 2 of 3:", "step 4;"):
        subject.step()


def test_a_bad_parameter_is_found_at_the_window_s_end_and_its_layer_named() -> None:
    subject = trainer()
    train(subject, 3)
    with torch.no_grad():
        subject.model.gmms["gmm2"].loc[1, 2] = torch.nan
    with refused("gmm2:", "step 4;"):
        subject.step()


@pytest.mark.gpu
def test_cuda_trains_like_the_cpu_and_repeats_itself() -> None:
    on_cpu, on_cuda, again = train(trainer()), train(trainer(device="cuda")), train(trainer(device="cuda"))
    assert_same(on_cuda, again)
    for name, value in on_cpu.items():
        torch.testing.assert_close(on_cuda[name].cpu(), value, rtol=1e-3, atol=1e-4)


def side_by_side(*seeds: int, dtype: torch.dtype = torch.float64, device: str = "cpu", **changes: Any) -> Trainer:
    alone = [trainer(seed, device=device, **changes) for seed in seeds]
    model = DCGMM.side_by_side([each.model.to(dtype) for each in alone])
    generators = [generator for each in alone for generator in each._generators]
    return Trainer(model, images().to(device), alone[0].options, generators)


@BOTH
def test_replicas_train_as_each_alone(annealing: dict[str, Any], epochs: int) -> None:
    together = side_by_side(4, 0, 7, **annealing, epochs=epochs)
    reports = [report for report in (together.step() for _ in range(together.total_steps)) if report]
    for number, seed in enumerate((4, 0, 7)):
        alone = trainer(seed, **annealing, epochs=epochs)
        alone.model.double()
        alone = Trainer(alone.model, images(), alone.options, alone._generators)
        expected = [report[0] for report in (alone.step() for _ in range(alone.total_steps)) if report]
        for given, wanted in zip(reports, expected, strict=True):
            for name, layer in wanted.items():
                assert dataclasses.astuple(given[number][name]) == pytest.approx(dataclasses.astuple(layer), rel=1e-9)
        for name, value in alone.model.state_dict().items():
            torch.testing.assert_close(together.model.alone()[number].state_dict()[name], value)
        assert together.sigma()[number] == alone.sigma()[0]


def test_a_replica_s_state_is_that_of_the_run_alone_and_goes_on_alone() -> None:
    together, alone = side_by_side(4, 7, dtype=torch.float32), trainer(7)
    train(together, 9)
    train(alone, 9)
    state, expected = together.state_dicts()[1], alone.state_dicts()[0]
    assert torch.equal(state["generator"], expected["generator"])
    assert state["layers"]["gmm1"].keys() == expected["layers"]["gmm1"].keys()
    resumed = trainer(seed=99)
    resumed.model.load_state_dict(together.model.alone()[1].state_dict())
    resumed.load_state_dicts([state])
    assert resumed.steps == 9
    for name, value in train(alone).items():
        torch.testing.assert_close(train(resumed)[name], value, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("place", "value", "named"),
    [
        (["steps"], -1, "steps 0 -1"),
        (["steps"], 2.5, "steps 0 2.5"),
        (["layers", "gmm1", "annealing", "windows"], -3, "windows 0 -3"),
        (["layers", "gmm1", "annealing", "sigma"], 0.0, "sigma 0 0"),
        (["layers", "gmm1", "annealing", "rate"], math.nan, "rate 0 nan"),
        (["layers", "gmm1", "annealing", "sigma"], [1.0, 2.0], "sigma [2] []"),
    ],
)
def test_a_state_that_cannot_be_is_refused_with_what_it_holds(place: list[str], value: Any, named: str) -> None:
    subject = trainer()
    (state,) = copy.deepcopy(subject.state_dicts())
    part = functools.reduce(operator.getitem, place[:-1], state)
    part[place[-1]] = torch.tensor(value) if place[-1] in ("sigma", "rate") else value
    with refused(*named.split()):
        subject.load_state_dicts([state])


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_training_on_another_than_the_current_gpu_is_that_on_the_current_one() -> None:
    assert_same(*(train(trainer(device=f"cuda:{number}", epochs=6, **QUICK)) for number in (0, 1)))


@pytest.mark.parametrize("at", [0, 1, 7, 9])
def test_resumed_replicas_are_the_uninterrupted_ones(at: int) -> None:
    whole, stopped, resumed = (side_by_side(4, 7), side_by_side(4, 7), side_by_side(1, 2))
    expected = train(whole)
    train(stopped, at)
    go_on(resumed, stopped)
    assert_same(train(resumed), expected)
    assert resumed.sigma() == whole.sigma()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("seeds", [(4,), (4, 0, 7)])
def test_training_by_cuda_graphs_is_that_on_the_cpu(seeds: tuple[int, ...]) -> None:
    on_cpu = side_by_side(*seeds, **QUICK, epochs=6)
    on_gpu = side_by_side(*seeds, **QUICK, epochs=6, device="cuda")
    expected = train(on_cpu)
    for name, value in train(on_gpu).items():
        torch.testing.assert_close(value.cpu(), expected[name], rtol=1e-7, atol=1e-9)
    assert on_gpu._step_graph._graph is not None
    assert on_gpu.sigma() == on_cpu.sigma()


@pytest.mark.parametrize(("dtype", "most"), [(torch.float32, 1e4), (torch.float64, 1e12)])
def test_precision_that_rounding_would_hide_is_refused(dtype: torch.dtype, most: float) -> None:
    def trainer(limit: float) -> Trainer:
        options = GMMOptions(precision_limit=limit)
        model = DCGMM.build((3, 3, 1), [{"type": "gmm", "components": 4}], options).to(dtype)
        images = torch.zeros(10, 3, 3, 1, dtype=torch.uint8)
        return Trainer(model, images, TrainerOptions(batch_size=5), [torch.Generator()])

    trainer(most)
    with pytest.raises(OptionError) as caught:
        trainer(1.5 * most)
    assert (caught.value.field, caught.value.owner) == ("precision_limit", GMMOptions)
