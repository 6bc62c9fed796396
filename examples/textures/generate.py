"""Generated textures, and defects planted into them at known places; as folders of images.

    python examples/textures/generate.py textures
    python examples/textures/generate.py textures --texture weave --size 128 --train 40

writes `textures/data`, good images to train on and to judge by, and images with a defect each beside a mask of it, in
the layout of MVTec AD; and `textures/new`, both kinds mixed, of which nothing is said.

Shapes: N images of S x S pixels in colour.
"""

import argparse
import math
from collections.abc import Callable
from pathlib import Path

import torch
from PIL import Image
from torch import Generator, Tensor
from torch.nn.functional import avg_pool2d

Texture = Callable[[int, int, Generator], Tensor]


def stripes(count: int, size: int, generator: Generator) -> Tensor:  # (N, S, S)
    """Slanted stripes of any phase."""
    y, x = _grid(size)
    phase = 2 * math.pi * torch.rand(count, 1, 1, generator=generator)
    return 0.5 + 0.35 * torch.sin(2 * math.pi * (x + 0.5 * y) / 8 + phase)


def weave(count: int, size: int, generator: Generator) -> Tensor:  # (N, S, S)
    """Threads that cross, of any phase."""
    y, x = _grid(size)
    across, along = 2 * math.pi * torch.rand(2, count, 1, 1, generator=generator)
    return 0.5 + 0.2 * torch.sin(2 * math.pi * x / 6 + across) + 0.2 * torch.sin(2 * math.pi * y / 6 + along)


def grain(count: int, size: int, generator: Generator) -> Tensor:  # (N, S, S)
    """Smooth noise."""
    noise = torch.rand(count, 1, size + 4, size + 4, generator=generator)
    return (0.5 + 2 * (avg_pool2d(noise, 5, 1)[:, 0] - 0.5)).clamp(0, 1)


def tiles(count: int, size: int, generator: Generator) -> Tensor:  # (N, S, S)
    """Tiles with dark joints."""
    y, x = _grid(size)
    off = torch.randint(0, 8, (2, count, 1, 1), generator=generator)
    joints = ((x + off[0]) % 8 < 1) | ((y + off[1]) % 8 < 1)
    return torch.where(joints, 0.2, 0.7)


TEXTURES: dict[str, Texture] = {each.__name__: each for each in (stripes, weave, grain, tiles)}
DEFECTS = ("scratch", "spot", "missing", "colour")
TINT = torch.tensor([1.0, 0.8, 0.6])


def textured(name: str, count: int, size: int, seed: int) -> Tensor:  # (N, S, S, 3) in [0, 1]
    """Images of a texture, tinted, each a little brighter or darker, with a little noise."""
    generator = torch.Generator().manual_seed(seed)
    light = 1 + 0.05 * torch.randn(count, 1, 1, 1, generator=generator)
    plain = TEXTURES[name](count, size, generator).unsqueeze(-1) * TINT * light
    return (plain + 0.03 * torch.randn(plain.shape, generator=generator)).clamp(0, 1)


def damaged(images: Tensor, kind: str, seed: int) -> tuple[Tensor, Tensor]:  # (N, S, S, 3) -> as well, (N, S, S) bool
    """Images with a defect each, and where it is: a bright line, a dark disc, a grey square, or a patch of red."""
    generator = torch.Generator().manual_seed(seed)
    count, size = images.shape[:2]
    y, x = _grid(size)
    middle = size * (0.2 + 0.6 * torch.rand(2, count, 1, 1, generator=generator))
    dy, dx = y - middle[0], x - middle[1]
    radius = size / 10
    if kind == "scratch":
        angle = math.pi * torch.rand(count, 1, 1, generator=generator)
        along, across = dx * angle.cos() + dy * angle.sin(), dy * angle.cos() - dx * angle.sin()
        mask, painted = (across.abs() < 0.8) & (along.abs() < 3 * radius), torch.full_like(images, 0.95)
    elif kind == "spot":
        mask, painted = dx.square() + dy.square() < radius**2, torch.full_like(images, 0.05)
    elif kind == "missing":
        mask, painted = torch.maximum(dx.abs(), dy.abs()) < 1.3 * radius, torch.full_like(images, 0.5)
    else:
        shifted = images * torch.tensor([1.2, 0.5, 0.5])
        mask, painted = dx.square() + dy.square() < (1.5 * radius) ** 2, shifted.clamp(0, 1)
    return torch.where(mask.unsqueeze(-1), painted, images), mask


def _grid(size: int) -> tuple[Tensor, Tensor]:  # (S, 1), (S)
    line = torch.arange(size, dtype=torch.float32)
    return line.view(-1, 1), line


def as_bytes(images: Tensor) -> Tensor:  # (N, S, S, 3) in [0, 1] -> as well, uint8
    """Images as they are saved."""
    return (images * 255).round().byte()


def save(images: Tensor, folder: Path, ending: str = "") -> None:  # (N, S, S) or (N, S, S, 3) in [0, 1]
    """Write images as 000.png, 001.png, ..., with an ending of their names."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(as_bytes(images.float())):
        Image.fromarray(image.numpy()).save(folder / f"{number:03d}{ending}.png")


def write(root: Path, texture: str, size: int, train: int, test: int, seed: int) -> None:
    """Write `data` and `new` under a folder: `test` images of each kind, and a fifth as many of each kind in `new`."""
    data = root / "data"
    save(textured(texture, train, size, seed), data / "train" / "good")
    save(textured(texture, test, size, seed + 1), data / "test" / "good")
    mixed = [textured(texture, test // 5, size, seed + 2)]
    for number, kind in enumerate(DEFECTS, start=3):
        images, masks = damaged(textured(texture, test + test // 5, size, seed + number), kind, seed)
        save(images[:test], data / "test" / kind)
        save(masks[:test], data / "ground_truth" / kind, "_mask")
        mixed.append(images[test:])
    save(torch.cat(mixed), root / "new")


def main() -> None:
    """Write what the command line asks for."""
    parser = argparse.ArgumentParser(description="Write a folder of generated textures with defects.")
    parser.add_argument("root", type=Path, metavar="FOLDER")
    parser.add_argument("--texture", choices=TEXTURES, default="tiles")
    parser.add_argument("--size", type=int, default=256, help="pixels of a side")
    parser.add_argument("--train", type=int, default=60, help="good images to train on")
    parser.add_argument("--test", type=int, default=20, help="good images to judge by, and images of each defect")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    write(given.root, given.texture, given.size, given.train, given.test, given.seed)
    print(f"{given.root / 'data'}: {given.train} images to train on, {given.test} of each kind to judge by")
    print(f"{given.root / 'new'}: {5 * (given.test // 5)} images, {given.test // 5} of each kind in this order:")
    print(f"good, {', '.join(DEFECTS)}")


if __name__ == "__main__":
    main()
