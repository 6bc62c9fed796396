"""What is done with trained models, CPU against CUDA from the same parameters."""

import copy
import time

import torch

import dcgmm
from dcgmm.density import why_no_density
from dcgmm.generation import SamplingOptions, SharpeningOptions
from dcgmm.generation.sampling import draw
from dcgmm.generation.sharpening import sharpen_output
from dcgmm.model import DCGMM
from dcgmm.outliers import log_likelihood_moments
from dcgmm.training.weights import weights_by_use

from .factors import ARCHITECTURE
from .shared import CPU, Notes, Row, images_of, is_cuda, make_trainer, sync, with_factors

ARCHS = ("2L-c", ARCHITECTURE, "tiles-400", "3L-a")


def run(note: Notes, device: torch.device, quick: bool) -> None:
    images = images_of(2000)
    for arch in ARCHS[:2] if quick else ARCHS:
        name = arch if isinstance(arch, str) else arch.name
        row: Row = {}
        with note.attempt(name):
            make = make_trainer if isinstance(arch, str) else with_factors
            trainer = make(arch, images, CPU, batch=20, window=6, centroid_epochs=0.01, dtype=torch.float64)
            for _ in range(12):
                trainer.step()
            _compare(row, trainer.model, copy.deepcopy(trainer.model).to(device), images[: 50 if quick else 300])
        note.show(name, row)
    many = images_of(300 if quick else 60_000).to(device)
    for arch in ("2L-c", "tiles-400"):
        with note.attempt(f"times of {arch}"):
            model = make_trainer(arch, many[:100], device).model
            calls = [lambda model=model: model.log_prob(many), lambda model=model: weights_by_use(model, many)]
            first, again = ([_seconds(call, device) for call in calls] for _ in range(2))  # kernels are compiled first
            note[f"{arch}: {len(many)} images scored, weights by use (s)"] = again
            note[f"{arch}: the same, the first time (s)"] = first
            note[f"{arch}: images scored a second"] = len(many) / again[0]
            if is_cuda(device):
                note[f"{arch}: largest memory (MB)"] = torch.cuda.max_memory_allocated(device) / 1e6


def _compare(row: Row, here: DCGMM, there: DCGMM, few: torch.Tensor) -> None:
    """Largest differences of everything that two copies of a model in float64 say."""
    models, far = (here, there), few.to(there.device)

    def difference(one: torch.Tensor, other: torch.Tensor) -> float:
        return float((one - other.cpu()).abs().max())

    one, other = log_likelihood_moments(here, few), log_likelihood_moments(there, far)
    row["moments"] = max(difference(one[name].mean, other[name].mean) for name in one)
    options = SamplingOptions(top_s=3)
    drawn = [draw(model, 20, options, torch.Generator().manual_seed(1)).images for model in models]
    row["samples, the same noise"] = difference(*drawn)
    steps = SharpeningOptions(iterations=5).steps(here.architecture.sharpening)
    for name, folding in here.foldings.items():
        start = torch.rand(5, *folding.input_shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
        signals = [sharpen_output(model, name, start.to(model.device), steps).signal for model in models]
        row[f"sharpened at {name}"] = difference(*signals)
    scores = [dcgmm.Detector.fit(model, few.to(model.device)).scores(few[:50]) for model in models]
    row["detector's scores"] = max(difference(scores[0][name], scores[1][name]) for name in scores[0])
    seen = torch.ones(28, 28, dtype=torch.bool)
    seen[10:, :14] = False
    row["log-likelihood of a part"] = difference(*(model.log_prob(few, observed=seen) for model in models))
    if not why_no_density(here):
        row["density"] = difference(*(dcgmm.density(model, few).nats for model in models))
    for model in models:
        weights_by_use(model, few.to(model.device))
    with torch.no_grad():
        weights = zip(here.gmms.values(), there.gmms.values(), strict=True)
        row["weights by use"] = max(difference(a.log_weights.exp(), b.log_weights.exp()) for a, b in weights)


def _seconds(run, device: torch.device) -> float:
    sync(device)
    started = time.perf_counter()
    run()
    sync(device)
    return time.perf_counter() - started
