"""A whole outlier detector as an ONNX graph: images in; score, verdict and map out.

What `outliers.detector` computes with torch, operator by operator: preparation of the pixels, layers, scores,
standardisation and threshold. Shapes: N images, H W positions of a layer, D features of a patch, K components.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import dcgmm
from dcgmm.errors import OptionError
from dcgmm.exporting.graph import Graph
from dcgmm.files import write_whole
from dcgmm.model.factor_gmm import FactorGMM
from dcgmm.model.factors import factor_parameters
from dcgmm.model.folding import Folding
from dcgmm.model.gaussian import natural_parameters
from dcgmm.model.gmm import GMM
from dcgmm.model.pooling import Pooling
from dcgmm.model.shapes import Shape, Window
from dcgmm.outliers.detector import Detector
from dcgmm.outliers.localisation import nearest_positions
from dcgmm.outliers.moments import Moments, deviation
from dcgmm.outliers.pixels import PixelMixture
from dcgmm.outliers.ratio import arrangement
from dcgmm.outliers.scores import localising, region

PIXELS = ("uint8", "float32")


def save_onnx(
    detector: Detector, path: str | Path, score: str = "joint", c: float = 1.5, pixels: str = "uint8"
) -> None:
    """Write a detector as an ONNX file, whole or not at all.

    Its input `images` is (N, H, W, C), any N; its outputs are `score` (N,), `standardised` (N,), the score in training
    standard deviations from its training mean, `outlier` (N,), whether that is under -c, and `map` (N, H, W), at each
    pixel the smallest standardised log-likelihood of the layers that say where.

    Args:
        detector: of one model.
        path: of the file.
        score: that decides, one of `detector.names` but auto, or log_prob and standardised of the top layer.
        c: an outlier scores less than mean - c standard deviations of the training images' scores.
        pixels: type of the input: uint8, or float32 in [0, 1].

    Raises:
        InputError: onnx is not installed, or the file cannot be written.
        OptionError: there is no such score or type.

    Examples:
        >>> import os, tempfile
        >>> import dcgmm
        >>> model = dcgmm.DCGMM.build((28, 28, 1), dcgmm.arch("2L-b"))
        >>> detector = dcgmm.Detector.fit(model, dcgmm.datasets.load("mnist_sample", limit=50).train.images)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     dcgmm.exporting.save_onnx(detector, f"{folder}/detector.onnx", score="joint", c=1.5)
        ...     print(os.listdir(folder))
        ['detector.onnx']
    """
    content = onnx_detector(detector, score, c, pixels)
    write_whole(Path(path), lambda file: file.write(content))


@torch.no_grad()
def onnx_detector(detector: Detector, score: str = "joint", c: float = 1.5, pixels: str = "uint8") -> bytes:
    """The content of the file that `save_onnx` writes; arguments and errors as there."""
    if pixels not in PIXELS:
        raise OptionError("pixels", f"one of {', '.join(PIXELS)}", pixels)
    name, shape = detector.name_of(score), detector.model.input_shape
    if name == "auto":
        raise OptionError("score", "another score: auto cannot be exported", score)
    writer = _Writer(detector)
    graph = writer.graph
    x = graph.cast("images", writer.dtype)
    if pixels == "uint8":
        x = graph.op("Mul", x, np.array(1 / 255, writer.dtype))
    scores, maps = writer.scores(x)
    standardised = writer.standardised(scores[name], detector.images[name])
    graph.op("Identity", scores[name], output="score")
    graph.op("Identity", standardised, output="standardised")
    graph.op("Less", standardised, np.array(-c), output="outlier")
    graph.op("Identity", writer.pixel_map(maps), output="map")
    threshold = detector.threshold(name, c)
    about = {"dcgmm": dcgmm.__version__, "score": name, "c": f"{c:g}", "threshold": repr(threshold)}
    about["architecture"] = str(detector.model.architecture)
    outputs = {
        "score": (np.float64, ()),
        "standardised": (np.float64, ()),
        "outlier": (np.bool_, ()),
        "map": (np.float64, (shape.height, shape.width)),
    }
    return graph.model(("images", pixels, shape), outputs, about)


class _Writer:
    """Puts a detector's graph together."""

    def __init__(self, detector: Detector) -> None:
        self.detector, self.model, self.graph = detector, detector.model, Graph()
        self.dtype: Any = np.float64 if self.model.dtype is torch.float64 else np.float32

    def scores(self, images: str) -> tuple[dict[str, str], dict[str, str]]:
        """All scores (N,) by name, and standardised log-likelihoods (N, H, W) by layer, float64."""
        graph, scores, maps = self.graph, dict[str, str](), dict[str, str]()
        likelihoods, patches = self._layers(images)
        for name, likelihood in likelihoods.items():
            maps[name] = self.standardised(likelihood, self.detector.positions[name])
            scores[f"{name}_log_prob"] = graph.reduce("ReduceMean", likelihood, 1, 2)
            scores[f"{name}_standardised"] = graph.reduce("ReduceMean", maps[name], 1, 2)
        top = list(likelihoods)[-1]
        scores["ratio"] = scores[f"{top}_standardised"] if len(maps) == 1 else self._ratio(patches)
        scores["worst"] = self._least(
            [graph.reduce("ReduceMin", each, 1, 2) for each in self._localising(maps).values()]
        )
        if self.detector.pixels is not None:
            scores["pixels"] = self._pixels(images, self.detector.pixels)
        scores["worst_region"] = self._least([self._region(*each) for each in self._localising(maps).items()])
        parts = [
            self.standardised(scores[name], self.detector.images[name]) for name in (f"{top}_standardised", "ratio")
        ]
        scores["joint"] = self._least(parts)
        return scores, maps

    def _layers(self, images: str) -> tuple[dict[str, str], str]:
        """Log-likelihoods (N, H, W) of each GMM layer, float64; what the top one sees, (N, P, cells, C)."""
        graph, x, found = self.graph, self._seen(images), dict[str, str]()
        first = self.model.input_shape
        cells = graph.reshape(x, -1, first.positions, 1, first.channels)
        for name, layer in self.model.named_layers.items():
            if isinstance(layer, GMM):
                last = cells
                joint = self._component_scores(layer, graph.reshape(cells, -1, *_rows(layer.input_shape)))
                likelihood = graph.log_sum_exp(graph.cast(joint, np.float64))
                found[name] = graph.reshape(likelihood, -1, *layer.output_shape[:2])
                x = graph.op("Softmax", joint, axis=-1)
            else:
                partial = isinstance(layer, Pooling)
                cells = graph.windows(x, layer.input_shape, layer.window, partial=partial)
                shape = layer.output_shape
                x = graph.reduce("ReduceMax", cells, 2) if partial else graph.reshape(cells, -1, *_rows(shape))
            if not isinstance(layer, Folding):
                cells = graph.reshape(x, -1, layer.output_shape.positions, 1, layer.output_shape.channels)
        return found, last

    def _region(self, name: str, values: str) -> str:  # (N, H, W) -> (N,)
        """The smallest mean of a window, as `scores.worst_region`."""
        (height, width, _), graph = self.model.gmms[name].output_shape, self.graph
        windows = graph.windows(values, (height, width, 1), Window(region((height, width)), (1, 1)))
        return graph.reduce("ReduceMin", graph.reduce("ReduceMean", windows, 2, 3), 1)

    def _seen(self, images: str) -> str:
        if self.model.exponent == 1:
            return images
        tiny = np.array(np.finfo(self.dtype).tiny, self.dtype)
        return self.graph.op("Pow", self.graph.op("Max", images, tiny), np.array(self.model.exponent, self.dtype))

    def _component_scores(self, gmm: GMM, rows: str) -> str:  # (N, P, D) -> (N, P, K)
        """log pi_k + log N_k of every patch."""
        graph, positions = self.graph, gmm.output_shape.positions
        log_weights, loc = _of_positions(gmm, gmm.log_weights), _of_positions(gmm, gmm.loc)
        precision_sqrt = _of_positions(gmm, gmm.precision_sqrt)
        natural = natural_parameters(log_weights, loc, precision_sqrt)
        # Positions with parameters of their own have a product each.
        x = rows if gmm.shared else graph.reshape(rows, -1, positions, 1, gmm.input_shape.channels)
        constant = natural.constant if gmm.shared else natural.constant.unsqueeze(-2)
        scores = self._quadratic(x, natural.linear, natural.precision, constant)
        scores = graph.reshape(scores, -1, positions, gmm.components)
        if not (isinstance(gmm, FactorGMM) and gmm.has_factors):
            return scores
        parameters = factor_parameters(loc, precision_sqrt, _of_positions(gmm, gmm.factors))
        maps, offset = parameters.rows.flatten(-3, -2).mT, parameters.offset.flatten(-2)  # (..., D, L K), (..., L K)
        product = graph.op("MatMul", x, self._array(maps))
        z = graph.op("Sub", product, self._array(offset if gmm.shared else offset.unsqueeze(-2)))
        z = graph.reshape(z, -1, positions, *parameters.offset.shape[-2:])
        squares = graph.reduce("ReduceSum", graph.op("Mul", z, z), 2)
        both = graph.op("Add", squares, self._array(parameters.log_det))
        return graph.op("Add", scores, graph.op("Mul", both, np.array(0.5, self.dtype)))

    def _quadratic(self, x: str, linear: Tensor, precision: Tensor, constant: Tensor) -> str:  # (..., D) -> (..., K)
        graph = self.graph
        first = graph.op("MatMul", x, self._array(linear.mT))
        second = graph.op("MatMul", graph.op("Mul", x, x), self._array(-0.5 * precision.mT))
        return graph.op("Add", graph.op("Add", first, second), self._array(constant))

    def _ratio(self, cells: str) -> str:  # (N, P, cells, J) -> (N,)
        """Mean over the top layer's positions of `ratio.log_ratio`."""
        graph, (*_, under, top) = self.graph, self.model.gmms.values()
        expected, overall = (_of_positions(top, each) for each in arrangement(top, under.components))
        overall = overall if top.shared else overall.unsqueeze(-2)
        floor = np.array(torch.finfo(self.model.dtype).tiny, self.dtype)
        shape = (top.output_shape.positions, expected.shape[-3], under.components)
        parts = graph.reshape(cells, -1, *shape)
        positive = graph.op("Max", parts, np.array(0, self.dtype))
        total = graph.op("Max", graph.reduce("ReduceSum", positive, -1, keepdims=True), floor)
        shares = graph.op("Div", graph.op("Div", positive, total), self._array(overall))
        rows = graph.reshape(shares, -1, *shape[:2], 1, shape[2])
        likelihood = graph.op("Max", graph.op("MatMul", rows, self._array(expected.mT)), floor)
        joint = graph.reduce("ReduceSum", graph.op("Log", likelihood), 2, 3)  # over cells: (N, P, K)
        weighted = graph.op("Add", joint, self._array(_of_positions(top, top.log_weights)))
        return graph.reduce("ReduceMean", graph.log_sum_exp(graph.cast(weighted, np.float64)), 1)

    def _pixels(self, images: str, mixture: PixelMixture) -> str:
        """Log-likelihood of the square roots of the pixels."""
        graph = self.graph
        x = graph.op("Sqrt", graph.op("Max", images, np.array(0, self.dtype)))
        natural = natural_parameters(mixture.weights.log(), mixture.mean, mixture.variance.rsqrt())
        rows = graph.reshape(x, -1, mixture.mean.shape[1])
        scores = self._quadratic(rows, natural.linear, natural.precision, natural.constant)
        return graph.log_sum_exp(graph.cast(scores, np.float64))

    def standardised(self, values: str, moments: Moments) -> str:
        """Values in standard deviations from their mean; 0 where one never varied and is as it always was."""
        graph, std = self.graph, deviation(moments).double()
        difference = graph.op("Sub", values, self._array(moments.mean))
        quotient = graph.op("Div", difference, self._array(std))
        if bool((std > 0).all()):
            return quotient
        zero = np.array(0.0)
        return graph.op("Where", graph.op("Equal", difference, zero), zero, quotient)

    def _localising(self, maps: Mapping[str, str]) -> dict[str, str]:
        shapes = {name: torch.empty(1, *self.model.gmms[name].output_shape[:2]) for name in maps}
        return {name: maps[name] for name in localising(shapes)}

    def pixel_map(self, maps: Mapping[str, str]) -> str:
        """At each pixel the smallest value among the nearest positions of the layers that say where."""
        found, (height, width, _) = [], self.model.input_shape
        for name, values in self._localising(maps).items():
            rows, columns = (each.numpy() for each in nearest_positions(self.model, name))
            shape = self.model.gmms[name].output_shape
            index = rows[:, None] * shape.width + columns  # (Y, X)
            found.append(self.graph.op("Gather", self.graph.reshape(values, -1, shape.positions), index, axis=1))
        return self.graph.reshape(self._least(found), -1, height, width)

    def _least(self, values: list[str]) -> str:
        return self.graph.op("Min", *values) if len(values) > 1 else values[0]

    @staticmethod
    def _array(values: Tensor) -> NDArray[Any]:
        array: NDArray[Any] = values.detach().cpu().numpy()
        return array


def _of_positions(gmm: GMM, parameter: Tensor) -> Tensor:  # (K, ...) or (H, W, K, ...) -> (K, ...) or (P, K, ...)
    """A parameter of a layer, position after position where each has its own."""
    return parameter if gmm.shared else parameter.flatten(0, 1)


def _rows(shape: Shape) -> tuple[int, int]:
    """Positions and channels."""
    return shape.positions, shape.channels
