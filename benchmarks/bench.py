"""Measure dcgmm's speed and memory on this machine, in one run: a table on standard output, JSON in a file.

python benchmarks/bench.py [--out FILE] [--archs 1L,2L-c] [--dataset mnist] [--device cuda] [--quick]
python benchmarks/bench.py --compare OLD.json NEW.json
"""

import argparse
import contextlib
import io
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from datetime import date
from importlib import metadata, util
from pathlib import Path
from typing import Any

import dcgmm  # before torch: it sets what that reads when it is loaded

# isort: split
import numpy as np
import torch
from bench_steps import repeated, step_times, synchronise, trainer_of
from bench_tables import Results, compare, show
from sklearn.mixture import GaussianMixture

from dcgmm.datasets import ImageData
from dcgmm.errors import InputError
from dcgmm.generation import SamplingOptions, Setting, SharpeningOptions
from dcgmm.generation.sampling import draw
from dcgmm.generation.sharpening import Refine, sharpened_layers, sharpener
from dcgmm.model import DCGMM
from dcgmm.outliers import log_likelihood_moments
from dcgmm.runtime import choose_device, describe_device

ARCHS = ("1L", "2L-a", "2L-b", "2L-c", "2L-d", "3L-a", "3L-b", "factors")  # 2L-e has the layers of 2L-c


def matmul_rate(device: torch.device) -> float:
    """Rate of a large float32 matrix product (FLOP/s): the best of many, what the machine can do."""
    size = 2000 if device.type == "cpu" else 8000
    left, right = torch.randn(size, size, device=device), torch.randn(size, size, device=device)
    times = [repeated(lambda: left @ right, device, 0.2) for _ in range(5)]
    return 2 * size**3 / min(times)


def child(code: str, arguments: list[str]) -> tuple[float, float]:
    """Wall time (s) and largest memory (MB) of a Python program, which must end well."""
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    wall = time.perf_counter() - started
    if done.returncode:
        raise SystemExit(f"{' '.join(arguments)} ended with {done.returncode}:\n{done.stderr}")
    peak = re.search(r"VmHWM:\s+(\d+) kB", done.stderr)
    return wall, int(peak.group(1)) / 1e3 if peak else float("nan")


# Tells its largest memory at the end: what the system says of an ended child counts its parent's too.
MEMORY = "import atexit, sys; atexit.register(lambda: sys.stderr.write(open('/proc/self/status').read()))\n"
ENTRY = "import sys; from dcgmm_cli.main import main; sys.argv[0] = 'dcgmm'; main()"
# A training command that ends once its first step is done.
FIRST_STEP = (
    """
import os, sys
from dcgmm.training.trainer import Trainer
step = Trainer.step
def first_step(self):
    step(self)
    os._exit(0)
Trainer.step = first_step
"""
    + ENTRY
)


def whole_runs(archs: list[str], dataset: str, device: torch.device, epochs: int, runs: Path) -> Results:
    """Whole training commands, from the shell's prompt back to it."""
    results: Results = {}
    for arch in archs:
        directory = runs / arch
        overrides = [f"arch={arch}", f"dataset={dataset}", f"trainer.epochs={epochs}"]
        overrides += [f"runs_dir={runs}", f"hydra.run.dir={directory}", f"trainer.device={device}"]
        wall, memory = child(MEMORY + ENTRY, ["train", *overrides])
        trained = json.loads((directory / "result.json").read_text())["train_seconds"]
        results[f"train {arch}"] = {
            f"{epochs} epochs, whole command (s)": wall,
            f"{epochs} epochs, steps alone (s)": trained,
            "largest memory (MB)": memory,
        }
    return results


def start_up(dataset: str, device: torch.device, runs_each: int) -> Results:
    """Start-up of commands, the best of some runs (the first fills the file cache)."""

    def best(code: str, *arguments: str) -> float:
        return min(child(code, [*arguments])[0] for _ in range(runs_each))

    with tempfile.TemporaryDirectory() as runs:
        words = ("arch=2L-c", f"dataset={dataset}", f"runs_dir={runs}", f"trainer.device={device}")
        first_step = best(FIRST_STEP, "train", *words)
    return {
        "start-up": {
            "dcgmm --help (s)": best(ENTRY, "--help"),
            "dcgmm train --help (s)": best(ENTRY, "train", "--help"),
            "dcgmm train to its first step (s)": first_step,
        }
    }


def use_of_models(archs: list[str], data: ImageData, runs: Path, device: torch.device, quick: bool) -> Results:
    """Scoring, sampling and sharpening with trained models."""
    results: Results = {}
    seconds = 0.05 if quick else 2.0
    for arch in archs:
        model = dcgmm.load_run(runs / arch).model.to(device)
        images = data.test.images.to(device)

        def score(model: DCGMM = model, images: torch.Tensor = images) -> None:
            log_likelihood_moments(model, images)

        row = {"scoring (images/s)": len(images) / repeated(score, device, seconds, least=3)}
        paper = SharpeningOptions(Setting.paper, iterations=100 if quick else None).steps(model.architecture.sharpening)

        def sample(model: DCGMM = model, refine: Refine | None = None) -> None:
            draw(model, 100, SamplingOptions(), torch.Generator(model.device).manual_seed(0), refine)

        row["100 samples (s)"] = repeated(sample, device, seconds)
        refine = sharpener(model, paper, {})
        started = time.perf_counter()
        sample(refine=refine)
        synchronise(device)
        layers = len(sharpened_layers(model, paper))
        row[f"100 samples, {paper.iterations} sharpening steps at each of {layers} layers (s)"] = (
            time.perf_counter() - started
        )
        results[f"use {arch}"] = row
    return results


def peer(data: ImageData, device: torch.device, most: float) -> Results:
    """Time to the same test log-likelihood: scikit-learn's diagonal mixture of 25 components against 1L, full data."""
    train, test = (split.images.flatten(1).float().numpy() / 255 for split in (data.train, data.test))
    mixture = GaussianMixture(
        25, covariance_type="diag", reg_covar=0.05, init_params="k-means++", warm_start=True, max_iter=1, random_state=0
    )
    theirs: list[tuple[float, float]] = []
    spent = 0.0
    with contextlib.redirect_stderr(io.StringIO()):
        while spent < most and not (len(theirs) > 2 and theirs[-1][1] - theirs[-2][1] < 1e-3):
            started = time.perf_counter()
            mixture.fit(train)
            spent += time.perf_counter() - started
            theirs.append((spent, float(mixture.score(test))))
    trainer = trainer_of("1L", data, 100, device)
    images = data.test.images.to(device)
    ours, spent = [], 0.0
    while spent < most and trainer.steps < trainer.total_steps:
        started = time.perf_counter()
        for _ in range(trainer.steps_per_epoch):
            trainer.step()
        synchronise(device)
        spent += time.perf_counter() - started
        ours.append((spent, float(log_likelihood_moments(trainer.model, images)["gmm1"].mean.mean())))
    reached = min(max(value for _, value in theirs), max(value for _, value in ours))

    def time_to(curve: list[tuple[float, float]]) -> float:
        return next(seconds for seconds, value in curve if value >= reached)

    return {
        "1L against scikit-learn's GaussianMixture": {
            "test log-likelihood that both reach (nats)": reached,
            "dcgmm 1L, time to it (s)": time_to(ours),
            "scikit-learn, time to it (s)": time_to(theirs),
            "dcgmm 1L, best (nats)": max(value for _, value in ours),
            "scikit-learn, best (nats)": max(value for _, value in theirs),
        }
    }


def conditions(device: torch.device) -> dict[str, Any]:
    processor = platform.processor()
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        processor = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    git = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    return {
        "date": date.today().isoformat(),
        "processor": processor,
        "cores": len(os.sched_getaffinity(0)),
        "device": describe_device(device),
        **(of_gpu(device) if device.type == "cuda" else {}),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "commit": git.stdout.strip(),
    }


def of_gpu(device: torch.device) -> dict[str, Any]:
    asked = ["nvidia-smi", "--query-gpu=driver_version,clocks.sm,power.limit", "--format=csv,noheader"]
    driver = ""
    with contextlib.suppress(OSError):
        driver = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
    found = torch.cuda.get_device_properties(device)
    return {
        "memory (GB)": found.total_memory / 1e9,
        "multiprocessors": found.multi_processor_count,
        "cuda": torch.version.cuda,
        "triton": metadata.version("triton") if util.find_spec("triton") else None,
        "driver, clock, power limit": driver,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="JSON file to write")
    parser.add_argument("--archs", default=",".join(ARCHS), help="architectures whose steps are timed")
    parser.add_argument(
        "--whole", default="1L,2L-c,3L-a,factors", help="architectures that are trained for 25 epochs, and used"
    )
    parser.add_argument("--dataset", default="mnist")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    parser.add_argument("--quick", action="store_true", help="a look at whether it runs: short times, 1 epoch")
    parser.add_argument("--compare", nargs=2, type=Path, metavar=("OLD", "NEW"))
    arguments = parser.parse_args()
    if arguments.compare:
        compare(*arguments.compare)
        return
    try:
        device = choose_device(arguments.device)
    except InputError as error:
        parser.exit(2, f"{parser.prog}: {error}\n")
    seconds = 0.05 if arguments.quick else 2.0
    data = dcgmm.datasets.load(arguments.dataset)
    rate = matmul_rate(device)
    results: Results = {"machine": {"float32 matrix product (GFLOP/s)": rate / 1e9}}
    results |= step_times(arguments.archs.split(","), data, device, rate, seconds)
    with tempfile.TemporaryDirectory() as runs:
        whole = arguments.whole.split(",")
        results |= whole_runs(whole, arguments.dataset, device, 1 if arguments.quick else 25, Path(runs))
        results |= use_of_models(whole, data, Path(runs), device, arguments.quick)
    results |= start_up(arguments.dataset, device, 1 if arguments.quick else 3)
    results |= peer(data, device, 2.0 if arguments.quick else 120.0)
    results["machine, at the end"] = {"float32 matrix product (GFLOP/s)": matmul_rate(device) / 1e9}
    show(results)
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps({"conditions": conditions(device), "results": results}, indent=2) + "\n")
        print(arguments.out)


if __name__ == "__main__":
    main()
