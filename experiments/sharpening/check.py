"""Judges the default sharpening of trained runs: python check.py OUT.json COUNT SEEDS RUN_DIRECTORY...

Each seed draws COUNT images twice with the same noise, unsharpened and sharpened by the architecture's default.
"""

import json
import sys
from dataclasses import asdict
from pathlib import Path

import torch
from omegaconf import OmegaConf

from dcgmm_cli.checkpoints import build_model, load_checkpoint
from dcgmm_cli.commands.sample import draw, sharpening_options
from dcgmm_cli.config import DatasetConfig, SharpeningConfig
from dcgmm_cli.datasets import load
from dcgmm_cli.quality import judge, reference_of
from dcgmm_cli.runtime import set_up_cpu
from dcgmm_cli.sampling import SamplingOptions
from dcgmm_cli.sharpening import Sharpened


def main(out: Path, count: int, seeds: int, runs: list[Path]) -> None:
    set_up_cpu()
    figures = json.loads(out.read_text()) if out.exists() else {}
    for run in runs:
        state = load_checkpoint(run)
        dataset = {**state["config"]["dataset"], "root": OmegaConf.structured(DatasetConfig).root}
        arch = state["config"]["arch"]["name"]
        model, train = build_model(state).eval(), load(DatasetConfig(**dataset)).train.images
        reference = reference_of(train, 100, count, torch.Generator().manual_seed(0))
        options, lines = sharpening_options(SharpeningConfig(), arch), []
        for seed in range(seeds):
            outcomes: dict[str, list[Sharpened]] = {}
            before = draw(model, count, SamplingOptions(), seed).images
            after = draw(model, count, SamplingOptions(), seed, options, outcomes).images
            ascents = {name: [each[0].log_likelihood[0], each[0].log_likelihood[-1]] for name, each in outcomes.items()}
            lines.append(
                {
                    "before": asdict(judge(before, reference)),
                    "after": asdict(judge(after, reference)),
                    "ascents": ascents,
                }
            )
        name = f"{arch}-{dataset['name']}"
        figures[name] = {"options": asdict(options), "seeds": lines}
        for key in ("ndb", "js", "train_distance"):
            mean = {when: sum(line[when][key] for line in lines) / seeds for when in ("before", "after")}
            print(f"{name:20} {key:15} {mean['before']:8.4f} -> {mean['after']:8.4f}", flush=True)
        print(name, lines[0]["ascents"], flush=True)
        out.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), [Path(each) for each in sys.argv[4:]])
