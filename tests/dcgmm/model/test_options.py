import math
from typing import Any

import pytest

from dcgmm.errors import InputError, OptionError
from dcgmm.model.options import Architecture, GMMOptions, LayerOptions, LayerType, SharpeningPreset, Start
from dcgmm.options import made, plain
from tests.refusals import check_option, option_refused


@pytest.mark.parametrize(
    ("fields", "notation"),
    [
        ({"type": "folding", "kernel": [7, 6], "stride": [3, 2]}, "F(7,6,3,2)"),
        ({"type": "folding", "kernel": (7, 6)}, "F(7,6,1,1)"),
        ({"type": "pooling", "kernel": [2, 2]}, "P(2,2)"),
        ({"type": "pooling", "kernel": [3, 3], "stride": [2, 2]}, "P(3,3,2,2)"),
        ({"type": "gmm", "components": 25}, "G(25)"),
        ({"type": LayerType.gmm, "kernel": None, "stride": None, "components": 4}, "G(4)"),
    ],
)
def test_a_layer_reads_as_the_paper_writes_it(fields: dict[str, Any], notation: str) -> None:
    layer = LayerOptions(**fields)
    assert str(layer) == notation
    assert isinstance(layer.type, LayerType)
    assert LayerOptions(**plain(layer)) == layer


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"type": "folding"}, "a folding layer needs kernel"),
        ({"type": "folding", "stride": [1, 1]}, "a folding layer needs kernel"),
        ({"type": "pooling"}, "a pooling layer needs kernel"),
        ({"type": "gmm"}, "a gmm layer needs components"),
        (
            {"type": "folding", "kernel": [2, 2], "components": 4},
            "components is not for folding layers, which take kernel, stride",
        ),
        ({"type": "pooling", "kernel": [2, 2], "components": 4}, "components is not for pooling layers"),
        (
            {"type": "gmm", "components": 4, "kernel": [2, 2], "stride": [1, 1]},
            "kernel, stride is not for gmm layers, which take components",
        ),
    ],
)
def test_fields_of_another_type_and_fields_that_lack(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as error:
        LayerOptions(**fields)
    assert str(error.value).startswith(message)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("type", "power"),
        ("type", 3),
        ("type", None),
        ("kernel", [2]),
        ("kernel", [0, 1]),
        ("kernel", [2.0, 2.0]),
        ("kernel", 2),
        ("stride", [1, -1]),
        ("stride", "11"),
        ("components", 0),
        ("components", 4.0),
        ("components", True),
    ],
)
def test_values_of_layers_out_of_range(field: str, value: Any) -> None:
    fields = {"type": "gmm", "components": 4} if field == "components" else {"type": "folding", "kernel": [2, 2]}
    with pytest.raises(OptionError) as error:
        LayerOptions(**{**fields, field: value})
    assert (error.value.field, error.value.value, error.value.owner) == (field, value, LayerOptions)


def test_an_architecture_reads_as_the_paper_writes_it() -> None:
    given: dict[str, Any] = {
        "layers": [{"type": "folding", "kernel": [2, 2], "stride": [1, 1]}, {"type": "gmm", "components": 4}]
    }
    architecture = made(Architecture, given)
    assert str(architecture) == "F(2,2,1,1) G(4)"
    assert (architecture.name, architecture.exponent) == ("custom", 1.0)
    assert architecture.sharpening == SharpeningPreset(10, 0.02, None)
    assert str(made(Architecture, given | {"exponent": 0.5})) == "x^0.5 F(2,2,1,1) G(4)"
    # Two exponents are two texts: a table tells such models apart.
    assert str(made(Architecture, given | {"exponent": 0.45})) != str(made(Architecture, given | {"exponent": 0.5}))
    preset = made(Architecture, given | {"sharpening": {"iterations": 3, "layers": ["folding1"]}}).sharpening
    assert preset == SharpeningPreset(3, 0.02, ["folding1"])
    assert made(Architecture, plain(architecture)) == architecture


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"exponent": 0.0}, "exponent"),
        ({"exponent": -0.5}, "exponent"),
        ({"exponent": math.inf}, "exponent"),
        ({"exponent": math.nan}, "exponent"),
        ({"exponent": None}, "exponent"),
        ({"layers": [3]}, "layers"),
        ({"layers": [None]}, "layers"),
        ({"sharpening": 0.1}, "sharpening"),
        ({"sharpening": None}, "sharpening"),
        ({"sharpening": {"rate": 2.0}}, "rate"),
        ({"sharpening": {"iterations": -1}}, "iterations"),
        ({"sharpening": {"steps": 3}}, "sharpening"),
        ({"layer": []}, "arch"),
    ],
)
def test_architectures_out_of_range(change: dict[str, Any], field: str) -> None:
    with pytest.raises(OptionError) as error:
        made(Architecture, {"layers": [{"type": "gmm", "components": 4}]} | change, "arch")
    assert error.value.field == field


@pytest.mark.parametrize(
    ("change", "field", "value", "allowed"),
    [
        ({"loc_range": -0.1}, "loc_range", -0.1, [0]),
        ({"loc_range": math.nan}, "loc_range", math.nan, [0]),
        ({"loc_range": math.inf}, "loc_range", math.inf, [0]),
        ({"precision_sqrt_min": 0.0}, "precision_sqrt_min", 0.0, [1e-15]),
        ({"precision_sqrt_min": 5.0}, "precision_sqrt_min", 5.0, [4.47214, "precision_limit"]),
        ({"precision_limit": 1e-4}, "precision_sqrt_min", 0.01, [0.01, "precision_limit"]),
        ({"precision_limit": -1.0}, "precision_limit", -1.0, ["(0, 1e+12]"]),
        ({"precision_limit": math.nan}, "precision_limit", math.nan, ["(0, 1e+12]"]),
        ({"precision_limit": math.inf}, "precision_limit", math.inf, ["(0, 1e+12]"]),
        ({"precision_sqrt_start": "zero"}, "precision_sqrt_start", "zero", ["limit", "unit"]),
    ],
)
def test_options_of_gmm_layers_out_of_range(
    change: dict[str, Any], field: str, value: object, allowed: list[object]
) -> None:
    with pytest.raises(OptionError) as error:
        GMMOptions(**change)
    check_option(error.value, field, value, *allowed)
    assert error.value.owner is GMMOptions


def test_names_become_members() -> None:
    given: dict[str, Any] = {"precision_sqrt_start": "unit"}
    assert made(GMMOptions, given).precision_sqrt_start is Start.unit
    assert GMMOptions(precision_limit=9.0).precision_sqrt_max == 3


def test_a_preset_sharpens_layers_that_there_are() -> None:
    layers = [LayerOptions("folding", kernel=[2, 2]), LayerOptions("gmm", components=4)]  # type: ignore[arg-type]
    assert Architecture(layers, sharpening=SharpeningPreset(layers=["folding1"])).sharpening.layers == ["folding1"]
    with option_refused("sharpening.layers", ["folding2"], "folding1"):
        Architecture(layers, sharpening=SharpeningPreset(layers=["folding2"]))
