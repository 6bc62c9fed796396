"""What is run: trainings by `dcgmm train`, judging of what they made, and peers; as jobs of the paper's runner."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from dcgmm.outliers.options import VOTE
from experiments.benchmark.configuration import ARCHITECTURES, CONFIG_DIR, MEMBERS, SECONDS, length
from experiments.benchmark.peers import PEERS
from experiments.benchmark.tasks import CLASSES, TrainingSet, training_sets
from experiments.paper.plan import Job

RUN, MODELS, PAPER, PEER_RUNS, REPORT = "run", "models", "architectures", "peers", "report"
TARGETS = (RUN, MODELS, PAPER, PEER_RUNS, REPORT)


@dataclass(frozen=True)
class Study:
    """How much of the benchmark is run, and where."""

    root: Path
    seeds: int = 1
    suffix: str = ""  # of the data sets' names
    sets: tuple[TrainingSet, ...] = tuple(training_sets())
    architectures: tuple[str, ...] = ARCHITECTURES  # judged by themselves
    training: tuple[str, ...] = ()  # overrides of each training

    def directory(self, kind: str, name: str, training: TrainingSet, seed: int) -> Path:
        """Where a job leaves its results."""
        return self.root / kind / name / training.name / f"seed-{seed}"


QUICK_SETS = (
    TrainingSet("mnist", (0,)),
    TrainingSet("fashion_mnist", (1,)),
    TrainingSet("mnist", tuple(range(CLASSES // 2))),
    TrainingSet("fashion_mnist"),
)
QUICK_TRAINING = ("dataset.limit=200", "trainer.epochs=2", "trainer.annealing.alpha=1")


def quick(root: Path) -> Study:
    """The same path in little time, on the bundled samples."""
    return Study(root, suffix="_sample", sets=QUICK_SETS, architectures=ARCHITECTURES[:1], training=QUICK_TRAINING)


def plan(study: Study, targets: Collection[str], peers: Sequence[str]) -> list[Job]:
    """All jobs that the targets need; one seed of everything before the next."""
    jobs: list[Job] = []
    for seed in range(study.seeds):
        for place, training in enumerate(study.sets):
            level = seed * len(study.sets) + place
            if {RUN, MODELS} & set(targets):
                jobs += _models(study, VOTE, tuple(MEMBERS), training, seed, level)
            if {RUN, PAPER} & set(targets):
                for arch in study.architectures:
                    jobs += _models(study, arch, (arch,), training, seed, level)
            if {RUN, PEER_RUNS} & set(targets):
                jobs += [_peer(study, peer, training, seed, level) for peer in peers]
    return jobs


def _models(
    study: Study, name: str, archs: Sequence[str], training: TrainingSet, seed: int, level: int
) -> Iterator[Job]:
    """Trainings, and the judging of what they made, together where they are several."""
    made = [_train(study, arch, training, seed, level) for arch in archs]
    yield from made
    runs = [f"{arch}={study.directory('train', arch, training, seed)}" for arch in archs]
    directory = study.directory("judge", name, training, seed)
    words = ("judge", *_place(training, seed, study, directory), *runs)
    yield _job(study, "judge", name, words, directory, level, 5.0, tuple(job.name for job in made))


def _train(study: Study, arch: str, training: TrainingSet, seed: int, level: int) -> Job:
    directory = study.directory("train", arch, training, seed)
    words = (
        "train",
        "--config-dir",
        str(CONFIG_DIR),
        f"arch={arch}",
        f"dataset={training.dataset}{study.suffix}",
        *(() if training.classes is None else (f"dataset.classes={list(training.classes)}".replace(" ", ""),)),
        f"seed={seed}",
        "trainer.device=cpu",
        "trainer.threads=1",
        f"runs_dir={study.root}",
        f"hydra.run.dir={directory}",
        *(study.training or (length(training),)),
    )
    return _job(study, "train", arch, words, directory, level, SECONDS.get(arch, 4.0), ())


def _peer(study: Study, peer: str, training: TrainingSet, seed: int, level: int) -> Job:
    directory = study.directory("peer", peer, training, seed)
    words = ("peer", *_place(training, seed, study, directory), peer)
    return _job(study, "peer", peer, words, directory, level, PEERS[peer].seconds, ())


def _place(training: TrainingSet, seed: int, study: Study, directory: Path) -> tuple[str, ...]:
    return (training.name, str(seed), study.suffix, str(directory))


def _job(
    study: Study,
    kind: str,
    name: str,
    words: tuple[str, ...],
    directory: Path,
    level: int,
    cost: float,
    needs: tuple[str, ...],
) -> Job:
    own = str(directory.relative_to(study.root))
    return Job(own, f"{kind} {name}", words, directory, (directory,), needs, level, cost)
