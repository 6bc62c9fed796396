"""Sharpens one model's draws by many settings and judges them: python sweep.py RUN_DIRECTORY OUT_DIRECTORY [COUNT].

Writes `<arch>-<dataset>.json` (a line of figures a setting) and a picture of it: a row of draws a setting.
"""

import json
import sys
import time
from dataclasses import asdict
from pathlib import Path

import torch

from dcgmm_cli.checkpoints import build_model, load_checkpoint
from dcgmm_cli.commands.sample import draw, picture
from dcgmm_cli.config import DatasetConfig, SamplingConfig
from dcgmm_cli.datasets import load
from dcgmm_cli.plots import save_image, tile
from dcgmm_cli.quality import judge, reference_of
from dcgmm_cli.runtime import set_up_cpu
from dcgmm_cli.sampling import SamplingOptions
from dcgmm_cli.sharpening import Sharpened, SharpeningOptions, ascent_of

SEED = 0
SHOWN = 12
SETTINGS = {
    "unsharpened": None,
    **{f"10 x rate {rate}": SharpeningOptions(10, rate=rate) for rate in (0.01, 0.02, 0.05, 0.1, 0.3)},
    "paper: 1000 x step 0.1": SharpeningOptions(1000, step_size=0.1),
}


def main(directory: Path, out: Path, count: int) -> None:
    set_up_cpu()
    state = load_checkpoint(directory)
    dataset = {**state["config"]["dataset"], "root": DatasetConfig().root}
    if dataset["root"].startswith("${"):
        from omegaconf import OmegaConf

        dataset["root"] = OmegaConf.structured(DatasetConfig).root
    model, data = build_model(state).eval(), load(DatasetConfig(**dataset))
    defaults = SamplingConfig()
    sampling = SamplingOptions(top_s=defaults.top_s, std_scale=defaults.std_scale)
    reference = reference_of(data.train.images, 100, count, torch.Generator().manual_seed(SEED))
    figures, shown = {"test images": asdict(judge(data.test.images[:count], reference))}, []
    for name, sharpening in SETTINGS.items():
        outcomes: dict[str, list[Sharpened]] = {}
        started = time.perf_counter()
        few = sharpening is not None and sharpening.iterations > 100  # as many draws as a short experiment can bear
        number = min(count, 100) if few else count
        images = draw(model, number, sampling, SEED, sharpening, outcomes).images
        seconds = time.perf_counter() - started
        likelihood = float(ascent_of(model, "folding1").log_likelihood(images).mean())
        figures[name] = {
            **asdict(judge(images, reference)),
            "log_likelihood_gmm1": likelihood,
            "ascents": {
                layer: [each[0].log_likelihood[0], each[0].log_likelihood[-1]] for layer, each in outcomes.items()
            },
            "seconds": round(seconds, 2),
        }
        shown.append(picture(images[:SHOWN]))
        print(f"{name:28} {likelihood:8.2f} {json.dumps(figures[name])}", flush=True)
    stem = f"{state['config']['arch']['name']}-{dataset['name']}"
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{stem}.json").write_text(json.dumps(figures, indent=1) + "\n")
    save_image(tile(torch.cat(shown), SHOWN), out / f"{stem}.png", 2)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 500)
