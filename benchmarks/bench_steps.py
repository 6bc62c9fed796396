"""Training steps of architectures, timed."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import dcgmm  # before torch: it sets what that reads when it is loaded

# isort: split
import torch
from bench_tables import Results

from dcgmm.datasets import ImageData
from dcgmm.model import DCGMM, GMM, FactorGMM
from dcgmm.training import Trainer, TrainerOptions

# Annealed in a few windows, and no points held: so are most steps of a layer that has factors.
WITH_FACTORS = {"centroid_epochs": 0.0, "factor_epochs": 0.0, "annealing": {"gamma": 0.1, "delta": 1e9}}
BATCH_SIZES = (1, 10, 100, 1000)
REPLICAS = (10, 50)
QUEUED = 33  # calls that a GPU is given at a time: as many steps as have a window's end among them


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def repeated(run: Callable[[], Any], device: torch.device, seconds: float, least: int = 5) -> float:
    """Median time of a call (s), over as many as fit into `seconds`, after some that do not count.

    A GPU is given many at a time, and waited for at their end: so it works in a training.
    """
    calls = QUEUED if device.type == "cuda" else 1
    for _ in range(3 * calls):
        run()
    times: list[float] = []
    began = time.perf_counter()
    while len(times) < least or time.perf_counter() - began < seconds:
        synchronise(device)
        started = time.perf_counter()
        for _ in range(calls):
            run()
        synchronise(device)
        times.append((time.perf_counter() - started) / calls)
    return statistics.median(times)


def step_flops(model: DCGMM, batch_size: int) -> float:
    """FLOPs of a step's formulas: x and x^2 with K components, for the scores and again for the gradient's sums; and
    where there are factors, x with all of them for the scores."""
    points = [(gmm.input_shape.positions * batch_size, gmm) for gmm in model.gmms.values()]
    return float(sum((8 + 2 * factors_of(gmm)) * count * gmm.loc.shape[-2:].numel() for count, gmm in points))


def factors_of(gmm: GMM) -> int:
    """Factors a component, once there are any."""
    return gmm.factors.shape[-1] if isinstance(gmm, FactorGMM) and gmm.has_factors else 0


def trainer_of(
    arch: str, data: ImageData, batch_size: int, device: torch.device, replicas: int = 1, *, with_factors: bool = False
) -> Trainer:
    generators = [torch.Generator().manual_seed(seed) for seed in range(replicas)]
    models = [DCGMM.build(data.train.images.shape[1:], dcgmm.arch(arch)) for _ in generators]
    for model, generator in zip(models, generators, strict=True):
        model.draw_start(generator)
    model = (models[0] if replicas == 1 else DCGMM.side_by_side(models)).to(device)
    options = TrainerOptions(batch_size=batch_size, **(WITH_FACTORS if with_factors else {}))
    trainer = Trainer(model, data.train.images.to(device), options, generators)
    while with_factors and not any(map(factors_of, model.gmms.values())):
        trainer.step()
    return trainer


def step_times(archs: list[str], data: ImageData, device: torch.device, rate: float, seconds: float) -> Results:
    """Training steps of architectures, also with replicas; and where there are factors, once these are trained."""
    results: Results = {}
    for arch in archs:
        row = step_row(arch, data, device, rate, seconds)
        for replicas in REPLICAS:
            together = repeated(trainer_of(arch, data, 100, device, replicas).step, device, seconds)
            row[f"of {replicas} replicas, each (ms)"] = 1e3 * together / replicas
        results[f"step {arch}"] = row
        if any(layer.factors for layer in dcgmm.arch(arch).layers):
            results[f"step {arch}, its factors"] = step_row(arch, data, device, rate, seconds, with_factors=True)
    return results


def step_row(
    arch: str, data: ImageData, device: torch.device, rate: float, seconds: float, *, with_factors: bool = False
) -> dict[str, float]:
    """Steps at batch 100 with their floor, and at other batch sizes."""
    row: dict[str, float] = {}
    for batch_size in BATCH_SIZES:
        if batch_size > len(data.train.images):
            continue
        trainer = trainer_of(arch, data, batch_size, device, with_factors=with_factors)
        taken = repeated(trainer.step, device, seconds)
        row[f"batch {batch_size} (ms)"] = 1e3 * taken
        if batch_size == 100:
            floor = step_flops(trainer.model, batch_size) / rate
            row |= {"floor (ms)": 1e3 * floor, "ratio": taken / floor}
    return row
