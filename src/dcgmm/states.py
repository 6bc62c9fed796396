"""Models as plain state dicts of tensors and built-ins, and back."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from dcgmm.errors import InputError
from dcgmm.model.options import Architecture, GMMOptions
from dcgmm.model.stack import DCGMM
from dcgmm.options import made, plain


def model_state(model: DCGMM) -> dict[str, Any]:
    """All that a model is made of again, as tensors and built-ins."""
    (state,) = model_states(model)
    return state


def model_states(model: DCGMM) -> list[dict[str, Any]]:
    """The `model_state` of each of the models of batch_shape (R,), or of the one of batch_shape ()."""
    gmm = next(iter(model.gmms.values()))
    about = {
        "input_shape": list(model.input_shape),
        "architecture": plain(model.architecture),
        "gmm": plain(gmm.options),
        "dtype": str(model.dtype).removeprefix("torch."),
    }
    models = range(*model.batch_shape) if model.batch_shape else [...]
    # Row by row, however they lie in memory: what is read back must be.
    return [
        {
            **about,
            "parameters": {
                name: value.detach()[number].clone(memory_format=torch.contiguous_format)
                for name, value in model.state_dict().items()
            },
        }
        for number in models
    ]


def build_model(state: dict[str, Any]) -> DCGMM:
    """The model of a `model_state`, with its parameters.

    Raises:
        InputError: its parts do not fit each other.
    """
    architecture, gmm = made(Architecture, state["architecture"]), made(GMMOptions, state["gmm"])
    if state["dtype"] not in ("float32", "float64"):
        raise InputError(f"parameters of type {state['dtype']}, not float32 or float64")
    with torch.device("meta"):  # no memory is taken for what does not fit
        expected = DCGMM.build(state["input_shape"], architecture, gmm).state_dict()
    parameters = state["parameters"]
    _check_parameters(parameters, {name: tuple(value.shape) for name, value in expected.items()})
    model = DCGMM.build(state["input_shape"], architecture, gmm).to(getattr(torch, state["dtype"]))
    model.load_state_dict(parameters)
    if bad := [name for name, each in model.gmms.items() if not (each.precision_sqrt > 0).all()]:
        raise InputError(f"standard deviations that are not positive in {', '.join(bad)}")
    return model


def _check_parameters(given: Mapping[str, Any], expected: Mapping[str, tuple[int, ...]]) -> None:
    """Compare parameters with what a model has.

    Raises:
        InputError: one is missing or of another shape or type, or not finite.
    """
    if given.keys() != expected.keys():
        raise InputError(f"parameters {', '.join(sorted(map(str, given)))}, not {', '.join(sorted(expected))}")
    for name, shape in expected.items():
        value = given[name]
        if not isinstance(value, Tensor) or tuple(value.shape) != shape:
            raise InputError(f"parameter {name} of shape {list(getattr(value, 'shape', []))}, not {list(shape)}")
        if not value.is_floating_point():
            raise InputError(f"parameter {name} of type {str(value.dtype).removeprefix('torch.')}, not of floats")
        if not bool(value.isfinite().all()):
            raise InputError(f"NaN or infinite values in {name}")
