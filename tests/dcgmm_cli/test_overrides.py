import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from dcgmm_cli.overrides import value_text

VALUES = [
    *(
        "mnist",
        "2L-c",
        "1e5",
        "1",
        "1_0",
        ".5",
        "-1",
        "nan",
        "True",
        "NULL",
        "off",
        "",
        " ",
        "a b",
        "it's",
        "a\\",
        "a\\'b",
    ),
    *(
        "\\\\'",
        "/root/.cache",
        "../x",
        "~/x",
        "[a]",
        "a,b",
        "$x",
        "${a}",
        "\\${a}'",
        "${",
        "ü",
        "a=b",
        "a:b",
        "é{}",
        "a\nb",
    ),
    *(1, 1e-05, 0.05, None, True, [1, "2", [None, False]], {"type": "gmm", "kernel": [1, 2]}),
]


@pytest.mark.parametrize("value", VALUES)
def test_hydra_reads_the_value_that_was_written(value: object) -> None:
    (override,) = OverridesParser.create().parse_overrides([f"key={value_text(value)}"])
    found = OmegaConf.to_container(OmegaConf.create({"key": override.value()}), resolve=True)["key"]  # type: ignore[index, call-overload]
    assert found == value
    assert type(found) is type(value) or isinstance(found, type(value))


def test_fields_without_a_value_are_left_out() -> None:
    assert value_text({"type": "gmm", "kernel": None}) == "{type:gmm}"
