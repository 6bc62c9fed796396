"""Training steps along what makes them larger: images, their size, components, positions, layers, processes.

python benchmarks/scale.py --out FILE.json [--curves images,size] [--quick]    # also FILE.png
python benchmarks/scale.py --draw FILE.json                                    # that picture again

Each point is measured in a process of its own (`scale_step.py`), so that its largest memory is its own.
"""

import argparse
import io
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from bench import conditions, matmul_rate
from matplotlib.figure import Figure
from PIL import Image
from scale_step import Step

STEP = Path(__file__).with_name("scale_step.py")
CPU = torch.device("cpu")
QUICK = 0.02  # seconds


@dataclass(frozen=True)
class Point:
    """A step at its place in a curve."""

    series: str
    x: float
    step: Step
    processes: int = 1


@dataclass(frozen=True)
class Curve:
    """Steps along one thing."""

    x: str
    about: str
    points: list[Point]


def gmm(components: int) -> dict[str, Any]:
    return {"type": "gmm", "components": components}


def folding(kernel: int, stride: int) -> dict[str, Any]:
    return {"type": "folding", "kernel": [kernel, kernel], "stride": [stride, stride]}


def images() -> Iterator[Point]:
    step = Step([folding(28, 28), gmm(25)])
    for count in (10_000, 100_000, 1_000_000):
        sources: list[tuple[str, dict[str, Any]]] = [
            ("in memory", {}),
            ("mapped file", {"source": "warm"}),
            ("cold file", {"source": "cold"}),
            ("cold, blocks of 100", {"source": "cold", "block_shuffle": 100}),
        ]
        for series, source in sources:
            yield Point(series, count, replace(step, images=count, **source))


def size() -> Iterator[Point]:
    for side in (28, 64, 128, 256, 512):
        for batch in (10, 100, 1000):
            if batch * side**2 <= 1000 * 256**2:
                step = Step([folding(side, side), gmm(25)], side, max(2 * batch, 400), batch)
                yield Point(f"batch {batch}", side, step)


def components() -> Iterator[Point]:
    for count in (25, 49, 100, 225, 400, 625, 900):
        step = Step([folding(8, 4), gmm(count)])
        yield Point("batch 100", count, step)
        yield Point("batch 100, annealing", count, replace(step, annealing=True))
        yield Point("batch 1000", count, replace(step, batch=1000))


def positions() -> Iterator[Point]:
    for stride in (8, 4, 2, 1):
        for count in (25, 100):
            step = Step([folding(8, stride), gmm(count)], 64, 1000)
            yield Point(f"K = {count}", ((64 - 8) // stride + 1) ** 2, step)


def layers() -> Iterator[Point]:
    every = [folding(4, 2), gmm(25), folding(3, 2), gmm(25), folding(2, 2), gmm(25), folding(3, 3), gmm(25)]
    for count in (1, 2, 3, 4):
        for batch in (100, 1000):
            yield Point(f"batch {batch}", count, Step(every[: 2 * count], batch=batch))


def processes() -> Iterator[Point]:
    step = Step([folding(7, 3), gmm(25), folding(8, 1), gmm(36)])
    for batch in (100, 1000, 10_000):
        at = replace(step, batch=batch)
        yield Point("one of 1 thread", batch, replace(at, threads=1))
        yield Point("one of 2 threads", batch, replace(at, threads=2))
        yield Point("two of 1 thread", batch, replace(at, threads=1), 2)


CURVES = {
    "images": Curve("images 28x28", "1L, batch 100", list(images())),
    "size": Curve("side of the image", "one window, K = 25", list(size())),
    "components": Curve("K", "28x28, windows 8x8, stride 4", list(components())),
    "positions": Curve("positions", "64x64, windows 8x8, batch 100", list(positions())),
    "layers": Curve("GMM layers", "28x28, K = 25 each", list(layers())),
    "processes": Curve("batch", "2L-c", list(processes())),
}


def measured(point: Point, threads: int | None) -> dict[str, Any]:
    step = replace(point.step, threads=point.step.threads or threads)
    words = [str(STEP), json.dumps(asdict(step))]
    launch = [str(Path(sys.executable).parent / "torchrun"), "--standalone", f"--nproc-per-node={point.processes}"]
    command = [sys.executable, *words] if point.processes == 1 else [*launch, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{point.series}, {point.x:g} ended with {done.returncode}:\n{done.stderr}")
    return {"series": point.series, "x": point.x, **json.loads(done.stdout)}


def show(name: str, row: dict[str, Any]) -> None:
    memory = f"{row['own MB']:7.0f} MB {row['file MB']:6.0f} of files"
    rate = f"{row['ms']:10.3f} ms {row['CPU ms']:10.3f} of CPU {row['MFLOP']:9.1f} MFLOP {row['GFLOP/s']:7.1f} GFLOP/s"
    print(f"{name:10} {row['x']:9g} {row['series']:22} {rate} {memory} {row['read faults']:6} read", flush=True)


def picture(found: dict[str, Any], path: Path) -> None:
    """A column each curve: rate over what is varied, time over FLOPs, memory over what is varied."""
    curves = found["curves"]
    figure = Figure(figsize=(3.1 * len(curves), 7), layout="constrained")
    axes = figure.subplots(3, len(curves), squeeze=False)
    for (name, curve), (rate, time, memory) in zip(curves.items(), axes.T, strict=True):
        rows = curve["points"]
        xs = sorted({row["x"] for row in rows})
        for series in dict.fromkeys(row["series"] for row in rows):
            own = [row for row in rows if row["series"] == series]
            at = [row["x"] for row in own]
            rate.plot(at, [row["GFLOP/s"] for row in own], "o-", ms=3, lw=1, label=series)
            time.plot([row["MFLOP"] for row in own], [row["ms"] for row in own], "o-", ms=3, lw=1)
            memory.plot(at, [row["own MB"] for row in own], "o-", ms=3, lw=1)
        rate.set_title(f"{name}: {curve['about']}", fontsize="small")
        rate.legend(fontsize="x-small")
        rate.set_ylim(bottom=0)
        memory.set_ylim(bottom=0)
        time.set(xscale="log", yscale="log", xlabel="MFLOP a step")
        for axis in (rate, memory):
            axis.set(xlabel=curve["x"], xscale="linear" if name == "layers" else "log")
            axis.set_xticks(xs, [f"{x:,}" for x in xs], fontsize="x-small")
            axis.minorticks_off()
    for row, label in zip(axes[:, 0], ("GFLOP/s", "ms a step", "largest memory of its own, MB"), strict=True):
        row.set_ylabel(label)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=75)
    Image.open(buffer).convert("RGB").quantize(64).save(path, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--out", type=Path, default=Path("scale.json"), help="file to write; the picture lies beside it"
    )
    parser.add_argument("--curves", default=",".join(CURVES))
    parser.add_argument("--threads", type=int, help="of a step (but in the curve of processes); all cores by default")
    parser.add_argument("--quick", action="store_true", help="a look at whether it runs: the first point of a series")
    parser.add_argument("--draw", type=Path, metavar="FILE", help="only the picture of such a file")
    given = parser.parse_args()
    if given.draw:
        picture(json.loads(given.draw.read_text()), given.draw.with_suffix(".png"))
        return
    names = given.curves.split(",")
    if unknown := [name for name in names if name not in CURVES]:
        parser.error(f"no curve {unknown[0]}: there are {', '.join(CURVES)}")
    torch.set_num_threads(2)
    rates, curves = [matmul_rate(CPU) / 1e9], {}
    for name in names:
        curve, rows = CURVES[name], []
        for point in quick(curve.points) if given.quick else curve.points:
            rows.append(measured(point, given.threads))
            show(name, rows[-1])
        curves[name] = {"x": curve.x, "about": curve.about, "points": rows}
    rates.append(matmul_rate(CPU) / 1e9)
    found = {
        "conditions": conditions(CPU),
        "threads": given.threads,
        "matrix product (GFLOP/s)": rates,
        "curves": curves,
    }
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(found, indent=1) + "\n")
    picture(found, given.out.with_suffix(".png"))
    print(given.out)


def quick(points: list[Point]) -> list[Point]:
    first: dict[str, Point] = {}
    for point in points:
        first.setdefault(point.series, replace(point, step=replace(point.step, seconds=QUICK)))
    return list(first.values())


if __name__ == "__main__":
    main()
