"""Checkpoints: a plain state dict of tensors and built-ins, loaded with `weights_only=True`."""

from pathlib import Path
from typing import Any

import torch

from dcgmm_cli.errors import UserError
from dcgmm_cli.model import DCGMM, GMMOptions
from dcgmm_cli.runs import CHECKPOINT, write_whole

FORMAT = 1


def save_checkpoint(directory: Path, state: dict[str, Any]) -> None:
    """Write a run's checkpoint, whole or not at all, over the one before."""
    write_whole(directory / CHECKPOINT, lambda file: torch.save({"format": FORMAT, **state}, file))


def load_checkpoint(directory: Path) -> dict[str, Any]:
    """State that `save_checkpoint` wrote, with all tensors on the CPU.

    Raises:
        UserError: there is no checkpoint, it is damaged, or its format version is another.
    """
    path = directory / CHECKPOINT
    if not path.is_file():
        raise UserError(f"{directory} has no checkpoint ({CHECKPOINT}): train it first, or give another run")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever torch's unpickler comes across in a damaged file
        raise UserError(f"{path} is damaged and cannot be read ({type(error).__name__}); train the run again") from None
    version = state.get("format") if isinstance(state, dict) else None
    if version != FORMAT:
        raise UserError(f"{path} has checkpoint format {version}, this dcgmm reads format {FORMAT}; train it again")
    assert isinstance(state, dict)
    return state


def build_model(state: dict[str, Any]) -> DCGMM:
    """The model that a checkpoint holds, with its parameters."""
    config = state["config"]
    model = DCGMM.build(state["input_shape"], config["arch"]["layers"], GMMOptions(**config["gmm"]))
    model.to(getattr(torch, config["trainer"]["dtype"]))
    model.load_state_dict(state["model"])
    return model
