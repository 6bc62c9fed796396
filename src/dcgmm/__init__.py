"""Deep Convolutional Gaussian Mixture Models: train, sample, judge.

Names are loaded when they are first used: `import dcgmm` alone imports neither torch nor NumPy.

Examples:
    >>> import dcgmm
    >>> data = dcgmm.datasets.load("mnist_sample", classes=[0, 1, 2], limit=200)
    >>> model = dcgmm.DCGMM.build((28, 28, 1), dcgmm.arch("2L-b"))
    >>> history = dcgmm.fit(model, data.train.images, epochs=2, seed=0)
    >>> model.log_prob(data.test.images).shape
    torch.Size([150])
"""

import os

import lazy_loader

__version__ = "0.2.0"

# How long OpenMP's threads wait for the next parallel section before they sleep. By default they go on for
# milliseconds, and on a machine that is busy with other things each section then waits for a thread that cannot run.
# OpenMP reads it when it is loaded: with torch, or with the compiled passes.
os.environ.setdefault("GOMP_SPINCOUNT", "3000")

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
