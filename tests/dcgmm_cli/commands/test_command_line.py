"""What all commands share of the command line: mistakes in it, and flags that only show something."""

from pathlib import Path

import pytest

from tests.dcgmm_cli.commands.conftest import QUICK, Runner
from tests.refusals import check_names

FOLLOW_UPS = ["outliers", "sample", "sharpen", "inpaint", "visualize", "cluster", "classify", "export"]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ("train 2L-c", "'2L-c' arch=2L-c"),
        ("data foo", "'foo' fetch=[mnist] data"),
        ("sample latest", "'latest' run=latest"),
        ("train --epochs 5", "--epochs trainer.epochs=..."),
        ("train --batch-size=5", "--batch-size=5 trainer.batch_size=5"),
        ("train --arch 1L", "--arch arch=..."),
        ("results -q", "-q status=finished"),
        ("train --cfg foo", "--cfg 'foo' 'job'"),
        ("train trainer.epochs=1,2", "trainer.epochs=1,2 -m"),
        ("train arch=1L,2L-a", "arch=1L,2L-a -m"),
        ("train dataset.classes=1,2", "dataset.classes=1,2 -m dataset.classes=[1,2]"),
        ("data fetch=mnist,svhn", "fetch=mnist,svhn fetch=[mnist,svhn]"),
        ("results format=csv,json", "format=csv,json one"),
        ("train trainr.epochs=3", "trainr.epochs trainer.epochs"),
        ("train epochs=3", "epochs trainer.epochs"),
        ("train archs=1L", "archs arch"),
        ("train xyz=1", "xyz --help"),
        ("data -m", "data -m fetch=[mnist,svhn]"),
        ("results --multirun", "results -m arch=1L,2L-c"),
        ("train trainer.epochs=x", "trainer.epochs 1 x"),
        ("train trainer.learning_rate=1", "trainer.learning_rate trainer.learning_rate.start"),
        ("train dataset.classes=3", "dataset.classes dataset.classes=[3] 3"),
        ("train dataset.size=28", "dataset.size dataset.size=[28,28] 28"),
        ("train arch.layers=[type:gmm] arch.layers=[components:25]", "'arch.layers=[components:25]' 'arch.layers="),
        ("train arch.layers=[{type:gmm, components:25}]", "'components:25}]' 'arch.layers="),
        ("train arch.name=a/b", "arch.name 100 a/b"),
        ("train =1", "'=1' arch=2L-c"),
        ("train run=", "run= latest"),
        ("sample run=", "run= latest"),
        ("train runs_dir=", "runs_dir path empty"),
        ("train hydra.run.dir=''", "hydra.run.dir path empty"),
        ("train -m seed=0,1 hydra.sweep.dir=", "hydra.sweep.dir path empty"),
        ("results format=csv output=", "output path empty"),
        (f"train trainer.epochs={'9' * 5000}", "4300 digits"),
        (f"train trainer.annealing.alpha={'9' * 400}", "trainer.annealing.alpha (0, 1] 308"),
        ("train hydra.run.dir=/proc/self/x", "/proc/self/x"),
    ],
)
def test_a_mistake_gets_one_line_and_leaves_nothing(dcgmm: Runner, tmp_path: Path, arguments: str, named: str) -> None:
    outcome = dcgmm(*arguments.split())
    outcome.check_refused(*named.split())
    assert not outcome.out
    assert not list(tmp_path.iterdir())


def test_several_values_for_a_number_or_a_list_of_a_follow_up(dcgmm: Runner, tiny_run: Path) -> None:
    dcgmm("outliers", f"run={tiny_run}", "outliers.c=1,2").check_refused("outliers.c=1,2", "-m")
    outcome = dcgmm("sample", f"run={tiny_run}", "sampling.top_s=1,2")  # of any type
    outcome.check_refused("sampling.top_s=1,2", "-m", "sampling.top_s=[1,2]")


def test_an_empty_run_in_a_sweep_is_not_every_model_from_here(
    dcgmm: Runner, tiny_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tiny_run.parents[1])
    outcome = dcgmm("visualize", "-m", "run=", "images=0")
    assert outcome.code == 2
    head, job = outcome.err.splitlines()[-2:]
    assert head == "sweep of 1 job: 0 finished, 1 failed"
    check_names(job, "run=", "latest")


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
    outcome.check_refused("seed", 0, 4294967295, seed)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ("cluster cluster.split=val", "cluster.split=val test train"),
        ("cluster cluster.merge=null cluster.space=", "cluster.space= pixels responsibilities"),
        ("sample device=tpu", "device auto cpu cuda tpu"),
        ("sample sampling.temperature=0", "sampling.temperature 0 0.0"),
        ("sample sampling.start=gmm9", "sampling.start gmm1 gmm2 gmm9"),
        ("sample like=", "like path empty"),
        ("outliers input=", "input path empty"),
        ("inpaint mask=", "mask path empty"),
    ],
)
def test_a_value_that_cannot_be_is_named_by_its_key(arguments: str, named: str, dcgmm: Runner, tiny_run: Path) -> None:
    dcgmm(*arguments.split(), f"run={tiny_run}").check_refused(*named.split())


@pytest.mark.parametrize(
    ("layers", "named"),
    [
        ("[{type:gmm,components:4},{type:gmm}]", "arch.layers: 2: gmm components"),
        ("[{type:power}]", "arch.layers: type=power folding pooling gmm"),
        ("[{type:gmm,size:4}]", "arch.layers: size type kernel stride components factors shared"),
    ],
)
def test_layers_that_cannot_be(layers: str, named: str, dcgmm: Runner) -> None:
    dcgmm("train", f"arch.layers={layers}").check_refused(*named.split())


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
    outcome.check_refused("quality.flat=nowhere", alone=False)
