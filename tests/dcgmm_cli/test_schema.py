from dataclasses import MISSING

import pytest
from omegaconf import OmegaConf

from dcgmm_cli.keys import keys
from dcgmm_cli.main import COMMANDS, conf_dir
from dcgmm_cli.schema import GROUPS, SCHEMAS, FollowUpConfig, marked


def test_every_command_has_a_schema_in_the_same_order() -> None:
    assert list(SCHEMAS) == list(COMMANDS)


@pytest.mark.parametrize("command", SCHEMAS)
def test_omegaconf_takes_every_schema_and_knows_the_same_keys(command: str) -> None:
    config = OmegaConf.structured(SCHEMAS[command])
    for key in keys(SCHEMAS[command]):
        parent, _, name = key.name.rpartition(".")
        if parent.startswith(GROUPS.get(command, ("-",))):
            continue  # what a group's file gives
        node = OmegaConf.select(config, parent) if parent else config
        assert node._get_node(name)._is_none() == (key.default is None)
        assert OmegaConf.is_missing(node, name) == (key.default is MISSING)


@pytest.mark.parametrize("command", SCHEMAS)
def test_defaults_keep_their_own_rules(command: str) -> None:
    schema = SCHEMAS[command]
    if command == "train":  # its groups have no defaults
        schema(arch={"layers": [{"type": "gmm", "components": 25}]}, dataset={"name": "mnist"})  # type: ignore[call-arg]
    else:
        schema()


def test_what_does_not_identify_a_run() -> None:
    assert marked("incidental") == {
        *("runs_dir", "logger", "device", "threads", "dataset.root", "dataset.cache"),
        *("trainer.device", "trainer.threads", "trainer.checkpoint_epochs"),
        *("sweep.objective", "sweep.on_test_images"),
    }
    assert marked("extendable") == {"trainer.epochs", "trainer.steps", "dataset.path"}


def test_groups_are_those_of_the_configuration_files() -> None:
    for command, groups in GROUPS.items():
        text = (conf_dir() / f"{command}.yaml").read_text()
        assert all(f"  - {group}: " in text and (conf_dir() / group).is_dir() for group in groups)


def test_follow_up_commands() -> None:
    found = [command for command, schema in SCHEMAS.items() if issubclass(schema, FollowUpConfig)]
    assert found == ["outliers", "sample", "sharpen", "inpaint", "visualize", "cluster", "classify", "export"]
