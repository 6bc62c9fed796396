import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, open_dict
from omegaconf.errors import InterpolationResolutionError

from dcgmm.errors import InputError
from dcgmm.files import write_json
from dcgmm_cli.hydra_glue import home, prepare, quoted, register
from dcgmm_cli.main import conf_dir
from dcgmm_cli.schema import SCHEMAS, FollowUpConfig
from dcgmm_cli.typed import typed
from tests.refusals import option_refused, refused


def composed(command: str, *overrides: str) -> DictConfig:
    register()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return compose(command, list(overrides), return_hydra_config=True)


@pytest.mark.parametrize("command", SCHEMAS)
def test_every_command_composes_into_its_schema(command: str) -> None:
    config = composed(command)
    assert config.hydra.job.name == command
    assert config.hydra.job.chdir is False
    assert config.hydra.callbacks.sweep_start._target_ == "dcgmm_cli.sweep_start.SweepStart"
    handlers = ["console"] if command in ("data", "results", "show", "compare") else ["console", "file"]
    assert config.hydra.job_logging.root.handlers == handlers
    with open_dict(config):
        del config["hydra"]
    assert type(typed(config, command)) is SCHEMAS[command]


@pytest.mark.parametrize("command", [name for name, schema in SCHEMAS.items() if issubclass(schema, FollowUpConfig)])
def test_follow_ups_write_under_their_run(command: str, tmp_path: Path) -> None:
    write_json(tmp_path / "runs" / "1L-mnist" / "a" / "meta.json", {})
    run = tmp_path / "runs" / "1L-mnist" / "a"
    config = composed(command, f"run={run}", f"runs_dir={tmp_path / 'runs'}")
    assert Path(config.hydra.run.dir).parent == run / command
    assert (config.hydra.sweep.dir, Path(config.hydra.sweep.subdir).parent) == (str(tmp_path / "runs"), run / command)
    config = composed(command, "run=nowhere", f"runs_dir={tmp_path / 'runs'}")
    assert str(Path(config.hydra.sweep.subdir).parent) == command


def test_another_process_composes_as_well() -> None:
    """A launcher's worker begins with the task that it was sent."""
    code = (
        "import pickle, sys; task = pickle.loads(bytes.fromhex(sys.argv[1]));"
        "from hydra import compose, initialize_config_dir; initialize_config_dir(sys.argv[2], version_base='1.3');"
        "print(compose('cluster', ['cluster.split=train']).cluster.split)"
    )
    from dcgmm_cli.task import run_task

    command = [sys.executable, "-c", code, pickle.dumps(run_task).hex(), str(conf_dir())]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "HYDRA_FULL_ERROR": "1"})
    assert done.stdout.split() == ["train"], done.stderr


def test_words_and_flags_in_any_order() -> None:
    asked = prepare("train", ["a.b=1", "-m", "seed=1,2", "--config-dir", ".", "~x"])
    assert (asked.overrides, asked.multirun, asked.config_dir) == (["a.b=1", "seed=1,2", "~x"], True, ".")
    asked = prepare("results", ["some/runs", "--cfg", "job", "status=failed", "format=csv"])
    assert asked.overrides == ["format=csv", "paths=['some/runs']", "where=['status=failed']"]
    assert asked.cfg == "job"


@pytest.mark.parametrize(
    ("words", "added"),
    [
        (["arch.layers=[]"], ["arch.name=custom"]),
        (["arch.layers=[]", "arch.name=mine"], []),
        (["arch.exponent=0.5"], []),
        (["arch=3L-a"], []),
        (
            ["arch=3L-a", "arch.layers=[]", "arch.exponent=0.5"],
            [
                "arch.name=custom",
                "arch.sharpening.iterations=10",
                "arch.sharpening.rate=0.02",
                "arch.sharpening.layers=null",
            ],
        ),
    ],
)
def test_layers_of_ones_own_leave_nothing_of_the_architecture(words: list[str], added: list[str]) -> None:
    asked = prepare("train", words)
    assert asked.overrides == [*words, *added]
    if "arch.layers=[]" in words:
        config = composed("train", *asked.overrides)
        assert (config.arch.sharpening.rate, config.arch.sharpening.layers) == (0.02, None)


def test_a_run_that_goes_on_writes_in_its_own_directory(tmp_path: Path) -> None:
    run = tmp_path / "1L, mnist" / "a"
    write_json(run / "meta.json", {})
    asked = prepare("train", [f"run={run}", "trainer.epochs=3"])
    directory = quoted(str(run))
    assert asked.overrides == [
        "trainer.epochs=3",
        f"run={directory}",
        f"hydra.run.dir={directory}",
        "hydra.output_subdir=null",
    ]
    assert prepare("train", [f"run={run}", "--cfg", "job"]).overrides == [f"run={run}"]
    with refused("run=...", "one", "-m"):
        prepare("train", ["-m", f"run={run}"])


def test_a_directory_with_several_models_is_a_sweep_over_them(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_json(tmp_path / "sweep" / name / "meta.json", {})
        (tmp_path / "sweep" / name / "checkpoints").mkdir()
        (tmp_path / "sweep" / name / "checkpoints" / "last.pt").touch()
    asked = prepare("cluster", [f"run={tmp_path / 'sweep'}", "seed=1"])
    models = ",".join(quoted(str(tmp_path / "sweep" / name)) for name in ("a", "b"))
    assert (asked.overrides, asked.multirun) == ([f"run={models}", "seed=1"], True)
    asked = prepare("cluster", [f"run={tmp_path / 'sweep' / 'a'}"])
    assert not asked.multirun


@pytest.mark.parametrize(
    ("command", "words", "message"),
    [
        ("train", ["2L-c"], "cannot read '2L-c': give key=value, as in arch=2L-c"),
        ("train", ["--epochs", "5"], "unknown option --epochs: give key=value, as in trainer.epochs=..."),
        (
            "train",
            ["seed=1", "--batch-size=5", "x=1"],
            "unknown option --batch-size=5: give key=value, as in trainer.b",
        ),
        ("train", ["--cfg", "foo"], "argument --cfg/-c: invalid choice: 'foo' "),
        ("train", ["--experimental-rerun", "x"], "--experimental-rerun is not for dcgmm"),
        ("train", ["--config-path", "x"], "--config-path and --config-name are not for dcgmm: --config-dir adds"),
        ("train", ["-cn", "x"], "--config-path and --config-name are not for dcgmm: --config-dir adds"),
        ("train", ["hydra.searchpath=[file://x]"], "hydra.searchpath is not for dcgmm: --config-dir adds"),
        ("train", ["--config-dir", "nowhere"], "--config-dir=nowhere is no directory"),
        ("data", ["-m"], "dcgmm data takes no -m: fetch="),
    ],
)
def test_mistakes_in_words_and_flags(command: str, words: list[str], message: str) -> None:
    with pytest.raises(InputError) as error:
        prepare(command, words)
    assert str(error.value).startswith(message)


@pytest.mark.parametrize("dataset", sorted(path.stem for path in (conf_dir() / "dataset").glob("*.yaml")))
def test_every_data_set_composes(dataset: str) -> None:
    assert composed("train", f"dataset={dataset}").dataset.name == dataset


SPECIAL = [
    *("it's", 'a"b', "a$b", "a#b", "a,b", "a=b", "a b", "äöü", os.fsdecode(b"bad\xff"), "{a}[b]", "%(x)s", "a\\b", "~"),
    "\\",
]


@pytest.mark.parametrize("name", SPECIAL)
def test_paths_with_special_characters(name: str, tmp_path: Path) -> None:
    run = tmp_path / name / "a"
    write_json(run / "meta.json", {})
    directory = quoted(str(run))
    for given in (f"run={run}", f"run={directory}"):
        assert prepare("visualize", [given]).overrides == [f"run={directory}"]
        assert prepare("visualize", ["-m", given]).overrides == [f"run={directory}"]
        assert f"hydra.run.dir={directory}" in prepare("train", [given]).overrides


@pytest.mark.parametrize("name", ["it's", "\\", os.fsdecode(b"$bad\xff"), "${oc.env:HOME}", "a\\${b"])
def test_hydra_takes_such_paths_as_they_are(name: str, tmp_path: Path) -> None:
    run = tmp_path / name / "a"
    write_json(run / "meta.json", {})
    in_quotes = "'" + str(run).replace("'", "\\'") + "'"
    for given in (str(run), in_quotes) if name != "\\" else (str(run),):  # which Hydra escapes quotes with
        config = composed("visualize", *prepare("visualize", [f"run={given}"]).overrides)
        assert (config.run, Path(config.hydra.run.dir).parent) == (str(run), run / "visualize")


def test_hydra_takes_the_working_directory_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "\\${x").mkdir()
    monkeypatch.chdir(tmp_path / "\\${x")
    assert composed("train").hydra.runtime.cwd == os.getcwd()


@pytest.mark.parametrize("name", ["../../x", "/x", "a/b", "", ".x", "-x", "x y", "x" * 101])
def test_a_name_that_is_no_part_of_a_path(name: str) -> None:
    for given, key in (((name, "mnist"), "arch.name"), (("1L", name), "dataset.name")):
        with option_refused(key, name, 100):
            home(*given)


def test_names_are_checked_before_there_is_a_directory() -> None:
    config = composed("train", "arch.name='../x'")
    for node, key in ((config.hydra.run, "dir"), (config.hydra.sweep, "subdir")):
        with pytest.raises(InterpolationResolutionError, match=r"arch\.name .* 100 "):
            _ = node[key]
