from typing import Any

import pytest
import torch

from dcgmm.model import DCGMM
from dcgmm.outliers import Detector, Ensemble
from tests.dcgmm.outliers.test_detector import LAYERS, images
from tests.refusals import refused

WHOLE: list[dict[str, Any]] = [{"type": "folding", "kernel": (16, 16)}, {"type": "gmm", "components": 4}]


def fitted(layers: list[dict[str, Any]], seed: int) -> Detector:
    model = DCGMM.build((16, 16, 1), layers).double()
    model.draw_start(torch.Generator().manual_seed(seed))
    return Detector.fit(model, images(300, 0))


@pytest.fixture(scope="module")
def members() -> list[Detector]:
    return [fitted(LAYERS, 0), fitted(WHOLE, 1), fitted(WHOLE, 2)]


def test_the_vote_is_the_mean_logarithm_of_p_values(members: list[Detector]) -> None:
    ensemble, new = Ensemble.of(members, images(300, 0)), images(40, 5)
    found = ensemble.scores(new, batch_size=7)
    said = [member.p_values("ratio", member.scores(new)["ratio"]).log() for member in members]
    assert torch.allclose(found["vote"], torch.stack(said).mean(0), atol=1e-9)
    alone = members[0].scores(new)
    assert list(found) == ensemble.names == [*alone, "vote"]
    assert all(torch.allclose(found[name], alone[name]) for name in alone)
    assert ensemble.name_of("vote") == "vote"


def test_the_vote_has_a_distribution_of_its_own(members: list[Detector]) -> None:
    training = images(300, 0)
    ensemble = Ensemble.of(members, training, batch_size=100)
    votes = ensemble.scores(training)["vote"]
    assert float(ensemble.standardised("vote", votes).mean()) == pytest.approx(0, abs=1e-9)
    for rate in (0.05, 0.3):
        low = ensemble.standardised("vote", votes) <= -ensemble.c_of("vote", rate)
        assert float(low.double().mean()) == pytest.approx(rate, abs=0.01)
    assert ensemble.p_values("vote", votes).median() == pytest.approx(0.5, abs=0.01)


def test_outliers_of_any_member_are_outliers_of_the_vote(members: list[Detector]) -> None:
    ensemble = Ensemble.of(members, images(300, 0))
    assert ensemble.p_values("vote", ensemble.scores(torch.ones(2, 16, 16, 1))["vote"]).max() < 0.01


def test_members_must_see_images_of_one_shape(members: list[Detector]) -> None:
    model = DCGMM.build((8, 8, 1), [{"type": "gmm", "components": 4}]).double()
    other = Detector.fit(model, torch.rand(20, 8, 8, 1, dtype=torch.float64))
    with refused("one", "16x16x1", "8x8x1"):
        Ensemble.of([members[0], other], images(300, 0))


def test_an_ensemble_is_made_of_detectors(members: list[Detector]) -> None:
    ensemble = Ensemble.of(members, images(300, 0))
    with refused("Ensemble.of"):
        Ensemble.fit(members[0].model, images(30, 0))
    with refused("Ensemble.of"):
        ensemble.seen_through(images(30, 0), torch.ones(16, 16, dtype=torch.bool))
