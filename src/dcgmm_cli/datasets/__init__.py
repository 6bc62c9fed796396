"""Data sets: where their files come from, how they are checked, read and cut into training and test images.

Importing this package imports neither torchvision nor Pillow.
"""

from dcgmm_cli.datasets.loading import NAMES, load
from dcgmm_cli.datasets.split import ImageData, Split

__all__ = ["NAMES", "ImageData", "Split", "load"]
