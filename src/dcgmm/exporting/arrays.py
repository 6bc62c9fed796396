"""A model's arrays by name, in .npz or .safetensors files.

For each GMM layer, with K components, D features of a patch (row, column, channel; the channel fastest), L factors:

    gmm1.log_weights     (K,)       log mixture weights
    gmm1.loc             (K, D)     centroids mu
    gmm1.precision_sqrt  (K, D)     d; without factors 1 / standard deviation
    gmm1.factors         (K, D, L)  G, where the layer has any: the precision of component k is diag(d^2) - G G^T

with (H, W) before these shapes where each position has parameters of its own. Of a detector: `positions.gmm1.mean` and
`.std` (H, W), log-likelihood over the training images at each position, (1, 1) where positions are pooled;
`images.joint.mean` and `.std` (), of each score; unless they are pooled `pixels.weights` (K,), `pixels.mean` and
`pixels.variance` (K, F), the mixture of square roots of pixels. A text `description` (in a safetensors file its
metadata) holds, as JSON, `layers` from below, `input_shape` (H, W, C), `exponent`, to which pixel values in [0, 1] are
raised first, and the version.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

import dcgmm
from dcgmm.errors import InputError, OptionError
from dcgmm.files import write_whole
from dcgmm.model.factor_gmm import FactorGMM
from dcgmm.model.stack import DCGMM
from dcgmm.options import plain
from dcgmm.outliers.detector import Detector
from dcgmm.outliers.moments import deviation

ENDINGS = (".npz", ".safetensors")


def arrays(model: DCGMM, detector: Detector | None = None) -> dict[str, NDArray[Any]]:
    """A model's arrays, and those of its detector, by name.

    Args:
        model: the model, one (no batch_shape).
        detector: of the model; None leaves it out.

    Raises:
        InputError: the model is several, side by side.

    Examples:
        >>> import dcgmm
        >>> model = dcgmm.DCGMM.build((28, 28, 1), dcgmm.arch("1L"))
        >>> {name: array.shape for name, array in dcgmm.exporting.arrays(model).items()}
        {'gmm1.log_weights': (25,), 'gmm1.loc': (25, 784), 'gmm1.precision_sqrt': (25, 784)}
    """
    if model.batch_shape:
        raise InputError(f"one model is exported at a time, this one holds {list(model.batch_shape)} side by side")
    found: dict[str, Tensor] = {}
    for name, gmm in model.gmms.items():
        parts = {"log_weights": gmm.log_weights, "loc": gmm.loc, "precision_sqrt": gmm.precision_sqrt}
        if isinstance(gmm, FactorGMM) and gmm.has_factors:
            parts["factors"] = gmm.factors
        found |= {f"{name}.{key}": part for key, part in parts.items()}
    if detector is not None:
        for group, moments in (("positions", detector.positions), ("images", detector.images)):
            for name, each in moments.items():
                found |= {f"{group}.{name}.mean": each.mean, f"{group}.{name}.std": deviation(each)}
        mixture = {} if detector.pixels is None else detector.pixels.state_dict()
        found |= {f"pixels.{key}": part for key, part in mixture.items()}
    return {name: np.ascontiguousarray(part.detach().cpu().numpy()) for name, part in found.items()}


def save_arrays(model: DCGMM, path: str | Path, detector: Detector | None = None) -> None:
    """Write a model's arrays, whole or not at all; the name's ending, .npz or .safetensors, says how.

    Args:
        model: the model, one (no batch_shape).
        path: of the file.
        detector: of the model; None leaves it out.

    Raises:
        InputError: the file cannot be written, safetensors is not installed, or the model is several, side by side.
        OptionError: the ending is another.

    Examples:
        >>> import tempfile
        >>> import dcgmm
        >>> import numpy as np
        >>> model = dcgmm.DCGMM.build((28, 28, 1), dcgmm.arch("1L"))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     dcgmm.exporting.save_arrays(model, f"{folder}/model.npz")
        ...     print(np.load(f"{folder}/model.npz")["gmm1.loc"].shape)
        (25, 784)
    """
    path, content = Path(path), arrays(model, detector)
    if path.suffix == ".npz":
        named: dict[str, Any] = {"description": np.array(description(model)), **content}
        write_whole(path, lambda file: np.savez(file, **named))
    elif path.suffix == ".safetensors":
        try:
            from safetensors.numpy import save
        except ImportError:
            raise InputError("safetensors is not installed: pip install 'dcgmm[export]', or take .npz") from None
        data = save(content, {"description": description(model)})
        write_whole(path, lambda file: file.write(data))
    else:
        raise OptionError("path", f"a file that ends in {' or '.join(ENDINGS)}", str(path))


def description(model: DCGMM) -> str:
    """What the arrays are of, as JSON."""
    layers = [
        {key: value for key, value in plain(layer).items() if value is not None} for layer in model.architecture.layers
    ]
    about = {"dcgmm": dcgmm.__version__, "input_shape": list(model.input_shape), "exponent": model.exponent}
    return json.dumps({**about, "layers": layers})
