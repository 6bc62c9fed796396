"""scikit-learn estimators: a mixture, an outlier detector and a classifier, on images or on plain feature vectors."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
