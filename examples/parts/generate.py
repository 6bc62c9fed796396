"""Drawn washers with six bolts, always in about the same place, and some without one of them; as folders of images.

    python examples/parts/generate.py parts
    python examples/parts/generate.py parts --size 64 --train 40

writes `parts/data`, good images to train on and to judge by, and images with a bolt missing; and `parts/new`, both
kinds, of which the names alone tell.
"""

import argparse
import math
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFilter
from torch import Generator

SIDE = 160  # at which they are drawn
BOLTS = 6


def drawn(size: int, generator: Generator, missing: bool = False) -> Image.Image:
    """A washer, off its place by up to 3 of 160 pixels, a little brighter or darker, with noise.

    Args:
        size: of a side, in pixels.
        generator: of place, brightness, noise and the bolt that is missing.
        missing: whether one is.
    """
    right, down = (SIDE // 2 + torch.randint(-3, 4, (2,), generator=generator)).tolist()
    left_out = int(torch.randint(BOLTS, (1,), generator=generator)) if missing else None
    image = Image.new("RGB", (SIDE, SIDE), (60, 90, 60))
    draw = ImageDraw.Draw(image)
    draw.circle((right, down), 60, (180, 180, 190))
    draw.circle((right, down), 25, (40, 40, 40))
    for bolt in range(BOLTS):
        angle = 2 * math.pi * bolt / BOLTS
        if bolt != left_out:
            draw.circle((right + 43 * math.cos(angle), down + 43 * math.sin(angle)), 7, (200, 150, 40))
    smooth = torch.frombuffer(bytearray(image.filter(ImageFilter.GaussianBlur(1)).tobytes()), dtype=torch.uint8)
    light, noise = 5 * torch.randn(1, generator=generator), 6 * torch.randn(len(smooth), generator=generator)
    shown = (smooth + light + noise).clamp(0, 255).byte().view(SIDE, SIDE, 3)
    return Image.fromarray(shown.numpy()).resize((size, size))


def write(root: Path, size: int = 80, train: int = 60, judged: int = 20, seed: int = 0) -> None:
    """Images of a kind each: `train` good ones, and `judged` good ones and ones with a bolt missing, twice."""
    generator = Generator().manual_seed(seed)
    plan = [("data/train/good", train, False)]
    plan += [("data/test/good", judged, False), ("data/test/missing", judged, True)]
    plan += [("new", judged, False), ("new", judged, True)]
    for folder, count, missing in plan:
        (root / folder).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            name = f"{'missing' if missing else 'good'}-{number:03d}.png"
            drawn(size, generator, missing).save(root / folder / name)


def main() -> None:
    """From the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path)
    parser.add_argument("--size", type=int, default=80, help="pixels of a side")
    parser.add_argument("--train", type=int, default=60, help="good images to train on")
    parser.add_argument("--judged", type=int, default=20, help="images of each kind to judge by, and new ones")
    parser.add_argument("--seed", type=int, default=0)
    write(**vars(parser.parse_args()))


if __name__ == "__main__":
    main()
