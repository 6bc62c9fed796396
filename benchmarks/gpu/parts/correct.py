"""Training on the CPU against CUDA, architecture by architecture; graphs against eager steps and a repetition."""

from typing import Any

import torch

from dcgmm.training import LayerReport, Trainer

from .shared import CPU, Notes, Row, gap, graph_of, images_of, make_trainer, same, state

ARCHS = ("2L-c", "3L-a", "1L", "tiles-400", "2L-a", "2L-b", "2L-d", "3L-b")
# The end of annealing comes with the third window.
ANNEALED = {"gamma": 0.001, "delta": 1e9}


def run(note: Notes, device: torch.device, quick: bool) -> None:
    images = images_of(2000)
    # Graphs of steps and of windows' ends are captured by the end of the phase in which centroids alone adapt.
    steps, batch = (12, 10) if quick else (60, 50)

    def trained(arch: str, where: torch.device, **given: Any) -> tuple[Trainer, list[dict[str, LayerReport]]]:
        trainer = make_trainer(
            arch, images, where, batch=batch, window=4, centroid_epochs=0.02 if quick else 0.9, **given
        )
        reports = [report[0] for report in (trainer.step() for _ in range(steps)) if report]
        return trainer, reports

    for arch in ARCHS[:2] if quick else ARCHS:
        row: Row = {}
        with note.attempt(arch):
            trainer, reports = trained(arch, device)
            ours = state(trainer)
            row["graph captured"] = graph_of(trainer) is not None
            eager = state(trained(arch, device, graphs=False)[0])
            row["graph equals eager, bit for bit"] = same(ours, eager)
            if not same(ours, eager):
                row["graph against eager"] = gap(ours, eager)
            row["repeats itself, bit for bit"] = same(ours, state(trained(arch, device)[0]))
            theirs, expected = trained(arch, CPU)
            row["float32: parameters, largest relative difference to the CPU"] = gap(ours, state(theirs))
            row["float32: log-likelihoods"] = {
                name: [reports[-1][name].log_likelihood, wanted.log_likelihood] for name, wanted in expected[-1].items()
            }
            double = {"dtype": torch.float64, **ANNEALED}
            trainer, _ = trained(arch, device, **double)
            row["float64, up to the end of annealing: difference"] = gap(
                state(trainer), state(trained(arch, CPU, **double)[0])
            )
            row["annealed"] = all(layer.annealed for layer in trainer._layers.values())
            row["graph captured after annealing"] = graph_of(trainer) is not None
            if arch in ARCHS[:2]:
                three = {"dtype": torch.float64, "replicas": 3}
                pair = [state(trained(arch, where, **three)[0]) for where in (device, CPU)]
                row["float64, three replicas: difference"] = gap(*pair)
        note.show(arch, row)
