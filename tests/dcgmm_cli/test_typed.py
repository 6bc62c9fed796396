from typing import Any

import pytest
import yaml
from omegaconf import DictConfig, OmegaConf

from dcgmm.clustering.options import Merge, Part
from dcgmm.errors import OptionError
from dcgmm.model.options import Architecture, LayerOptions, LayerType
from dcgmm.training.options import AnnealingOptions
from dcgmm_cli.schema import SCHEMAS, ClusterConfig
from dcgmm_cli.schema_train import TrainConfig
from dcgmm_cli.typed import typed
from tests.refusals import refused

GIVEN: dict[str, Any] = {
    "arch": {"layers": [{"type": "folding", "kernel": [28, 28]}, {"type": "gmm", "components": 25}]},
    "dataset": {"name": "mnist"},
}


def train(*changes: str) -> Any:
    config = OmegaConf.merge(OmegaConf.structured(SCHEMAS["train"]), GIVEN)
    assert isinstance(config, DictConfig)
    for change in changes:
        key, _, value = change.partition("=")
        OmegaConf.update(config, key, yaml.safe_load(value), force_add=True)  # as Hydra does
    return typed(config, "train")


def test_every_node_becomes_the_options_that_it_stands_for() -> None:
    config = train("dataset.classes=[1,two]", "trainer.annealing.alpha=0.5")
    assert isinstance(config, TrainConfig)
    assert isinstance(config.trainer.annealing, AnnealingOptions)
    assert config.trainer.annealing.window == 2
    assert config.arch == Architecture([LayerOptions("folding", [28, 28]), LayerOptions("gmm", components=25)])  # type: ignore[arg-type]
    assert config.arch.layers[1].type is LayerType.gmm
    assert config.dataset.classes == [1, "two"]
    assert type(config.dataset.classes) is list


def test_interpolations_are_resolved_and_names_become_members() -> None:
    config = OmegaConf.structured(ClusterConfig)
    config.cluster.count = "${seed}"
    config.seed, config.cluster.split, config.cluster.merge = 7, "train", "ward"
    config = typed(config, "cluster")
    assert (config.cluster.count, config.cluster.split, config.cluster.merge) == (7, Part.train, Merge.ward)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ("seed=-1", "seed"),
        ("seed=4294967296", "seed"),
        ("trainer.epochs=0", "trainer.epochs"),
        ("trainer.annealing.gamma=1.5", "trainer.annealing.gamma"),
        ("trainer.learning_rate.end=0.5", "trainer.learning_rate.end"),
        ("arch.exponent=0", "arch.exponent"),
        ("dataset.size=[1]", "dataset.size"),
    ],
)
def test_a_value_out_of_range_is_named_by_its_key(change: str, field: str) -> None:
    with pytest.raises(OptionError) as error:
        train(change)
    assert error.value.field == field


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("foo=1", "foo: --help"),
        ("trainer.epoch=1", "trainer.epoch: trainer.epochs"),
        ("arch.layers=[{type: gmm, components: 4}, {type: gmm}]", "arch.layers: 2: gmm components"),
        ("arch.layers=[{type: gmm, kernel: [2, 2]}]", "arch.layers: 1: kernel gmm components factors"),
        ("arch.layers=[{components: 4}]", "arch.layers[0].type arch.layers[0].type=..."),
        ("arch.name=???", "arch.name arch.name=..."),
        ("seed=${nothing}", "seed: 'nothing'"),
    ],
)
def test_other_mistakes_are_told_in_a_line(change: str, named: str) -> None:
    with refused(*named.split()):
        train(change)
