"""Outliers: scores of images and of positions in them, thresholds, where an image differs, figures of detection."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
