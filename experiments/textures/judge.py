"""Judges `auto` and its maps on generated textures of 256x256 in colour with planted defects.

    PYTHONPATH=. python experiments/textures/judge.py [--seeds 40 41] [--steps 2500] [--output FILE.json]

Each of four textures is trained on 60 good images, on tiles of 32x32, then judged by 100 other good ones and 20 of each
of four defects; maps by 30 of the good ones and all others. What the output holds already is not done again. Prints a
table; the first seed's defects are drawn beside it (maps.png).
"""

import argparse
import json
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

import dcgmm
from dcgmm.outliers import Detector, localise, outlying_maps
from dcgmm.outliers.metrics import auroc
from dcgmm_cli.figures.outliers import overlay
from examples.textures.generate import DEFECTS, TEXTURES, as_bytes, damaged, textured

SIZE, TRAIN, GOOD, MAPPED, BAD, TILE = 256, 60, 100, 30, 20, [32, 32]
RATES = (0.05, 0.01)
HERE = Path(__file__).parent


def judged(texture: str, seed: int, steps: int) -> tuple[dict[str, Any], list[Tensor]]:
    """Figures of a texture, and a picture of each defect beside its map, each (S, S, 3) in [0, 1]."""
    first = 1000 * seed  # of this seed's images: no two sets share any
    train = as_bytes(textured(texture, TRAIN, SIZE, first))
    model = dcgmm.DCGMM.build((SIZE, SIZE, 3), dcgmm.arch("textures"))
    dcgmm.fit(model, train, seed=seed, tile=TILE, steps=steps)
    detector = Detector.fit(model, train, pooled=True)
    good, good_maps = looked_at(detector, as_bytes(textured(texture, GOOD, SIZE, first + 1)))
    good_maps = good_maps[:MAPPED]
    p = detector.p_values("auto", good["auto"])
    figures: dict[str, Any] = {f"false_alarms_{rate}": float((p <= rate).double().mean()) for rate in RATES}
    maps, masks, pictures = [good_maps], [np.zeros(good_maps.shape, bool)], []
    for number, kind in enumerate(DEFECTS, start=2):
        images, mask = damaged(textured(texture, BAD, SIZE, first + number), kind, first + number)
        bad, bad_maps = looked_at(detector, as_bytes(images))
        marked = mask.numpy()
        figures[kind] = {
            **{f"auroc_{score}": auroc(good[score].numpy(), bad[score].numpy()) for score in good},
            "pixel_auroc": auroc(-np.concatenate([good_maps.ravel(), bad_maps[~marked]]), -bad_maps[marked]),
        }
        maps.append(bad_maps)
        masks.append(marked)
        pictures += [images[0], overlay(images[0], torch.from_numpy(bad_maps[0]))]
    figures["where"] = localise(np.concatenate(maps), np.concatenate(masks))._asdict()
    return figures, pictures


def looked_at(detector: Detector, images: Tensor) -> tuple[dict[str, Tensor], Any]:  # (N,) each, (N, Y, X)
    """Some scores of images, and maps."""
    reports = list(detector.reports(images))
    scores = {name: torch.cat([each.scores[name] for each in reports]) for name in ("auto", "joint", "worst")}
    return scores, torch.cat([outlying_maps(detector, each.maps) for each in reports]).numpy()


def drawn(rows: list[list[Tensor]], path: Path) -> None:
    """A picture with a row a texture, in few colours."""
    page = as_bytes(torch.cat([torch.cat(row, 1) for row in rows]).clamp(0, 1))
    height, width = page.shape[:2]
    small = Image.fromarray(page.numpy()).resize((width // 2, height // 2), Image.Resampling.BOX)
    small.quantize(96, dither=Image.Dither.NONE).save(path, optimize=True)


def table(found: dict[str, dict[str, Any]]) -> str:
    """Means over seeds: a row a texture."""
    head = ["texture", "seeds", *(f"{kind}: image, pixel" for kind in DEFECTS), "pixel AUROC, PRO, F1"]
    head += [f"false alarms at {rate}" for rate in RATES]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for texture in TEXTURES:
        some = [figures for name, figures in found.items() if name.startswith(f"{texture}-")]
        if not some:
            continue
        cells = [texture, str(len(some))]
        for kind in DEFECTS:
            pairs = [(each[kind]["auroc_auto"], each[kind]["pixel_auroc"]) for each in some]
            image, pixel = (fmean(part) for part in zip(*pairs, strict=True))
            cells.append(f"{image:.3f} (least {min(pairs)[0]:.3f}), {pixel:.3f}")
        where = (fmean(each["where"][key] for each in some) for key in ("pixel_auroc", "pro", "f1"))
        cells.append(", ".join(f"{mean:.3f}" for mean in where))
        cells += [f"{fmean(each[f'false_alarms_{rate}'] for each in some):.1%}" for rate in RATES]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="Judge auto on generated textures of 256x256.")
    parser.add_argument("--seeds", type=int, nargs="+", default=[40])
    parser.add_argument("--steps", type=int, default=2500)
    parser.add_argument("--output", type=Path, default=HERE / "results.json")
    given = parser.parse_args()
    found = json.loads(given.output.read_text()) if given.output.exists() else {}
    rows = []
    for seed in given.seeds:
        for texture in TEXTURES:
            if (name := f"{texture}-{seed}") not in found:
                found[name], pictures = judged(texture, seed, given.steps)
                rows += [pictures] if seed == given.seeds[0] else []
                given.output.write_text(json.dumps(found, indent=1) + "\n")
        if len(rows) == len(TEXTURES):
            drawn(rows, given.output.with_name("maps.png"))
    print(table(found))


if __name__ == "__main__":
    main()
