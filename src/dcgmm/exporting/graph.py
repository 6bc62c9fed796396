"""An ONNX graph, put together node by node.

Shapes: N images, H W positions, C channels.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcgmm.errors import InputError
from dcgmm.model.shapes import Window

OPSET, IR_VERSION = 17, 8  # what runtimes since 2022 read


class Graph:
    """Nodes and constants; every method adds some and returns the name of what they give."""

    def __init__(self) -> None:
        try:
            import onnx
        except ImportError:
            raise InputError("onnx is not installed: pip install 'dcgmm[onnx]'") from None
        self._onnx = onnx
        self._nodes: list[Any] = []
        self._constants: dict[str, Any] = {}

    def op(self, kind: str, *inputs: "str | NDArray[Any]", output: str = "", **attributes: Any) -> str:
        """An operator's output; arrays among its inputs become constants."""
        output = output or f"{kind.lower()}_{len(self._nodes)}"
        names = [each if isinstance(each, str) else self._constant(each) for each in inputs]
        self._nodes.append(self._onnx.helper.make_node(kind, names, [output], **attributes))
        return output

    def _constant(self, array: NDArray[Any]) -> str:
        name = f"constant_{len(self._constants)}"
        self._constants[name] = self._onnx.numpy_helper.from_array(np.ascontiguousarray(array), name)
        return name

    def cast(self, x: str, dtype: Any) -> str:
        """x as another number type."""
        return self.op("Cast", x, to=self._onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    def reshape(self, x: str, *shape: int) -> str:
        """x of another shape; -1 for the images."""
        return self.op("Reshape", x, np.array(shape, np.int64))

    def reduce(self, kind: str, x: str, *axes: int, keepdims: bool = False) -> str:
        """ReduceMean, ReduceMin, ReduceMax or ReduceSum over some axes."""
        if kind == "ReduceSum":  # whose axes are an input by now
            return self.op(kind, x, np.array(axes, np.int64), keepdims=int(keepdims))
        return self.op(kind, x, axes=list(axes), keepdims=int(keepdims))

    def log_sum_exp(self, x: str) -> str:
        """log sum exp over the last axis, which no large value overflows."""
        largest = self.reduce("ReduceMax", x, -1, keepdims=True)
        total = self.reduce("ReduceSum", self.op("Exp", self.op("Sub", x, largest)), -1)
        return self.op("Add", self.op("Log", total), self.op("Squeeze", largest, np.array([-1], np.int64)))

    def windows(self, x: str, shape: Sequence[int], window: Window, *, partial: bool = False) -> str:
        """(N, H, W, C) of a shape (H, W, C) -> (N, P, kh kw, C), the window at its P positions.

        A partial window, which juts out, has its first cell in place of those that lie outside.
        """
        height, width, channels = shape
        index = window_index(height, width, window, partial=partial)
        return self.op("Gather", self.reshape(x, -1, height * width, channels), index, axis=1)

    def model(
        self,
        image: tuple[str, Any, Sequence[int]],
        outputs: Mapping[str, tuple[Any, Sequence[int]]],
        about: Mapping[str, str],
    ) -> bytes:
        """The graph as a file's content.

        Args:
            image: name, number type and shape of an image, the input.
            outputs: of each output number type and shape, for an image.
            about: metadata, as texts.
        """
        helper = self._onnx.helper

        def value(name: str, dtype: Any, shape: Sequence[int]) -> Any:
            kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
            return helper.make_tensor_value_info(name, kind, ["N", *shape])

        graph = helper.make_graph(
            self._nodes,
            "dcgmm",
            [value(*image)],
            [value(name, *kind) for name, kind in outputs.items()],
            list(self._constants.values()),
        )
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="dcgmm"
        )
        helper.set_model_props(model, dict(about))
        self._onnx.checker.check_model(model)
        content: bytes = model.SerializeToString()
        return content


def window_index(height: int, width: int, window: Window, *, partial: bool = False) -> NDArray[np.int64]:
    """Places in a map, row by row, of the cells of a window at each of its positions: (P, kh kw)."""
    (kh, kw), (sh, sw) = window.kernel, window.stride
    rows, columns = window.positions(height, width, partial=partial)
    down = np.arange(rows)[:, None] * sh + np.arange(kh)  # (H', kh)
    along = np.arange(columns)[:, None] * sw + np.arange(kw)
    down = np.where(down < height, down, down[:, :1])
    along = np.where(along < width, along, along[:, :1])
    index = down[:, None, :, None] * width + along[None, :, None, :]  # (H', W', kh, kw)
    return index.reshape(rows * columns, math.prod(window.kernel)).astype(np.int64)
