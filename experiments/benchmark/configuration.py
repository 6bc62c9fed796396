"""The one configuration that serves all tasks, as `choosing.py` chose it."""

from pathlib import Path

from experiments.benchmark.tasks import TrainingSet

CONFIG_DIR = Path(__file__).parents[1] / "outliers" / "conf"  # architectures that are not of the paper
MEMBERS = {"2L-c": "ratio", "1L-outliers": "log_prob"}  # architectures, with the score that each votes by
SECONDS = {"2L-c": 15.0, "1L-outliers": 8.0}  # expected, of a training


def length(training: TrainingSet) -> str:
    """How long models train: 25 epochs, and at least 3,600 steps; 14,400 images are as many in batches of 100."""
    few = training.classes is not None and len(training.classes) < 3  # of some 6,000 images
    return "trainer.steps=3600" if few else "trainer.epochs=25"
