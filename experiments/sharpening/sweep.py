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
from omegaconf import OmegaConf
from torch import Tensor

from dcgmm_cli.checkpoints import build_model, load_checkpoint
from dcgmm_cli.commands.sample import draw, picture
from dcgmm_cli.config import DatasetConfig, SamplingConfig
from dcgmm_cli.datasets import load
from dcgmm_cli.model import DCGMM
from dcgmm_cli.plots import save_image, tile
from dcgmm_cli.quality import judge, reference_of
from dcgmm_cli.runtime import set_up_cpu
from dcgmm_cli.sampling import SamplingOptions, layer_names
from dcgmm_cli.sharpening import Sharpened, SharpeningOptions
from dcgmm_cli.statistics import log_likelihood_moments

SEED = 0
SHOWN = 12
SETTINGS = {
    "unsharpened": None,
    **{f"10 x rate {rate}": SharpeningOptions(10, rate=rate) for rate in (0.01, 0.02, 0.05, 0.1, 0.3)},
    "paper: 1000 x step 0.1": SharpeningOptions(1000, step_size=0.1),
}
TOP_RATES = (0.05, 0.1, 0.3)  # for the highest Folding layer alone


def main(directory: Path, out: Path, count: int) -> None:
    set_up_cpu()
    state = load_checkpoint(directory)
    dataset = {**state["config"]["dataset"], "root": OmegaConf.structured(DatasetConfig).root}
    model, data = build_model(state).eval(), load(DatasetConfig(**dataset))
    defaults = SamplingConfig()
    sampling = SamplingOptions(top_s=defaults.top_s, std_scale=defaults.std_scale)
    reference = reference_of(data.train.images, 100, count, torch.Generator().manual_seed(SEED))
    stem = f"{state['config']['arch']['name']}-{dataset['name']}"
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{stem}.json"
    figures = json.loads(path.read_text()) if path.exists() else {}
    figures.setdefault("test images", asdict(judge(data.test.images[:count], reference)))
    top = [name for name in layer_names(model) if name.startswith("folding")][-1]
    settings = {
        **SETTINGS,
        **{f"10 x rate {r}, {top}": SharpeningOptions(10, rate=r, layers=(top,)) for r in TOP_RATES},
    }
    save_image(
        tile(torch.cat([shown(model, sampling, each) for each in settings.values()]), SHOWN), out / f"{stem}.png", 2
    )
    for name, sharpening in settings.items():
        if name in figures:
            continue
        outcomes: dict[str, list[Sharpened]] = {}
        started = time.perf_counter()
        few = sharpening is not None and sharpening.iterations > 100  # as many draws as a short experiment can bear
        number = min(count, 100) if few else count
        images = draw(model, number, sampling, SEED, sharpening, outcomes).images
        seconds = time.perf_counter() - started
        layers = {each: float(m.mean.mean()) for each, m in log_likelihood_moments(model, images).items()}
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


def shown(model: DCGMM, sampling: SamplingOptions, sharpening: SharpeningOptions | None) -> Tensor:
    """The same few draws for every setting."""
    return picture(draw(model, SHOWN, sampling, SEED, sharpening).images)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 500)
