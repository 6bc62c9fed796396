"""Everything to be known of dcgmm on a CUDA device, in one run of at most 440 s: checks and timings, part by part.

Each part is a process of its own with a limit of time, and writes its results to disk whenever it has something new,
so that one that is cut off leaves what it had. Parts that check run together, those that measure one by one. All are
gathered in OUT/gpu_check.json, and what they printed in OUT/gpu_check.log. Nothing is fetched: MNIST is looked for in
$DCGMM_DATA, .mnist (in the checkout) and ~/.cache/dcgmm, as MNIST/raw/*-ubyte or *.gz; else the bundled sample stands
in.

python benchmarks/gpu/check.py [--out DIR] [--seconds 440] [--parts environment,tests]
python benchmarks/gpu/check.py --device cpu --quick    (a look at whether it runs: no graphs)
"""

import argparse
import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from parts import PARTS, TOGETHER

ROOT = Path(__file__).resolve().parents[2]


def main() -> None:
    arguments = _arguments()
    if arguments.part:
        raise SystemExit(_part(arguments.part, arguments.out, arguments.device, arguments.quick))
    chosen = arguments.parts.split(",")
    if unknown := set(chosen) - set(PARTS):
        raise SystemExit(f"no part {', '.join(sorted(unknown))}: there are {', '.join(PARTS)}")
    out: Path = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    summary: dict[str, Any] = {"began": time.strftime("%Y-%m-%d %H:%M:%S"), "status": {}}
    with tempfile.TemporaryDirectory(prefix="gpu_check_") as folder:
        work = Path(folder)
        environment = _environment(work, arguments.wheels)
        patience = float(environment.get("GPU_CHECK_PATIENCE", "1"))
        groups = [[name] for name in PARTS if name in chosen and name not in TOGETHER]
        if together := [name for name in TOGETHER if name in chosen]:
            groups.insert("environment" in chosen, together)
        for group in groups:
            left = arguments.seconds - (time.monotonic() - began)
            if left < 10:
                summary["status"] |= dict.fromkeys(group, "skipped: no time left")
                continue
            limits = {name: min(PARTS[name] * patience, left) for name in group}
            print("== " + ", ".join(f"{name} (at most {limit:.0f} s)" for name, limit in limits.items()), flush=True)
            words = ["--out", str(work), "--device", arguments.device, *["--quick"] * arguments.quick]
            with ThreadPoolExecutor() as pool:
                given = {name: (["--part", name, *words], work / f"{name}.log", limits[name]) for name in group}
                done = {name: pool.submit(_process, *each, environment) for name, each in given.items()}
            summary["status"] |= {name: each.result() for name, each in done.items()}
            _gather(work, out, summary)
            for name in group:
                lines = (work / f"{name}.log").read_text(errors="replace").splitlines()
                print("\n".join(line[:400] for line in lines[-25:]))
                print(f"== {name}: {summary['status'][name]}", flush=True)
        summary["seconds"] = round(time.monotonic() - began, 1)
        _gather(work, out, summary)
    print(out / "gpu_check.json")
    if any(status["exit"] != 0 for status in summary["status"].values() if isinstance(status, dict)):
        raise SystemExit(1)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("gpu_check"), help="folder of the two result files")
    parser.add_argument("--seconds", type=float, default=440.0, help="for all parts together")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--quick", action="store_true", help="a look at whether it runs")
    parser.add_argument("--parts", default=",".join(PARTS), help=f"some of {','.join(PARTS)}")
    parser.add_argument("--wheels", type=Path, help="folder of wheels that this machine lacks, installed for the check")
    parser.add_argument("--part", choices=list(PARTS), help=argparse.SUPPRESS)
    return parser.parse_args()


def _environment(work: Path, wheels: Path | None) -> dict[str, str]:
    """Variables of the parts' processes."""
    paths = [str(ROOT / "src")]
    if found := sorted(map(str, wheels.glob("*.whl"))) if wheels else []:
        site = work / "site"
        pip = [
            sys.executable,
            "-m",
            "pip",
            "install",
            "-q",
            "--no-index",
            "--no-deps",
            "--no-compile",
            "--no-cache-dir",
        ]
        done = subprocess.run([*pip, "--target", str(site), *found], capture_output=True, text=True, check=False)
        if done.returncode:
            print("wheels not installed:", done.stderr[-500:])
        paths.append(str(site))
    if given := os.environ.get("PYTHONPATH"):
        paths.append(given)
    environment = {
        "HYDRA_FULL_ERROR": "1",
        "MPLBACKEND": "Agg",
        "DCGMM_DATA": str(ROOT / ".mnist" if (ROOT / ".mnist").is_dir() else Path("~/.cache/dcgmm").expanduser()),
    }
    fixed = {"PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    return {**environment, **os.environ, **fixed}


def _process(words: list[str], log: Path, limit: float, environment: dict[str, str]) -> dict[str, Any]:
    """Exit code and time of a part, ended with all that it started once its time is over."""
    code: int | str = "cut off"
    started = time.monotonic()
    with log.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, __file__, *words],
            cwd=ROOT,
            env=environment,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = process.wait(limit)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return {"exit": code, "seconds": round(time.monotonic() - started, 1)}


def _part(name: str, out: Path, device: str, quick: bool) -> int:
    """Run a part in this process."""
    from parts.shared import Notes, torch

    if device == "cpu":
        torch.set_num_threads(1)
    note = Notes(out / f"{name}.json")
    with note.attempt("all"):
        importlib.import_module(f"parts.{name}").run(note, torch.device(device), quick)
    return 1 if "failed" in note.found else 0


def _gather(work: Path, out: Path, summary: dict[str, Any]) -> None:
    found = {}
    for name in PARTS:
        with contextlib.suppress(OSError, ValueError):
            found[name] = json.loads((work / f"{name}.json").read_text())
    (out / "gpu_check.json").write_text(json.dumps({**summary, "parts": found}, indent=1) + "\n")
    logs = [path for path in (work / f"{name}.log" for name in PARTS) if path.exists()]
    texts = [f"==== {path.stem}\n{path.read_text(errors='replace')[-100_000:]}\n" for path in logs]
    (out / "gpu_check.log").write_text("".join(texts))


if __name__ == "__main__":
    main()
