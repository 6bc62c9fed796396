from .arrays import arrays as arrays
from .arrays import save_arrays as save_arrays
from .detector import save_onnx as save_onnx
