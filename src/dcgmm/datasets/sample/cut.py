"""Cuts the bundled sample out of MNIST and FashionMNIST: `python -m dcgmm.datasets.sample.cut FOLDER`.

Takes the first images of every class in file order, mixed in blocks that hold each class once, so that every
stretch of the sample is balanced too. Prints the checksums that stand in the catalogue.
"""

import gzip
import hashlib
import sys
from pathlib import Path

import torch
from torch import Tensor

from dcgmm.datasets.catalogue import IDX_FILES, KNOWN
from dcgmm.datasets.files import store
from dcgmm.datasets.idx import encode
from dcgmm.datasets.loading import load


def balanced_order(labels: Tensor, count: int, classes: int, generator: torch.Generator) -> Tensor:
    """Indices of `count` images: the first of each class, mixed in blocks of one image a class, each block shuffled."""
    firsts = [torch.nonzero(labels == label)[: count // classes, 0] for label in range(classes)]
    blocks = torch.stack(firsts, dim=1)  # (count / classes, classes)
    order = torch.rand(blocks.shape, generator=generator, dtype=torch.float32).argsort(dim=1)
    return blocks.gather(1, order).flatten()


def main(folder: Path) -> None:
    """Cut the samples of both data sets into `folder`."""
    for name in ("mnist", "fashion_mnist"):
        generator = torch.Generator().manual_seed(0)
        data, sample = load(name), KNOWN[f"{name}_sample"]
        arrays = []
        for split, count in zip((data.train, data.test), sample.counts, strict=True):
            chosen = split[balanced_order(split.labels, count, len(sample.class_names), generator)]
            arrays += [chosen.images[..., 0].numpy(), chosen.labels.to(torch.uint8).numpy()]
        for file, array in zip(IDX_FILES, arrays, strict=True):
            content = encode(array)
            print(sample.name, file, hashlib.sha256(content).hexdigest())
            # Without a time in its header, the same images give the same file.
            store({f"{file}.gz": gzip.compress(content, mtime=0)}, folder / sample.folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
