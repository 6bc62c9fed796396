"""The model: layers, the stack, and the formulas they are made of. Knows neither configuration files nor runs."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
