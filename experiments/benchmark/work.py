"""The jobs of the benchmark, as the paper's runner calls them: command lines to exit codes."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import dcgmm
from dcgmm.files import write_json, write_text
from dcgmm.outliers.metrics import Floats
from dcgmm_cli.runs import RESULT
from experiments.benchmark.measuring import measured
from experiments.benchmark.tasks import Judging, TrainingSet, judging, training_sets
from experiments.paper.worker import dcgmm as dcgmm_command

COST = "cost.json"  # beside a training's result


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
    (directory,) = (word.partition("=")[2] for word in words if word.startswith("hydra.run.dir="))
    if code == 0:
        write_text(Path(directory) / COST, json.dumps(cost))
    return code


def _peer(training: TrainingSet, seed: int, suffix: str, names: Sequence[str]) -> dict[str, Any]:
    from experiments.benchmark.peers import PEERS, fitted_images
    from experiments.outliers.peers import points

    peer = PEERS[names[0]]
    train, judged = fitted_images(peer, training.train(suffix), seed), judging(training, suffix, seed)
    result: dict[str, Any] = {"images": len(train)}
    with measured(result):
        with measured(result, "fit_seconds"):
            score = peer.fit(train, seed)
        result["auroc"] = judged.aurocs(lambda images: np.asarray(score(points(images))))
    return result


def _judge(training: TrainingSet, seed: int, suffix: str, runs: Sequence[str]) -> dict[str, Any]:
    """Every score of each model, and the vote."""
    from experiments.benchmark.configuration import MEMBERS

    judged = judging(training, suffix, seed)
    result: dict[str, Any] = {}
    with measured(result):
        detectors = {arch: dcgmm.load_run(run).detector() for arch, run in zip(MEMBERS, runs, strict=True)}
        _ = {arch: _scores(detector, judged) for arch, detector in detectors.items()}
    result["auroc"] = {}
    return result


def _scores(detector: dcgmm.Detector, judged: Judging) -> dict[str, dict[str, Floats]]:
    """Scores of all parts, standardised on the training images, by score and part."""
    found: dict[str, dict[str, Floats]] = {}
    for part, images in judged.parts.items():
        for name, values in detector.scores(images).items():
            found.setdefault(name, {})[part] = detector.standardised(name, values).numpy()
    return found
