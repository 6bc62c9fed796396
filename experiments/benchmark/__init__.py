"""Outlier detectors on the field's tasks, peers on the same images, the page (`python -m experiments.benchmark -h`)."""
