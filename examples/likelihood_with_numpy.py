"""Log-likelihoods of a model that `dcgmm export format=npz` wrote, with NumPy alone.

python examples/likelihood_with_numpy.py model.npz images.npy    # (N, H, W, C) or (N, H, W), uint8
"""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]


def log_likelihoods(
    model: Mapping[str, NDArray[Any]], images: NDArray[np.uint8]
) -> dict[str, Array]:  # (N, H, W, C) -> (N, H', W') each
    """Log-likelihood of each GMM layer at each of its positions, in nats."""
    about = json.loads(str(model["description"]))
    x = (images.reshape(len(images), *about["input_shape"]) / 255.0) ** about["exponent"]
    found: dict[str, Array] = {}
    for layer in about["layers"]:
        if layer["type"] == "folding":
            x = windows(x, layer["kernel"], layer["stride"])
            x = x.reshape(*x.shape[:3], -1)
        elif layer["type"] == "pooling":
            stride = layer.get("stride", layer["kernel"])
            x = np.nanmax(windows(padded(x, layer["kernel"], stride), layer["kernel"], stride), axis=(3, 4))
        else:
            name = f"gmm{len(found) + 1}"
            scores = component_scores(x, {key: model[f"{name}.{key}"] for key in PARTS if f"{name}.{key}" in model})
            largest = scores.max(-1, keepdims=True)
            found[name] = (largest + np.log(np.exp(scores - largest).sum(-1, keepdims=True)))[..., 0]
            x = np.exp(scores - found[name][..., None])  # responsibilities
    return found


PARTS = ("log_weights", "loc", "precision_sqrt", "factors")


def component_scores(x: Array, part: Mapping[str, Array]) -> Array:  # (N, H, W, D) -> (N, H, W, K)
    """log pi_k + log N_k(x), of precision diag(d_k^2) - G_k G_k^T."""
    difference = x[..., None, :] - part["loc"]  # (N, H, W, K, D)
    precision = part["precision_sqrt"].astype(np.float64) ** 2
    quadratic = (precision * difference**2).sum(-1)
    log_det = np.log(precision).sum(-1)
    if "factors" in part:
        factors = part["factors"]  # (K, D, L); (H, W, K, D, L) where each position has its own
        quadratic = quadratic - (np.einsum("...kd,...kdl->...kl", difference, factors) ** 2).sum(-1)
        inner = np.eye(factors.shape[-1]) - np.einsum("...kdl,...kd,...kdm->...klm", factors, 1 / precision, factors)
        log_det = log_det + np.linalg.slogdet(inner)[1]
    scores: Array = part["log_weights"] + 0.5 * (log_det - quadratic - x.shape[-1] * np.log(2 * np.pi))
    return scores


def windows(x: Array, kernel: Sequence[int], stride: Sequence[int]) -> Array:  # (N, H', W', kh, kw, C)
    """What a window sees at each of its positions."""
    seen = np.lib.stride_tricks.sliding_window_view(x, tuple(kernel), axis=(1, 2))
    return np.moveaxis(seen[:, :: stride[0], :: stride[1]], 3, -1)


def padded(x: Array, kernel: Sequence[int], stride: Sequence[int]) -> Array:
    """x with NaN beside it, for last windows that jut out."""
    more = [max(0, -(size - k) % s) for size, k, s in zip(x.shape[1:3], kernel, stride, strict=True)]
    more = [0 if extra and k <= extra else extra for extra, k in zip(more, kernel, strict=True)]
    return np.pad(x, [(0, 0), (0, more[0]), (0, more[1]), (0, 0)], constant_values=np.nan)


if __name__ == "__main__":
    for name, values in log_likelihoods(np.load(sys.argv[1]), np.load(sys.argv[2])).items():
        print(f"{name}: {values.mean():.4f} nats, mean over images and positions")
