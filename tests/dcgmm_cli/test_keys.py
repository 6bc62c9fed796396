from dataclasses import MISSING

import pytest

from dcgmm.datasets.options import DatasetOptions
from dcgmm.errors import OptionError
from dcgmm.generation.options import SamplingOptions
from dcgmm.options import Options
from dcgmm.training.options import AnnealingOptions, TrainerOptions
from dcgmm_cli.keys import flat, keys, with_prefix
from dcgmm_cli.schema import ClusterConfig, OutliersConfig, SampleConfig, VisualizeConfig
from dcgmm_cli.schema_train import TrainConfig

TRAIN = TrainConfig(arch={"layers": []}, dataset={"name": "mnist"})  # type: ignore[arg-type]


def test_keys_have_their_dots_types_choices_and_defaults() -> None:
    found = {key.name: key for key in keys(ClusterConfig)}
    assert list(found)[:6] == ["run", "runs_dir", "dataset.root", "dataset.path", "device", "threads"]
    split, merge, device = found["cluster.split"], found["cluster.merge"], found["device"]
    assert (split.choices, split.is_enumeration, split.default) == (("test", "train"), True, "test")
    assert (merge.choices, merge.is_enumeration, merge.default) == (("ward", "grid"), True, None)
    assert (device.choices, device.is_enumeration, device.type) == (("auto", "cpu", "cuda"), False, str)
    train = {key.name: key for key in keys(TrainConfig)}
    assert train["arch.layers"].default is MISSING
    assert train["arch.sharpening.rate"].default == 0.02


@pytest.mark.parametrize(
    ("error", "config", "field"),
    [
        # Of options, by their class; a command's own class may derive from the library's.
        (OptionError("gamma", "x", 1, AnnealingOptions), TRAIN, "trainer.annealing.gamma"),
        (OptionError("batch_size", "x", 1, TrainerOptions), TRAIN, "trainer.batch_size"),
        (OptionError("classes", "x", 1, DatasetOptions), TRAIN, "dataset.classes"),
        (OptionError("start", "x", 1, SamplingOptions), SampleConfig(), "sampling.start"),
        (OptionError("seed", "x", -1, SampleConfig), SampleConfig(), "seed"),
        # Of functions, by the value that was refused.
        (OptionError("device", "x", "auto"), TRAIN, "trainer.device"),
        (OptionError("device", "x", "auto"), SampleConfig(), "device"),
        (OptionError("score", "x", "joint"), OutliersConfig(), "outliers.score"),
        (OptionError("position", "x", None), ClusterConfig(), "cluster.position"),
        (OptionError("device", "x", "tpu"), TRAIN, "device"),
        (OptionError("images", "x", "of shape (3,)"), OutliersConfig(), "images"),
        (OptionError("images", "x", "of shape (3,)"), VisualizeConfig(), "images"),
        # What is no key of the command.
        (OptionError("gamma", "x", 1, AnnealingOptions), SampleConfig(), "gamma"),
        (OptionError("input_shape", "x", 1), TRAIN, "input_shape"),
    ],
)
def test_errors_name_the_commands_keys(error: OptionError, config: Options, field: str) -> None:
    told = with_prefix(error, config)
    assert (told.field, told.rule, told.value) == (field, error.rule, error.value)


def test_flat() -> None:
    assert flat({"a": 1, "b": {"c": [2], "d": {"e": {}}}, "f": {}}) == {"a": 1, "b.c": [2]}
