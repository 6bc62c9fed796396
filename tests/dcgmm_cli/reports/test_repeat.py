import shlex
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from dcgmm.options import plain
from dcgmm_cli.hydra_glue import prepare, register
from dcgmm_cli.main import conf_dir
from dcgmm_cli.reports.repeat import command_to_repeat, settings_beside_defaults
from dcgmm_cli.typed import typed
from tests.dcgmm_cli.commands.conftest import TINY

register()


def composed(command: str, arguments: list[str]) -> dict[str, object]:
    """The configuration that a command line stands for, as `meta.json` has it."""
    overrides = prepare(command, arguments).overrides
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        config = plain(typed(compose(command, overrides), command))
    assert isinstance(config, dict)
    return config


@pytest.mark.parametrize(
    "arguments",
    [
        ["arch=2L-c", "dataset=mnist"],
        ["arch=1L", "dataset=mnist_sample", "seed=3", "dataset.classes=[0,'1']", "trainer.learning_rate.logits=1e-05"],
        ["arch=3L-a", "arch.exponent=0.5", "dataset=folder", "dataset.path='a folder, it''s'", "dataset.size=[8,8]"],
        [TINY, "dataset=mnist", "trainer.dtype=float64", "runs_dir=elsewhere", "trainer.threads=1"],
        [TINY, "arch.name=mine", "dataset=svhn", "gmm.precision_sqrt_start=unit"],
    ],
)
def test_the_command_composes_to_the_configuration_that_it_was_made_of(arguments: list[str]) -> None:
    config = composed("train", [word.replace("''", "\\'") for word in arguments])
    line = shlex.split(command_to_repeat("train", config))
    assert line[:2] == ["dcgmm", "train"]
    again = composed("train", line[2:])
    for each in (config, again):  # where it ran is no part of it
        each.pop("runs_dir")
        each["trainer"]["threads"] = None  # type: ignore[index]
    assert again == config


def test_a_follow_up_names_its_run(tmp_path: Path) -> None:
    config = composed("sample", ["--cfg", "job", "sampling.top_s=[1,5]"]) | {"run": "/runs/a b"}
    assert command_to_repeat("sample", config) == "dcgmm sample 'run='\"'\"'/runs/a b'\"'\"'' 'sampling.top_s=[1,5]'"


def test_what_an_earlier_version_had_not_is_passed_over() -> None:
    config = {"arch": {"name": "1L", "layers": 7}, "seed": 3, "unknown": 1}
    assert settings_beside_defaults("train", config) == {"arch.layers": 7, "arch.name": "1L", "seed": 3}
    assert settings_beside_defaults("train", {}) == {}
