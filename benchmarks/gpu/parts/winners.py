"""Winners by the products of the fused passes and by others, against float64, while models train."""

import torch

from dcgmm.model import fused
from dcgmm.model.gaussian import smoothed_winner
from dcgmm.model.patches import Patches
from dcgmm.training import Trainer

from .beside import replaced
from .shared import Notes, Row, images_of, is_cuda, make_trainer

PRECISIONS = ("tf32x3", "ieee", "tf32")


def run(note: Notes, device: torch.device, quick: bool) -> None:
    images = images_of(600 if quick else 60_000)
    for arch in ("2L-c",) if quick else ("2L-c", "3L-a", "1L"):
        trainer = make_trainer(arch, images, device, batch=10 if quick else 100)
        for until in (5,) if quick else (33, 330, 1200, 3000, 6000):
            with note.attempt(f"{arch} after {until} steps"):
                while trainer.steps < until:
                    trainer.step()
                for name, row in _compared(trainer).items():
                    note[f"{arch}, {name} after {until} steps"] = row
                    flips = ", ".join(f"{each} {row[each]['other winners']}" for each in PRECISIONS if each in row)
                    print(f"   {arch}, {name} after {until} steps: {flips} of {row['points']} have another winner")


@torch.no_grad()
def _compared(trainer: Trainer) -> dict[str, Row]:
    """Of each layer: scores of the last batch, from the parameters as they are now."""
    given, contract = [], Patches.contract
    with replaced(Patches, "contract", lambda *each: given.append(each) or contract(*each)):
        trainer.model.score_floats(trainer._batches.last())
    return {name: _row(layer, *each) for (name, layer), each in zip(trainer._layers.items(), given, strict=True)}


def _row(layer, patches: Patches, *natural: torch.Tensor) -> Row:
    kernel = None if layer.annealed else layer._kernel.double()
    twin = Patches(patches.x.double(), patches.window)
    exact = twin.contract(*(each.double() for each in natural)).flatten(0, -2)
    wanted = smoothed_winner(exact, kernel)[1]
    row: Row = {"sigma": layer.sigma[0], "points": len(wanted), "mean size of a score": float(exact.abs().mean())}
    for precision in PRECISIONS if is_cuda(patches.x.device) else PRECISIONS[:1]:
        with replaced(fused, "PRECISION", precision):
            scores = patches.contract(*natural).flatten(0, -2).double()
        error = scores - exact
        row[precision] = {
            "other winners": int((smoothed_winner(scores, kernel)[1] != wanted).sum()),
            "error of a score, largest and root mean square": [
                float(error.abs().max()),
                float(error.square().mean().sqrt()),
            ],
        }
    return row
