"""The jobs of the benchmark, as the paper's runner calls them: command lines to exit codes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import dcgmm
from dcgmm.files import write_json
from dcgmm.outliers import Ensemble
from dcgmm.outliers.metrics import Floats
from dcgmm.outliers.options import VOTE
from dcgmm_cli.runs import RESULT
from experiments.benchmark.configuration import MEMBERS
from experiments.benchmark.measuring import measured
from experiments.benchmark.peers import PEERS, fitted_images
from experiments.benchmark.tasks import Judging, TrainingSet, judging, training_sets
from experiments.outliers.peers import points
from experiments.paper.worker import dcgmm as dcgmm_command

COST = "cost.json"  # beside a training's result
SHOWN = ("log_prob", "ratio", "joint", "pixels", "auto")  # scores of each member that are judged too


def command(words: list[str]) -> int:
    """Run a command line: dcgmm's `train`, or `peer` or `judge`."""
    if words[0] == "train":
        return _train(words)
    name, seed, suffix, directory, *more = words[1:]
    (training,) = (each for each in training_sets() if each.name == name)
    work = {"peer": _peer, "judge": _judge}[words[0]]
    result = work(training, int(seed), suffix, more)
    write_json(Path(directory) / RESULT, {"status": "finished", **result})
    return 0


def _train(words: list[str]) -> int:
    cost: dict[str, Any] = {}
    with measured(cost):
        code = dcgmm_command(words)
    # What goes on from a checkpoint (run=...) has been at work before: what it takes in all is not known.
    directory = next((word.partition("=")[2] for word in words if word.startswith("hydra.run.dir=")), None)
    if code == 0 and directory is not None:
        write_json(Path(directory) / COST, cost)
    return code


def _peer(training: TrainingSet, seed: int, suffix: str, names: Sequence[str]) -> dict[str, Any]:
    (name,) = names
    peer = PEERS[name]
    train, judged = fitted_images(peer, training.train(suffix), seed), judging(training, suffix, seed)
    result: dict[str, Any] = {"images": len(train)}
    with measured(result):
        score = peer.fit(train, seed)
        aurocs = judged.aurocs(lambda images: np.asarray(score(points(images))))
    return result | {"auroc": {name: aurocs}}


def _judge(training: TrainingSet, seed: int, suffix: str, runs: Sequence[str]) -> dict[str, Any]:
    """The vote, and scores of each member."""
    judged = judging(training, suffix, seed)
    train = training.train(suffix)
    result: dict[str, Any] = {"images": len(train)}
    with measured(result):
        members = [dcgmm.load_run(run).detector() for run in runs]
        ensemble = Ensemble.of(members, train)
        votes = judged.aurocs(lambda images: np.asarray(ensemble.scores(images)[VOTE]))
    aurocs = {VOTE: votes}
    for arch, member in zip(MEMBERS, members, strict=True):
        aurocs |= {f"{arch} {name}": found for name, found in _each(member, judged).items()}
    return result | {"auroc": aurocs}


def _each(member: dcgmm.Detector, judged: Judging) -> dict[str, dict[str, float]]:
    """AUROC of each score of a member, by its short name and by task."""
    scores: dict[str, dict[str, Floats]] = {}
    for part, images in judged.parts.items():
        for name, values in member.scores(images).items():
            scores.setdefault(name, {})[part] = values.numpy()
    return {name: judged.judged(scores[member.name_of(name)]) for name in SHOWN}
