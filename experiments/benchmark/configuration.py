"""The one configuration that serves all tasks, as `choosing.py` chose it, and what stands beside it."""

from pathlib import Path

from experiments.benchmark.tasks import TrainingSet

CONFIG_DIR = Path(__file__).parents[1] / "outliers" / "conf"  # architectures that are not of the paper
# Architectures, with the score that each votes by.
MEMBERS = {"2L-c": "ratio", "1L-outliers": "log_prob", "2L-outliers": "ratio"}
ARCHITECTURES = ("1L", "2L-a", "2L-b", "2L-d", "3L-a", "3L-b")  # the paper's others, by themselves; its 2L-e is a 2L-c
SECONDS = {
    "2L-c": 15.0,
    "1L-outliers": 8.0,
    "2L-outliers": 15.0,
    "3L-a": 45.0,
}  # expected, of a training; of others a few


def length(training: TrainingSet) -> str:
    """How long models train: 25 epochs, and at least 3,600 steps; 14,400 images are as many in batches of 100."""
    few = training.classes is not None and len(training.classes) < 3  # of some 6,000 images
    return "trainer.steps=3600" if few else "trainer.epochs=25"
