"""The jobs of the benchmark, as the paper's runner calls them: command lines to exit codes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

import dcgmm
from dcgmm.files import write_json
from dcgmm.outliers.ensemble import VOTES_BY
from dcgmm.outliers.metrics import Floats
from dcgmm.outliers.options import VOTE
from dcgmm_cli.runs import RESULT
from experiments.benchmark.measuring import measured
from experiments.benchmark.peers import PEERS, fitted_images
from experiments.benchmark.tasks import Judging, TrainingSet, judging, training_sets
from experiments.outliers.peers import points
from experiments.paper.worker import dcgmm as dcgmm_command

COST = "cost.json"  # beside a training's result
SHOWN = ("log_prob", "ratio", "joint", "pixels", "auto")  # scores of each member that are judged too
FLAT = ("log_prob", "pixels", "auto")  # of one GMM layer, where ratio and joint are the log-likelihood


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
    """Scores of models, given as <architecture>=<run directory>; of several also their vote, and one by `joint`."""
    judged = judging(training, suffix, seed)
    result: dict[str, Any] = {"images": len(training.train(suffix))}
    with measured(result):
        named = (run.partition("=") for run in runs)
        members = {arch: dcgmm.load_run(directory).detector() for arch, _, directory in named}
        each = {arch: _scores(member, judged) for arch, member in members.items()}
    aurocs = {
        f"{arch} {name}": judged.judged(_by_part(each[arch], member, name))
        for arch, member in members.items()
        for name in (SHOWN if len(member.layers) > 1 else FLAT)
    }
    if len(members) > 1:
        together = {name: judged.judged(_together(each, members, name)) for name in (VOTES_BY, "joint")}
        aurocs = {VOTE: together[VOTES_BY], "vote by joint": together["joint"], **aurocs}
    return result | {"auroc": aurocs}


Scored = dict[str, dict[str, Tensor]]  # by part and score


def _scores(member: dcgmm.Detector, judged: Judging) -> Scored:
    return {part: member.scores(images) for part, images in judged.parts.items()}


def _by_part(scored: Scored, member: dcgmm.Detector, score: str) -> dict[str, Floats]:
    return {part: scores[member.name_of(score)].numpy() for part, scores in scored.items()}


def _together(each: dict[str, Scored], members: dict[str, dcgmm.Detector], score: str) -> dict[str, Floats]:
    """What `Ensemble` finds, by any score: the mean logarithm of the members' p-values."""
    log_p = {
        arch: {
            part: member.known_calibration.scores[score].log_p_values(scores[score]).numpy()
            for part, scores in each[arch].items()
        }
        for arch, member in members.items()
    }
    return {part: np.mean([found[part] for found in log_p.values()], 0) for part in next(iter(log_p.values()))}
