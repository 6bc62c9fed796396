"""What all commands share of the command line: mistakes in it, and flags that only show something."""

from pathlib import Path

import pytest

from tests.dcgmm_cli.commands.conftest import QUICK, Runner

FOLLOW_UPS = ["outliers", "sample", "sharpen", "inpaint", "visualize", "cluster", "classify", "export"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("train 2L-c", "cannot read '2L-c': give key=value, as in arch=2L-c; `dcgmm train --help` lists the keys"),
        ("data foo", "cannot read 'foo': give key=value, as in fetch=[mnist]; `dcgmm data --help` lists the keys"),
        ("sample latest", "cannot read 'latest': give key=value, as in run=latest; `dcgmm sample --help` lists the"),
        ("train --epochs 5", "unknown option --epochs: give key=value, as in trainer.epochs=...; `dcgmm train --help`"),
        ("train --batch-size=5", "unknown option --batch-size=5: give key=value, as in trainer.batch_size=5; "),
        ("train --arch 1L", "unknown option --arch: give key=value, as in arch=...; "),
        ("results -q", "unknown option -q: give key=value, as in status=finished; "),
        ("train --cfg foo", "argument --cfg/-c: invalid choice: 'foo' "),
        ("train trainer.epochs=1,2", "trainer.epochs=1,2 gives several values: add -m for a sweep\n"),
        ("train arch=1L,2L-a", "arch=1L,2L-a gives several values: add -m for a sweep\n"),
        ("train dataset.classes=1,2", "add -m for a sweep, or write dataset.classes=[1,2] for a list\n"),
        ("data fetch=mnist,svhn", "fetch=mnist,svhn gives several values: write fetch=[mnist,svhn] for a list\n"),
        ("results format=csv,json", "format=csv,json gives several values: it takes one\n"),
        ("train trainr.epochs=3", "unknown key trainr.epochs: did you mean trainer.epochs? "),
        ("train epochs=3", "unknown key epochs: did you mean trainer.epochs? "),
        ("train archs=1L", "unknown key archs: did you mean arch? "),
        ("train xyz=1", "unknown key xyz: `dcgmm train --help` lists the keys\n"),
        ("data -m", "dcgmm data takes no -m: fetch=[mnist,svhn] fetches several data sets\n"),
        ("results --multirun", "dcgmm results takes no -m: it makes one table; arch=1L,2L-c shows runs of either\n"),
        ("train trainer.epochs=x", "trainer.epochs must be a whole number of at least 1, not x\n"),
        (
            "train trainer.learning_rate=1",
            "trainer.learning_rate has keys of its own: give trainer.learning_rate.",
        ),
        ("train dataset.classes=3", "must be a list of at least one class, as in dataset.classes=[3], not 3\n"),
        ("train dataset.size=28", "each a whole number of at least 1, as in dataset.size=[28,28], not 28\n"),
        (
            "train arch.layers=[type:gmm] arch.layers=[components:25]",
            "left 'arch.layers=[components:25]': put ",
        ),
        (
            "train arch.layers=[{type:gmm, components:25}]",
            "left 'components:25}]': put the whole word in quotes, as ",
        ),
        (
            "train arch.name=a/b",
            "error: arch.name must be of up to 100 letters, digits, and any of . _ + - but at its beg",
        ),
        ("train =1", "cannot read '=1': give key=value, as in arch=2L-c"),
        ("train run=", "run= is empty: give the run's path, its name, or latest\n"),
        ("sample run=", "run= is empty: give the run's path, its name, or latest\n"),
        ("train runs_dir=", "runs_dir must be a path, not empty\n"),
        ("train hydra.run.dir=''", "hydra.run.dir must be a path, not empty\n"),
        ("train -m seed=0,1 hydra.sweep.dir=", "hydra.sweep.dir must be a path, not empty\n"),
        ("results format=csv output=", "output must be a path, not empty\n"),
        (f"train trainer.epochs={'9' * 5000}", "a number has more than 4300 digits\n"),
        (
            f"train trainer.annealing.alpha={'9' * 400}",
            "a number in (0, 1], not one of more than 308 digits\n",
        ),
        ("train hydra.run.dir=/proc/self/x", "cannot write /proc/self/x: No such file or directory\n"),
    ],
)
def test_a_mistake_gets_one_line_and_leaves_nothing(
    dcgmm: Runner, tmp_path: Path, arguments: str, message: str
) -> None:
    outcome = dcgmm(*arguments.split())
    assert outcome.code == 2
    assert message in outcome.err
    assert outcome.err.startswith("error: ")
    assert len(outcome.err.splitlines()) == 1
    assert not outcome.out
    assert not list(tmp_path.iterdir())


def test_several_values_for_a_number_or_a_list_of_a_follow_up(dcgmm: Runner, tiny_run: Path) -> None:
    outcome = dcgmm("outliers", f"run={tiny_run}", "outliers.c=1,2")
    assert (outcome.code, outcome.err) == (2, "error: outliers.c=1,2 gives several values: add -m for a sweep\n")
    outcome = dcgmm("sample", f"run={tiny_run}", "sampling.top_s=1,2")  # of any type
    assert outcome.code == 2
    assert outcome.err.endswith(": add -m for a sweep, or write sampling.top_s=[1,2] for a list\n")


def test_an_empty_run_in_a_sweep_is_not_every_model_from_here(
    dcgmm: Runner, tiny_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tiny_run.parents[1])
    outcome = dcgmm("visualize", "-m", "run=", "images=0")
    assert outcome.code == 2
    head, job = outcome.err.splitlines()[-2:]
    assert head == "sweep of 1 job: 0 finished, 1 failed"
    assert job.endswith(": run= is empty: give the run's path, its name, or latest")


@pytest.mark.parametrize("command", FOLLOW_UPS)
def test_what_only_shows_something_needs_no_run(command: str, dcgmm: Runner, tmp_path: Path) -> None:
    shown = dcgmm(command, "--cfg", "job")
    assert shown.code == 0, shown.err
    assert "run: latest\n" in shown.out
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("flag", "text"), [("--hydra-help", "== Flags =="), ("--info", "Config search path")])
def test_hydra_explains_itself_without_a_run(flag: str, text: str, installed: Runner) -> None:
    shown = installed("sample", flag)
    assert shown.code == 0, shown.err
    assert text in shown.out


def test_the_configuration_for_several_models(dcgmm: Runner, tiny_run: Path) -> None:
    shown = dcgmm("sample", f"run={tiny_run.parent}", "--cfg", "job")
    assert shown.code == 0, shown.err
    assert f"run: {tiny_run.parent}\n" in shown.out


@pytest.mark.parametrize("seed", ["-1", "4294967296", "99999999999999999999"])
@pytest.mark.parametrize("command", ["train", "cluster"])
def test_a_seed_that_cannot_be(command: str, seed: str, dcgmm: Runner, tiny_run: Path) -> None:
    given = QUICK if command == "train" else [f"run={tiny_run}"]
    outcome = dcgmm(command, *given, f"seed={seed}")
    assert outcome.code == 2
    assert outcome.err == f"error: seed must be a whole number from 0 to 4294967295, not {seed}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("cluster cluster.split=val", "cluster.split=val: choose test, train\n"),
        ("cluster cluster.merge=null cluster.space=", "cluster.space=: choose pixels, responsibilities\n"),
        ("sample device=tpu", "device must be auto, cpu, cuda or cuda:N, not tpu\n"),
        ("sample sampling.temperature=0", "sampling.temperature must be a number above 0, not 0.0\n"),
        ("sample sampling.start=gmm9", "sampling.start must be "),
        ("sample like=", "like must be a path, not empty\n"),
        ("outliers input=", "input must be a path, not empty\n"),
        ("inpaint mask=", "mask must be a path, not empty\n"),
    ],
)
def test_a_value_that_cannot_be_is_named_by_its_key(
    arguments: str, message: str, dcgmm: Runner, tiny_run: Path
) -> None:
    outcome = dcgmm(*arguments.split(), f"run={tiny_run}")
    assert outcome.code == 2
    assert outcome.err.startswith(f"error: {message}")
    assert len(outcome.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ("[{type:gmm,components:4},{type:gmm}]", "arch.layers: layer 2: a gmm layer needs components\n"),
        ("[{type:power}]", "arch.layers: type=power: choose folding, pooling, gmm\n"),
        (
            "[{type:gmm,size:4}]",
            "arch.layers: unknown key size; the keys are type, kernel, stride, components, factors, shared\n",
        ),
    ],
)
def test_layers_that_cannot_be(layers: str, message: str, dcgmm: Runner) -> None:
    outcome = dcgmm("train", f"arch.layers={layers}")
    assert (outcome.code, outcome.err) == (2, f"error: {message}")


@pytest.mark.parametrize(
    "mistake",
    [
        *("trainer.batch_size=-1", "trainer.batch_size=1000", "trainer.device=tpu", "dataset.classes=[11]"),
        *("arch=2L-c", "dataset=folder", "dataset.path=", "arch.name=../x", "trainer.threads=100000"),
    ],
)
def test_a_start_that_fails_leaves_nothing(mistake: str, dcgmm: Runner, tmp_path: Path) -> None:
    # Some of these are seen with the data, or the model.
    small = "arch.layers=[{type:folding,kernel:[29,7]},{type:gmm,components:4}]" if mistake == "arch=2L-c" else QUICK[0]
    outcome = dcgmm("train", small, *QUICK[1:], mistake)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.splitlines()[-1].startswith("error: ")
    assert not [path for path in tmp_path.rglob("*") if not path.is_dir() or path.name == "x"]


@pytest.mark.parametrize(
    "words",
    [
        *("outliers input=nowhere", "outliers outliers.path=nowhere", "outliers mask=nowhere.npy outliers.path=."),
        *("outliers outliers.voters=[nowhere] outliers.dataset=fashion_mnist_sample", "sample like=nowhere"),
        *(
            "sample control=nowhere.npy",
            "sample sampling.start=gmm9",
            "sample classes=[77]",
            "sample quality.count=999999999",
        ),
        *("sample quality.flat=nowhere", "sharpen quality.flat=nowhere", "sharpen input=nowhere"),
        *(
            "sharpen sharpening.layers=[folding9]",
            "inpaint input=nowhere",
            "inpaint mask=nowhere.png",
            "inpaint completion.count=999999999",
        ),
        *("visualize component=99", "cluster cluster.layer=gmm9", "cluster cluster.merge=ward cluster.classes=99"),
        *(
            "classify input=nowhere",
            "classify readout.layers=[gmm9]",
            "export score=nothing",
            "export score=gmm9_log_prob",
        ),
    ],
)
def test_a_follow_up_that_fails_before_it_has_made_anything_leaves_nothing(
    words: str, dcgmm: Runner, tiny_run: Path
) -> None:
    command, *keys = words.split()
    before = {*(tiny_run / command).glob("*")}
    outcome = dcgmm(command, f"run={tiny_run}", *keys)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.splitlines()[-1].startswith("error: ")
    assert {*(tiny_run / command).glob("*")} == before


def test_a_start_that_fails_leaves_what_was_there(dcgmm: Runner, tiny_run: Path) -> None:
    given = ["sample", f"run={tiny_run}", f"hydra.run.dir={tiny_run}/sample/mine", "sampling.count=2"]
    (tiny_run / "sample" / "mine").mkdir(parents=True)
    (tiny_run / "sample" / "mine" / "meta.json").write_text("{}")
    assert dcgmm(*given, "like=nowhere").code == 2
    assert (tiny_run / "sample" / "mine").is_dir()


def test_a_flat_run_that_is_not_there_is_named_by_its_key(dcgmm: Runner, tiny_run: Path) -> None:
    outcome = dcgmm("sample", f"run={tiny_run}", "quality.flat=nowhere", "sampling.count=2", "quality.count=5")
    assert outcome.code == 2
    assert outcome.err.splitlines()[-1].startswith("error: quality.flat=nowhere: no run directory there")
