from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from dcgmm.classification import Readout
from dcgmm.classification.fitting import fit_classifier
from dcgmm.classification.readout import GRID, LEAST
from dcgmm.errors import OptionError
from tests.conftest import uniform
from tests.dcgmm.classification.models import open_model
from tests.dcgmm.small import small_images, small_model
from tests.refusals import option_refused

LABELS = torch.tensor([7, 2, 5]).repeat(40)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("layers", [["gmm1"], ["gmm1", "gmm2"], None])
def test_it_is_scikit_learns_regression_on_responsibilities(classes: int, layers: list[str] | None) -> None:
    model, images, labels = small_model(), small_images(120), LABELS % classes
    scored = model.score(images)
    seen = torch.cat([scored[name].responsibilities.detach().flatten(1) for name in layers or model.gmms], -1).numpy()
    oracle = LogisticRegression(C=2.0, tol=3e-5, max_iter=1000).fit(np.where(seen < LEAST, 0, seen), labels)
    readout = Readout.fit(model, images, labels, layers=layers, C=2.0)
    assert readout.description == {"layers": layers or ["gmm1", "gmm2"], "features": seen.shape[1], "C": 2.0}
    expected = oracle.predict_log_proba(np.where(seen < LEAST, 0, seen))
    np.testing.assert_allclose(readout.log_posterior(images), expected, atol=1e-9)
    assert torch.equal(readout.predict(images), torch.from_numpy(oracle.predict(np.where(seen < LEAST, 0, seen))))


def test_noise_is_regularised_and_structure_is_not() -> None:
    model, images = open_model(), uniform(400, 4, 3, 1)
    noise = torch.randint(0, 2, (400,), generator=torch.Generator().manual_seed(0))
    of_noise = Readout.fit(model, images, noise)
    assert min(GRID) == of_noise.C
    structure = (images.mean((1, 2, 3)) > 0.5).long()
    assert Readout.fit(model, images, structure).C > of_noise.C


def test_few_images_leave_nothing_to_choose_by() -> None:
    assert Readout.fit(open_model(), uniform(9, 4, 3, 1), LABELS[:9]).C == 1


def test_missing_pixels() -> None:
    model, images = open_model(), uniform(120, 4, 3, 1)
    readout = Readout.fit(model, images, LABELS, C=1.0)
    whole = readout.log_posterior(images)
    torch.testing.assert_close(readout.log_posterior(images, torch.ones(4, 3)), whole, rtol=1e-9, atol=1e-9)
    hidden = images.clone()
    hidden[:, 1] = torch.nan
    part = readout.log_posterior(hidden, torch.arange(4)[:, None].expand(4, 3) != 1)
    assert part.isfinite().all()
    assert not torch.allclose(part, whole)


@pytest.mark.parametrize("kind", ["bool", "uint8", ">i4", "uint64"])
def test_labels_of_any_number_type(kind: str) -> None:
    readout = Readout.fit(open_model(), uniform(120, 4, 3, 1), (LABELS.numpy() - 2).astype(kind))
    assert readout.classes == ((0, 1) if kind == "bool" else (0, 3, 5))


@pytest.mark.parametrize("labels", [["a", "b"] * 60, [None] * 120, [0.5] * 120, LABELS[:7], LABELS[:, None], None])
def test_labels_that_are_none(labels: Any) -> None:
    with pytest.raises(OptionError) as error:
        Readout.fit(open_model(), uniform(120, 4, 3, 1), labels)
    assert error.value.field == "labels"


def test_what_cannot_be_fitted() -> None:
    with option_refused("layers", "gmm3", "gmm1"):
        Readout.fit(open_model(), uniform(120, 4, 3, 1), LABELS, layers=["gmm3"])
    with option_refused("method", "both", "generative", "readout"):
        fit_classifier(open_model(), uniform(120, 4, 3, 1), LABELS, "both")
