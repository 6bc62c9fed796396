"""Data sets: where their files come from, how they are checked, read and cut into training and test images."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
