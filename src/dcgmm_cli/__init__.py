"""Deep Convolutional Gaussian Mixture Models: train, sample, judge."""

__version__ = "0.1.0"
