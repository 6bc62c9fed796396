"""What is run: trainings and the commands that work on them, as jobs with directories of their own.

A trained model serves all tables and figures that need it. Every job writes to a directory that follows from what it
is, so that a job that was done, or begun, is found again.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dcgmm.errors import InputError
from dcgmm.files import CHECKPOINT, read_json
from dcgmm_cli.runs import RESULT
from experiments.paper.published import ARCHS, DATASETS, TABLE_1

CONFIG_DIR = Path(__file__).parent / "conf"
FIRST_FIVE, ALL_CLASSES = "first_five", "all_classes"

ITEMS = ("table1", "table2", "fig2", "fig3", "fig4", "fig5", "fig6", "fig7", "fig8")
EVERYTHING, REPORT = "paper", "report"
TARGETS = (EVERYTHING, *ITEMS, REPORT)

# The table prints 2L-e as 2L-c. Seeds of its own make it another draw of the same model, and not the same runs again.
FIRST_SEED = {"2L-e": 100}
SAMPLED = ("1L", "2L-d", "2L-c", "2L-e")  # figures 4 and 7, from left to right
TOP_S = (1, 2, 5, 10)
LOW_NOISE = 0.3  # factor on the standard deviations: pictures of the authors' later code are drawn with less noise too

# One core's seconds for 1,000 steps, roughly: the longest jobs start first, and measured times replace these.
SECONDS = {"1L": 0.3, "2L-a": 0.5, "2L-b": 0.5, "2L-c": 1.7, "2L-d": 0.5, "2L-e": 1.7, "3L-a": 12, "3L-b": 0.5}
STEPS = {FIRST_FIVE: 7.6, ALL_CLASSES: 15.0}  # thousands


@dataclass(frozen=True)
class Scale:
    """How much of the study is run."""

    seeds: int = 10
    suffix: str = ""  # of the data sets' names
    archs: tuple[str, ...] = ARCHS
    experiments: tuple[str, ...] = ()  # put on top of each training's
    effort: float = 1.0  # what a training costs, of that in full
    overrides: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # by command


FULL = Scale()
QUICK = Scale(
    seeds=1,
    suffix="_sample",
    experiments=("quick",),
    effort=0.003,
    overrides={
        "cluster": ("cluster.count=200", "cluster.training=200"),
        "sample": ("quality.count=100", "quality.bins=10"),
        "sharpen": ("quality.count=50", "quality.bins=10", "sharpening.iterations=3"),
    },
)


@dataclass(frozen=True)
class Study:
    """A scale with the directory that its runs are in."""

    root: Path
    scale: Scale

    def seeds(self, arch: str) -> list[int]:
        """Seeds of an architecture's runs."""
        first = FIRST_SEED.get(arch, 0)
        return list(range(first, first + self.scale.seeds))

    def dataset(self, name: str) -> str:
        """What plays the part of one of the paper's data sets."""
        return name + self.scale.suffix

    def run_set(self, experiment: str, arch: str, dataset: str) -> Path:
        """Directory of all runs of an architecture on one of the paper's data sets."""
        return self.root / "train" / experiment / f"{arch}-{self.dataset(dataset)}"

    def run(self, experiment: str, arch: str, dataset: str, seed: int) -> Path:
        """Run directory of one model."""
        return self.run_set(experiment, arch, dataset) / f"seed-{seed}"


@dataclass(frozen=True)
class FollowUp:
    """A command that works on trained models."""

    command: str
    name: str  # of its directory
    experiment: str  # of the models
    targets: frozenset[str]  # what needs it, besides the whole
    arguments: tuple[str, ...]

    def directory(self, run: Path) -> Path:
        """Where it leaves its results."""
        return run / self.command / self.name


def follow_ups(arch: str, dataset: str, seed: int, first: bool) -> Iterator[FollowUp]:
    """All that is done with the models of an architecture on one of the paper's data sets; `first`: of seeds."""
    gmm_layers = TABLE_1[arch].count("G(")
    no_pixel_noise = "[" + ",".join(["0"] + ["1"] * (gmm_layers - 1)) + "]"
    sampling = (f"seed={seed}", "sampling.count=36")
    yield FollowUp(
        "outliers", "figure3", FIRST_FIVE, frozenset({"fig3"}), ("outliers.score=log_prob", "outliers.count=0")
    )
    # The same 1,000 images for all models: the deviation over runs is that of training.
    yield FollowUp("cluster", "table2", ALL_CLASSES, frozenset({"table2"}), ("seed=0",))
    if arch == "2L-a" and dataset == "mnist" and first:
        yield FollowUp("visualize", "figure2", ALL_CLASSES, frozenset({"fig2"}), ())
    shown = {{"mnist": "fig4", "fashion_mnist": "fig7"}[dataset]} if arch in SAMPLED else set()
    # Without pixel noise what is left is what the model composes: that is where duplicates show.
    scale = f"sampling.std_scale={no_pixel_noise}"
    yield FollowUp("sample", "no_pixel_noise", FIRST_FIVE, frozenset(shown), (*sampling, scale))
    if shown and first:
        yield FollowUp("sample", "model_noise", FIRST_FIVE, frozenset(shown), (*sampling, "quality.count=0"))
    if arch == "2L-c":
        top_s = f"sampling.top_s=[{','.join(map(str, TOP_S))}]"
        yield FollowUp("sample", "top_s", FIRST_FIVE, frozenset({"fig6"}), (*sampling, scale, top_s))
        sharpened = frozenset({{"mnist": "fig5", "fashion_mnist": "fig8"}[dataset]})
        paper = (*sampling, "sharpening.setting=paper", "quality.count=300")
        low_noise = (*paper, f"sampling.std_scale={LOW_NOISE}")
        yield FollowUp("sharpen", "paper", FIRST_FIVE, sharpened, paper)
        yield FollowUp("sharpen", "paper_low_noise", FIRST_FIVE, sharpened, low_noise)
        yield FollowUp("sharpen", "default", FIRST_FIVE, sharpened, (*sampling, "sharpening.setting=default"))


@dataclass(frozen=True)
class Job:
    """One command line, and where its results will be.

    Args:
        name: unlike that of any other job.
        kind: jobs of one kind take about the same time.
        arguments: of dcgmm, the command first.
        directory: its run directory; None: it computes nothing, and is run whenever something needs it.
        results: directories that hold a finished `result.json` when it is done.
        moves: (from, to) of run directories that are made elsewhere.
        needs: names of jobs that come before it.
        level: jobs of a lower level come first.
        cost: expected time of one core, in seconds.
        on_gpu: whether it is for the process that drives the GPU.
    """

    name: str
    kind: str
    arguments: tuple[str, ...]
    directory: Path | None
    results: tuple[Path, ...]
    needs: tuple[str, ...]
    level: int
    cost: float
    moves: tuple[tuple[Path, Path], ...] = ()
    on_gpu: bool = False

    def is_done(self) -> bool:
        """Whether all its results are there."""
        return bool(self.results) and all(is_finished(directory) for directory in self.results)

    def command_line(self) -> list[str]:
        """Arguments of dcgmm now: a training that was interrupted goes on from its checkpoint."""
        if self.arguments[0] == "train" and self.directory is not None and (self.directory / CHECKPOINT).exists():
            kept = [
                word for word in self.arguments if word.startswith(("trainer.device=", "trainer.threads=", "runs_dir="))
            ]
            return ["train", f"run={self.directory}", *kept]
        return list(self.arguments)


def is_finished(directory: Path) -> bool:
    """Whether a run directory holds the result of a command that came to its end."""
    return finished_result(directory) is not None


def finished_result(directory: Path) -> dict[str, object] | None:
    """The `result.json` of a finished command; None where it is missing, damaged, or of one that did not finish."""
    try:
        result = read_json(directory / RESULT)
    except InputError:
        return None
    return result if result.get("status") == "finished" else None


def plan(study: Study, targets: Collection[str], cuda: bool = False) -> list[Job]:
    """All jobs that the targets need, those that others wait for before them.

    With a GPU a training covers all seeds at once; all else is the same.
    """
    jobs: dict[str, Job] = {}
    for dataset in DATASETS:
        for arch in study.scale.archs:
            for level, seed in enumerate(study.seeds(arch)):
                for follow_up in follow_ups(arch, dataset, seed, first=level == 0):
                    if EVERYTHING in targets or follow_up.targets & set(targets):
                        make = _train_all_seeds if cuda else _train
                        training = make(study, follow_up.experiment, arch, dataset, seed, level)
                        run = study.run(follow_up.experiment, arch, dataset, seed)
                        last = _follow(study, follow_up, run, arch, dataset, level, training)
                        jobs |= {job.name: job for job in (*_fetch(study, dataset), training, last)}
    return list(jobs.values())


def _fetch(study: Study, dataset: str) -> list[Job]:
    """One job before all trainings, which would else fetch side by side; none for what comes with the package."""
    name = study.dataset(dataset)
    return [] if study.scale.suffix else [Job(f"data {name}", "data", ("data", f"fetch=[{name}]"), None, (), (), 0, 5)]


def _train(study: Study, experiment: str, arch: str, dataset: str, seed: int, level: int) -> Job:
    """One model, on one thread of a CPU."""
    directory = study.run(experiment, arch, dataset, seed)
    return Job(
        name=str(directory.relative_to(study.root)),
        kind=f"train {experiment} {arch} {dataset}",
        arguments=(
            *_training_arguments(study, experiment, arch, dataset, directory),
            f"seed={seed}",
            "trainer.device=cpu",
            "trainer.threads=1",
        ),
        directory=directory,
        results=(directory,),
        needs=tuple(job.name for job in _fetch(study, dataset)),
        level=level,
        cost=SECONDS[arch] * STEPS[experiment] * study.scale.effort,
    )


def _train_all_seeds(study: Study, experiment: str, arch: str, dataset: str, seed: int, level: int) -> Job:
    """The models of all seeds side by side, on a GPU."""
    seeds = study.seeds(arch)
    directory = study.run_set(experiment, arch, dataset) / f"together-{seeds[0]}-{seeds[-1]}"
    results = tuple(study.run(experiment, arch, dataset, each) for each in seeds)
    return Job(
        name=str(directory.relative_to(study.root)),
        kind=f"train {experiment} {arch} {dataset}",
        arguments=(
            *_training_arguments(study, experiment, arch, dataset, directory),
            f"seed={seeds[0]}",
            f"trainer.replicas={len(seeds)}",
            "trainer.device=cuda",
        ),
        directory=directory,
        results=results,
        needs=tuple(job.name for job in _fetch(study, dataset)),
        level=0,
        cost=SECONDS[arch] * STEPS[experiment] * study.scale.effort,
        moves=tuple((directory / "replicas" / result.name, result) for result in results),
        on_gpu=True,
    )


def _training_arguments(study: Study, experiment: str, arch: str, dataset: str, directory: Path) -> tuple[str, ...]:
    experiments = ",".join((experiment, *study.scale.experiments))
    return (
        "train",
        "--config-dir",
        str(CONFIG_DIR),
        f"+experiment=[{experiments}]",
        f"arch={arch}",
        f"dataset={study.dataset(dataset)}",
        f"runs_dir={study.root}",
        f"hydra.run.dir={directory}",
        *study.scale.overrides.get("train", ()),
    )


def _follow(study: Study, follow_up: FollowUp, run: Path, arch: str, dataset: str, level: int, after: Job) -> Job:
    directory = follow_up.directory(run)
    return Job(
        name=str(directory.relative_to(study.root)),
        kind=f"{follow_up.command} {follow_up.name} {arch} {dataset}",
        arguments=(
            follow_up.command,
            f"run={run}",
            *follow_up.arguments,
            *study.scale.overrides.get(follow_up.command, ()),
            "device=cpu",
            "threads=1",
            f"hydra.run.dir={directory}",
        ),
        directory=directory,
        results=(directory,),
        needs=(after.name,),
        level=level,
        cost=3,
    )
