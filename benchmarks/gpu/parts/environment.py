"""What the machine is, and what its products, copies and launches cost."""

import os
import platform
import shutil
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from .shared import CPU, Notes, data_set, host_time, is_cuda, per_call

PACKAGES = (
    *("torch", "torchvision", "triton", "numpy", "scipy", "scikit-learn", "matplotlib", "pillow", "rich", "hydra-core"),
    *("omegaconf", "PyYAML", "lazy_loader", "pytest", "nvidia-cublas", "nvidia-cuda-runtime", "nvidia-cuda-nvrtc"),
)
SMI = "name,driver_version,memory.total,memory.used,clocks.sm,clocks.mem,temperature.gpu,power.draw"
PROPERTIES = ("name", "major", "minor", "multi_processor_count", "total_memory", "L2_cache_size")


def run(note: Notes, device: torch.device, quick: bool) -> None:
    note["python"] = f"{platform.python_version()} {sys.executable}"
    note["cores"] = len(os.sched_getaffinity(0))
    note["packages"] = {name: _version(name) for name in PACKAGES}
    note["torch"] = {
        "version": torch.__version__,
        "cuda": torch.version.cuda,
        "matmul precision": torch.get_float32_matmul_precision(),
        "allow_tf32": torch.backends.cuda.matmul.allow_tf32,
        "linear algebra": str(torch.backends.cuda.preferred_linalg_library()),
    }
    if shutil.which("nvidia-smi"):
        with note.attempt("nvidia-smi"):
            note["nvidia-smi"] = _said("nvidia-smi", f"--query-gpu={SMI}", "--format=csv")
    with note.attempt("processor"):
        note["processor"] = _said(
            "sh", "-c", "grep -m1 'model name' /proc/cpuinfo; cat /proc/loadavg; which gcc g++ nvcc"
        )
    with note.attempt("imports"):
        import dcgmm_cli.commands.train
        import dcgmm_cli.main

        note["dcgmm"] = str(Path(dcgmm_cli.main.__file__).parents[1])
        note["data set"] = data_set()
    if is_cuda(device):
        started = time.perf_counter()
        torch.zeros(1, device=device)
        note["CUDA's start-up (s)"] = time.perf_counter() - started
        properties = torch.cuda.get_device_properties(device)
        note["device"] = {key: getattr(properties, key, None) for key in PROPERTIES}
    _rates(note, device, quick)
    _launches(note, device)


def _rates(note: Notes, device: torch.device, quick: bool) -> None:
    size = 512 if quick else 8192
    with note.attempt("matrix product"):
        left, right = torch.randn(size, size, device=device), torch.randn(size, size, device=device)
        note["float32 product (TFLOP/s)"] = 2 * size**3 / per_call(lambda: left @ right, device, 3) / 1e6
    with note.attempt("copy"):
        source = torch.randn(1 << (20 if quick else 28), device=device)
        target = torch.empty_like(source)
        moved = 2 * source.nbytes
        note["copy, read and written (TB/s)"] = moved / per_call(lambda: target.copy_(source), device, 5) / 1e6


def _launches(note: Notes, device: torch.device) -> None:
    tiny = torch.zeros(1000, device=device)
    with note.attempt("launches"):
        note["eager launch (us)"] = per_call(lambda: tiny.add_(1), device, 2000)
        note["read of a number (us)"] = per_call(lambda: float(tiny[0]), device, 200)
    if is_cuda(device):
        with note.attempt("graphs"):
            for length in (1, 10, 50, 100, 200):
                graph = torch.cuda.CUDAGraph()
                with torch.cuda.graph(graph):
                    for _ in range(length):
                        tiny.add_(1)
                note[f"graph of {length} tiny kernels (us)"] = per_call(graph.replay, device, 300)
            note["host's part of a replay of 200 (us)"] = host_time(graph.replay, device)
    with note.attempt("shuffling"):
        generator = torch.Generator().manual_seed(0)
        shuffling = per_call(lambda: torch.randperm(60_000, generator=generator), CPU, 5)
        note["randperm of 60,000 on the CPU (us)"] = shuffling


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _said(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    return (done.stdout + done.stderr).strip()[:3000]
