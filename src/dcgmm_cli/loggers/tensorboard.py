"""TensorBoard: event files in `<run>/tensorboard/`."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from torch.utils.tensorboard import SummaryWriter

from dcgmm_cli.loggers.base import LoggedRun


class TensorBoard:
    """Scalars, pictures, and the settings as text."""

    known_as = None  # its directory is all that it goes by

    def __init__(self, run: LoggedRun) -> None:
        self._writer = SummaryWriter(str(run.directory / "tensorboard"))
        settings = "\n".join(f"    {key}: {json.dumps(value)}" for key, value in run.settings.items())
        self._writer.add_text("settings", settings)

    def measured(self, step: int, values: Mapping[str, float]) -> None:
        """Add scalars."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def flush(self) -> None:
        """Write to the event file."""
        self._writer.flush()

    def finished(self, step: int, results: Mapping[str, float], files: Sequence[Path]) -> None:
        """Add figures as scalars under `result/`, and pictures."""
        self.measured(step, {f"result/{name}": value for name, value in results.items()})
        for path in files:
            if path.suffix == ".png":
                pixels = np.asarray(Image.open(path).convert("RGB"))
                self._writer.add_image(path.stem, pixels, step, dataformats="HWC")

    def close(self, status: str) -> None:
        """Close the event file, which has no status."""
        self._writer.close()


begin = TensorBoard
