"""Trained models for programs that know no torch: arrays, and the outlier detector as an ONNX graph."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
