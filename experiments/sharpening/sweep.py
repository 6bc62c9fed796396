"""Sharpens one model's draws by many settings and judges them: python sweep.py RUN_DIRECTORY OUT_DIRECTORY [COUNT].

Writes `<arch>-<dataset>.json`, the figures of every setting, and a picture with a row of draws for each. Settings that
the file has already are not run again.
"""

import json
import sys
import time
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

import dcgmm
from dcgmm.generation import Setting, Sharpened, SharpeningOptions, judge, reference_of
from dcgmm.model import DCGMM
from dcgmm_cli.figures.base import picture, save_image, tile

SEED = 0
SHOWN = 12
RATES = (0.01, 0.02, 0.05, 0.1, 0.3)
TOP_RATES = (0.05, 0.1, 0.3)  # for the highest Folding layer alone


def settings_of(model: DCGMM) -> dict[str, SharpeningOptions | None]:
    """Ways to sharpen, by name."""
    every = list(model.foldings)  # whatever the architecture's own preset is
    top = every[-1]
    return {
        "unsharpened": None,
        **{f"10 x rate {r}": SharpeningOptions(iterations=10, rate=r, layers=every) for r in RATES},
        "paper: 1000 x step 0.1": SharpeningOptions(Setting.paper),
        **{f"10 x rate {r}, {top}": SharpeningOptions(iterations=10, rate=r, layers=[top]) for r in TOP_RATES},
    }


def main(directory: Path, out: Path, count: int) -> None:
    trained = dcgmm.load_run(directory)
    model, dataset = trained.model, trained.config["dataset"]
    data = dcgmm.datasets.load(**dataset | {"root": None})  # kept where they are kept here
    reference = reference_of(data.train.images, 100, count, torch.Generator().manual_seed(SEED))
    stem = f"{model.architecture.name}-{data.name}"
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{stem}.json"
    figures = json.loads(path.read_text()) if path.exists() else {}
    figures.setdefault("test images", asdict(judge(data.test.images[:count], reference)))
    settings = settings_of(model)
    sheet = tile(torch.cat([shown(model, each) for each in settings.values()]), SHOWN)
    save_image(sheet, out / f"{stem}.png", 2)
    for name, sharpening in settings.items():
        if name in figures:
            continue
        outcomes: dict[str, list[Sharpened]] = {}
        started = time.perf_counter()
        few = (
            sharpening is not None and sharpening.setting is Setting.paper
        )  # as many draws as a short experiment can bear
        number = min(count, 100) if few else count
        images = dcgmm.sample(model, number, seed=SEED, sharpening=sharpening, outcomes=outcomes).images
        seconds = time.perf_counter() - started
        layers = log_likelihoods(model, images)
        likelihood = layers["gmm1"]
        figures[name] = {
            **asdict(judge(images, reference)),
            "log_likelihood": layers,
            "log_likelihood_gmm1": likelihood,
            "ascents": {
                layer: [each[0].log_likelihood[0], each[0].log_likelihood[-1]] for layer, each in outcomes.items()
            },
            "seconds": round(seconds, 2),
        }
        print(f"{name:28} {likelihood:8.2f} {json.dumps(figures[name])}", flush=True)
        path.write_text(json.dumps(figures, indent=1) + "\n")


@torch.no_grad()
def log_likelihoods(model: DCGMM, images: Tensor) -> dict[str, float]:
    """Mean log-likelihood in each GMM layer; of draws, which may leave the range of pixels."""
    parts = [model.score_floats(part) for part in images.split(200)]
    return {name: float(torch.cat([part[name].log_prob for part in parts]).double().mean()) for name in model.gmms}


def shown(model: DCGMM, sharpening: SharpeningOptions | None) -> Tensor:
    """The same few draws for every setting."""
    return picture(dcgmm.sample(model, SHOWN, seed=SEED, sharpening=sharpening).images)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 500)
