"""Time of each layer's step, and of its scores, by other plans than `dcgmm.model.fused.plan` makes: what to choose.

python benchmarks/gpu/plans.py OUT.json [ARCHITECTURE[:MODELS] ...]    (2L-c 3L-a 2L-c:10 3L-a:10)

A variation changes one thing of a plan (points at a time, turns, features, splits, warps, ...). All kernels are
compiled first, by as many processes as there are cores; then each is timed alone, 20 calls in a CUDA graph.
"""

import argparse
import contextlib
import dataclasses
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

from parts.beside import replaced
from parts.shared import Row, images_of, make_trainer, per_call, sync, torch

from dcgmm.model import fused
from dcgmm.model.fused.plan import SUM_BLOCK, VALUES, Plan, plan, scoring_blocks
from dcgmm.training import Trainer

CALLS = 20  # in a graph
CUDA = torch.device("cuda")
Variation = dict[str, Any]  # of a plan's fields, of `splits` and `pieces` as factors; or the three of `scoring_blocks`


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("arch", nargs="*", default=["2L-c", "3L-a", "2L-c:10", "3L-a:10"])
    parser.add_argument("--share", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.share is None:
        count = len(os.sched_getaffinity(0))
        command = [sys.executable, __file__, str(arguments.out), *arguments.arch, "--share"]
        for process in [subprocess.Popen([*command, f"{number}/{count}"]) for number in range(count)]:
            process.wait()
    own, count = map(int, (arguments.share or "0/1").split("/"))
    found: dict[str, dict[str, Any]] = {}
    for number, (name, variation, call) in enumerate(calls(arguments.arch)):
        if number % count != own:
            continue
        with torch.no_grad(), _varied(variation):
            if arguments.share is not None:
                call()
                continue
            row = found.setdefault(name, {})
            row[json.dumps(variation) if variation else "as it is"] = us = _time(call)
        print(f"{name}: {us if isinstance(us, str) else f'{us:.2f} us'} {variation or ''}", flush=True)
        arguments.out.write_text(json.dumps(found, indent=1))


def calls(names: list[str]) -> Iterator[tuple[str, Variation, Callable[[], Any]]]:
    """Steps and scores of every layer, as training asks for them, in all variations."""
    images = images_of().to(CUDA)
    for name in names:
        arch, _, models = name.partition(":")
        trainer = make_trainer(arch, images, CUDA, replicas=int(models or 1), window=10**9, graphs=False)
        steps, scores = _given(trainer, images)
        for layer, (x, window, parameters, *rest, more) in enumerate(steps, start=1):
            points, shape = x.shape[-4] * math.prod(window.positions(*x.shape[-3:-1])), parameters[1].shape
            as_it_is = plan(len(trainer._generators), points, shape[-1], shape[-2], fused._multiprocessors(CUDA))

            def step(x: Any = x, given: Any = (window, parameters, *rest), more: Any = more) -> None:
                if isinstance(x, fused.Gathered):
                    x.position.zero_()
                fused.step(x, *given, **more)

            for variation in _of_steps(as_it_is):
                yield f"{name}, step of layer {layer}", variation, step
        for given in scores:
            points = given[0].shape[-4] * math.prod(given[1].positions(*given[0].shape[-3:-1]))
            for variation in _of_scores(points):
                what = f"{name}, scores of {points} points, {list(given[2].shape)}"
                yield what, variation, lambda given=given: fused.contract(*given)


def _given(trainer: Trainer, images: torch.Tensor) -> tuple[list[Any], list[Any]]:
    """What a step and the scores of a window's end, and of 1,000 images, call the passes with."""
    steps, scores, step, contract = [], [], fused.step, fused.contract

    def noted_step(*given: Any, **more: Any) -> Any:
        steps.append((*given, more))
        return step(*given, **more)

    def noted_scores(*given: Any) -> Any:
        scores.append(given)
        return contract(*given)

    with torch.no_grad(), replaced(fused, "step", noted_step), replaced(fused, "contract", noted_scores):
        trainer.step()
        trainer._end_window()
        if len(trainer._generators) == 1:
            trainer.model.log_prob(images[:1000])
    return steps, scores


def _of_steps(made: Plan) -> Iterator[Variation]:
    yield {}
    yield from ({"points": points, "warps": warps} for points in (16, 32, 64, 128) for warps in (2, 4, 8))
    yield from ({"turns": turns} for turns in (1, 2, 3, 4, 6))
    yield from ({"own": own} for own in (1, 2, 4, 8, 16))
    yield from ({"rows": rows} for rows in (2, 8, 32, 128) if rows * made.own * made.components <= 2 * VALUES)
    if not made.sums:
        yield from ({"features": features} for features in (16, 64))
        yield from ({"pieces": factor} for factor in (0.5, 2.0))
    if made.splits > 1:
        yield from ({"splits": factor} for factor in (0.5, 2.0))


def _of_scores(points: int) -> Iterator[Variation]:
    yield {}
    for size in (16, 32, 64, 128) if points < 10_000 else (32, 64, 128):
        yield from ({"blocks": (size, block, width)} for block in (16, 32, 64) for width in (16, 32, 64))


@contextlib.contextmanager
def _varied(variation: Variation) -> Iterator[None]:
    def other(models: int, points: int, features: int, components: int, units: int) -> Plan:
        made = plan(models, points, features, components, units)
        size, block = (variation.get(name, getattr(made, name)) for name in ("points", "features"))
        turns = variation.get("turns", max(1, made.turns * made.points // size))
        parts = -(-points // (size * turns))
        splits = 1 if turns > 1 else max(1, round(made.splits * variation.get("splits", 1)))
        split = features if splits == 1 else -(-features // splits // block) * block
        stretch = turns * size
        if not made.sums:
            stretch = max(1, round(made.stretch / variation.get("pieces", 1) / SUM_BLOCK)) * SUM_BLOCK
        pieces, own = -(-points // stretch), variation.get("own", made.own)
        changed: Row = {name: variation[name] for name in ("warps", "rows") if name in variation}
        cut = {"points": size, "turns": turns, "parts": parts, "features": block, "split": split, "own": own}
        cut |= {"splits": -(-features // split), "stretch": stretch, "pieces": pieces}
        cut["rows"] = min(1 << (pieces - 1).bit_length(), max(1, VALUES // (own * made.components)))
        return dataclasses.replace(made, **(cut | changed))

    blocks = variation.get("blocks")
    with (
        replaced(fused, "plan", other if variation and not blocks else plan),
        replaced(fused, "scoring_blocks", (lambda *_: blocks) if blocks else scoring_blocks),
    ):
        yield


def _time(call: Callable[[], Any]) -> float | str:
    """Microseconds of a call; or why there are none."""
    try:
        call()
        sync(CUDA)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            for _ in range(CALLS):
                call()
        return per_call(graph.replay, CUDA, 8) / CALLS
    except Exception as error:  # more registers or shared memory than there are, say
        return f"{type(error).__name__}: {error}"[:200]


if __name__ == "__main__":
    main()
