import json
from pathlib import Path

import pytest

from dcgmm.errors import InputError
from dcgmm_cli.results.grouping import group, ordered_groups
from dcgmm_cli.results.selecting import Table, matching, ordered, tabulate
from tests.dcgmm_cli.results.conftest import change, column, run_with, trained, training
from tests.refusals import refused


def test_by_default_what_tells_the_runs_apart_and_the_main_results(root: Path) -> None:
    table = tabulate(trained(root), None)
    assert table.columns == [
        "run",
        "arch",
        "dataset",
        "seed",
        "status",
        "layers.gmm1.test_log_likelihood",
        "train_seconds",
    ]
    assert column(table, "arch") == ["1L", "1L", "1L", "2L-c"]
    training(root, "1L", 3)
    path = root / "1L-mnist" / "run-3" / "meta.json"
    meta = json.loads(path.read_text())
    meta["config"]["trainer"]["epochs"] = 5
    path.write_text(json.dumps(meta))
    table = tabulate(trained(root), None)
    assert column(table, "trainer.epochs") == [25, 25, 25, 5, 25]


def test_layers_are_shown_where_one_name_stands_for_several(root: Path) -> None:
    assert "arch.layers" not in tabulate(trained(root), None).columns
    path = root / "1L-mnist" / "run-1" / "meta.json"
    meta = json.loads(path.read_text())
    meta["config"]["arch"]["layers"][1]["components"] = 36
    path.write_text(json.dumps(meta))
    shown = column(tabulate(trained(root), None), "arch.layers")
    assert shown[:2] == ["F(28,28,1,1) G(25)", "F(28,28,1,1) G(36)"]


@pytest.mark.parametrize(
    ("where", "seeds"),
    [
        (["arch=1L"], [0, 1, 2]),
        (["arch=1L", "seed=0,2"], [0, 2]),
        (["seed=1.0"], [1]),
        (["dataset.classes=[0,1]", "arch=2L-c"], [0]),
        (["dataset.classes=[0, 1],[3]", "seed=2"], [2]),
        (["layers.gmm1.test_log_likelihood=101"], [1]),
        (["arch=2L"], []),
    ],
)
def test_conditions(root: Path, where: list[str], seeds: list[int]) -> None:
    assert [run.cell("seed") for run in matching(trained(root), where)] == seeds


def test_what_no_run_has_is_named_with_what_is_near(root: Path) -> None:
    runs = trained(root)
    with pytest.raises(InputError, match=r"no run here has trainer.epoch: did you mean trainer.epochs"):
        matching(runs, ["trainer.epoch=25"])
    with refused("fromat:", "format"):
        matching(runs, ["fromat=csv"], ["format", "output"])
    with refused("train_second:", "train_seconds"):
        tabulate(runs, ["train_second"])
    with refused("sed:", "seed"):
        group(runs, ["sed"], None)
    with refused("train_second:", "train_seconds"):
        ordered(runs, "-train_second")
    with pytest.raises(InputError, match="sort=-speed: the table has no column speed"):
        ordered_groups(group(runs, ["seed"], None), "-speed")
    with pytest.raises(InputError, match="'seed' is no condition"):
        matching(runs, ["seed"])


def test_missing_values_come_last_in_either_order() -> None:
    values = {"x": 2, "y": None, "z": 10, "w": 1.5, "t": "text", "l": [0, 1]}
    runs = [run_with(name=name, a=value) for name, value in values.items()]
    assert [run.cell("name") for run in ordered(runs, "a")] == ["w", "x", "z", "l", "t", "y"]
    assert [run.cell("name") for run in ordered(runs, "-a")] == ["t", "l", "z", "x", "w", "y"]
    table = Table(["b", "a mean"], [["x", 2], ["y", None], ["z", 10]])
    assert column(ordered_groups(table, "-a"), "b") == ["z", "x", "y"]
    assert column(ordered_groups(table, "a mean"), "b") == ["x", "z", "y"]


def test_what_an_architecture_holds_is_shown_where_its_name_does_not_say_it(root: Path) -> None:
    for number in (0, 1, 2):
        change(root / "1L-mnist" / f"run-{number}", arch__exponent=1.0)
    change(root / "2L-c-mnist" / "run-0", arch__exponent=0.5)
    assert "arch.exponent" not in tabulate(trained(root), None).columns
    change(root / "1L-mnist" / "run-1", arch__exponent=0.3)
    assert column(tabulate(trained(root), None), "arch.exponent") == [1.0, 0.3, 1.0, 0.5]
