"""Classes of images from a model that was trained without labels: by Bayes' rule, or by a linear readout."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
