from typing import Any

import pytest
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dcgmm_cli.explain import closest, explain
from dcgmm_cli.schema import SCHEMAS


@pytest.mark.parametrize(
    ("command", "given", "message"),
    [
        ("cluster", {"cluster": {"split": "val"}}, "cluster.split=val: choose test, train"),
        ("cluster", {"cluster": {"merge": 3}}, "cluster.merge=3: choose ward, grid"),
        (
            "cluster",
            {"cluster": {"count": "x"}},
            "cluster.count must be a whole number of at least 2, not x",
        ),
        ("cluster", {"cluster": {"position": 3}}, "cluster.position must be a list, as in cluster.position=[3], not 3"),
        ("cluster", {"cluster": {"position": ["x"]}}, "cluster.position[0] must be a whole number, not x"),
        (
            "outliers",
            {"outliers": {"classes": 3}},
            "outliers.classes must be a list, as in outliers.classes=[3], not 3",
        ),
        ("sample", {"sharpen": "x"}, "sharpen must be true or false, not x"),
        ("train", {"arch": {"layers": 3}}, "arch.layers must be a list, not 3"),
        ("train", {"arch": {"layers": [3]}}, "arch.layers[0] must be given by type, kernel, stride, components"),
        (
            "train",
            {"arch": {"layers": [{"type": "gmm", "components": "x"}]}},
            "arch.layers: components must be a whole number of at least 1, not x",
        ),
        ("cluster", {"cluster": {"split": None}}, "cluster.split=null: choose test, train"),
        ("cluster", {"cluster": {"nearest": None}}, "cluster.nearest must not be null"),
        ("cluster", {"xyz": 1}, "unknown key xyz: `dcgmm cluster --help` lists the keys"),
        ("cluster", {"cluster": {"counts": 1}}, "unknown key cluster.counts: did you mean cluster.count? `dcgmm"),
        ("results", {"format": "html"}, "format=html: choose table, csv, markdown, json"),
        ("train", {"arch": {"layers": [{"type": "foo"}]}}, "arch.layers: type=foo: choose folding, pooling, gmm"),
        (
            "train",
            {"arch": {"layers": [{"type": "gmm", "size": 2}]}},
            "arch.layers: unknown key size; the keys are type, kernel, stride, components",
        ),
        (
            "train",
            {"arch": {"layers": [{"type": "folding", "kernels": [3, 3]}]}},
            "arch.layers: unknown key kernels: did you mean kernel? The keys are type, kernel, stride, components",
        ),
    ],
)
def test_what_does_not_fit_the_schema_is_one_line(command: str, given: dict[str, Any], message: str) -> None:
    with pytest.raises(OmegaConfBaseException) as error:
        OmegaConf.merge(OmegaConf.structured(SCHEMAS[command]), given)
    text = explain(error.value, command)
    assert text.startswith(message)
    assert "\n" not in text


def test_the_key_that_is_closest() -> None:
    assert closest("epochs", "train") == "trainer.epochs"
    assert closest("archs", "train") == "arch"
    assert closest("xyz", "train") is None
