"""Judge a clustering: separation of the clusters, agreement with classes, merging of components, peers.

Shapes: N samples, F features of a sample (pixels or responsibilities), K components, M clusters, G classes.
A cluster is a label in use: labels are any integers, and gaps (components without samples) count nowhere.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
