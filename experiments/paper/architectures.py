"""Table 1: the architectures as they are configured, and what the paper prints."""

import dcgmm
from dcgmm.errors import InputError
from dcgmm.model import DCGMM, GMM, LayerOptions, LayerType
from experiments.paper.items import Item, Row
from experiments.paper.published import TABLE_1

IMAGE_SHAPE = (28, 28, 1)


def architectures() -> Item:
    """Layers, shapes, positions, parameters and FLOPs of the eight configured architectures."""
    rows: list[Row] = []
    for arch in TABLE_1:
        configured = dcgmm.arch(arch)
        layers = DCGMM.build(IMAGE_SHAPE, configured).named_layers.values()
        for number, (description, layer) in enumerate(zip(configured.layers, layers, strict=True), start=1):
            height, width, channels = layer.output_shape
            row = {
                "arch": arch,
                "number": number,
                "layer": str(description),
                "height": height,
                "width": width,
                "channels": channels,
                "parameters": 0,
                "flops": 0,
            }
            if isinstance(layer, GMM):
                row["parameters"] = sum(value.numel() for value in layer.parameters())
                row["flops"] = 4 * height * width * layer.loc.numel()
            rows.append(row)
    return Item(rows, {"as_printed": _unbuildable()})


def _unbuildable() -> dict[str, str]:
    """Architectures that cannot be built as the paper prints them, with the reason."""
    found = {}
    for arch, printed in TABLE_1.items():
        try:
            DCGMM.build(IMAGE_SHAPE, [parse_layer(name) for name in printed.split()])
        except InputError as error:
            found[arch] = str(error)
    return found


def parse_layer(name: str) -> LayerOptions:
    """A layer as table 1 writes it."""
    kind, numbers = name[0], [int(number) for number in name[2:-1].split(",")]
    match kind:
        case "F":
            return LayerOptions(LayerType.folding, kernel=numbers[:2], stride=numbers[2:])
        case "P":
            return LayerOptions(LayerType.pooling, kernel=numbers)
        case _:
            return LayerOptions(LayerType.gmm, components=numbers[0])
