import itertools
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.mixture import GaussianMixture
from torch.distributions import Normal

import dcgmm
from dcgmm.classification import GenerativeClassifier, log_posteriors
from dcgmm.errors import InputError, OptionError
from dcgmm.model import DCGMM, LayerOptions, LayerType
from tests.conftest import ROUNDING, normal, uniform
from tests.dcgmm.classification.models import filled, flat_model, grouped, open_model
from tests.dcgmm.small import small_images, small_model
from tests.refusals import option_refused, refused

LABELS = torch.tensor([7, 2, 5]).repeat(20)


def test_bayes_rule_is_that_of_scikit_learns_mixture() -> None:
    model, images = flat_model(), uniform(60, 2, 3, 1)
    classifier = GenerativeClassifier.fit(model, images, LABELS)
    gmm, (classes, _, components) = model.gmms["gmm1"], classifier.log_weights.shape
    # One mixture of all classes' components: the components of a class together are the class.
    oracle = GaussianMixture(classes * components, covariance_type="diag")
    oracle.weights_ = (classifier.log_prior[:, None] + classifier.log_weights[:, 0]).exp().flatten().numpy()
    oracle.means_ = gmm.loc.detach().repeat(classes, 1).numpy()
    oracle.precisions_cholesky_ = gmm.precision_sqrt.detach().repeat(classes, 1).numpy()
    unseen = uniform(40, 2, 3, 1, seed=9)
    expected = oracle.predict_proba(unseen.flatten(1).numpy()).reshape(-1, classes, components).sum(-1)
    found = classifier.log_posterior(unseen)
    np.testing.assert_allclose(found.exp(), expected, rtol=1e-9)
    assert classifier.classes == (2, 5, 7)
    assert torch.equal(classifier.predict(unseen), torch.tensor([2, 5, 7])[found.argmax(-1)])


@pytest.mark.parametrize("per_position", [False, True])
@pytest.mark.parametrize("which", ["stack", "open"])
def test_weights_are_smoothed_counts_of_responsibilities(which: str, per_position: bool) -> None:
    model, images = (small_model(), small_images(60)) if which == "stack" else (open_model(), uniform(60, 4, 3, 1))
    classifier = GenerativeClassifier.fit(
        model, images, LABELS, concentration=0.7, per_position=per_position, position_weight=1.0
    )
    responsibilities = list(model.score(images).values())[-1].responsibilities.flatten(1, 2)  # (N, P, K)
    _, positions, components = responsibilities.shape
    for g, label in enumerate((2, 5, 7)):
        for p in range(positions):
            counts = np.full(components, 0.7)
            for n, k in itertools.product(range(60), range(components)):
                for other in [p] if per_position else range(positions):
                    counts[k] += float(responsibilities[n, other, k].detach()) * float(LABELS[n] == label)
            own = classifier.log_weights[g, p if per_position else 0].exp()
            np.testing.assert_allclose(own, counts / counts.sum(), rtol=1e-9)
    assert classifier.log_prior.exp().tolist() == pytest.approx([1 / 3] * 3)


def test_positions_are_independent_given_the_class() -> None:
    model, images = open_model(), uniform(60, 4, 3, 1)
    classifier = GenerativeClassifier.fit(model, images, LABELS, per_position=True, position_weight=0.4)
    gmm = model.gmms["gmm1"]
    expected = classifier.log_prior.repeat(8, 1)
    for n, g in itertools.product(range(8), range(3)):
        for row, column in itertools.product(range(3), range(2)):
            patch = images[n, row : row + 2, column : column + 2].flatten()
            densities = Normal(gmm.loc, 1 / gmm.precision_sqrt).log_prob(patch).sum(-1)
            own = classifier.log_weights[g, 2 * row + column]
            expected[n, g] += 0.4 * float((own + densities).logsumexp(-1).detach())
    torch.testing.assert_close(classifier.log_posterior(images[:8]), expected.log_softmax(-1), **ROUNDING)


def test_missing_pixels_are_integrated_out() -> None:
    model = flat_model(1, 2)
    images = uniform(30, 1, 2, 1)
    classifier = GenerativeClassifier.fit(model, images, torch.arange(30) % 2)
    gmm = model.gmms["gmm1"]
    seen = torch.tensor([[True, False]])
    grid = torch.linspace(-8, 8, 8001, dtype=torch.float64)
    both = torch.stack([images[:, 0, 0].expand(-1, len(grid)), grid.expand(30, -1)], -1)  # (N, M, 2)
    densities = Normal(gmm.loc, 1 / gmm.precision_sqrt).log_prob(both.unsqueeze(-2)).sum(-1)  # (N, M, K)
    joint = (densities.unsqueeze(-2) + classifier.log_weights[:, 0]).logsumexp(-1) + classifier.log_prior  # (N, M, G)
    marginal = torch.trapezoid(joint.exp().detach(), grid, dim=1)
    expected = marginal / marginal.sum(-1, keepdim=True)
    hidden = images.clone()
    hidden[:, :, 1] = torch.nan
    torch.testing.assert_close(classifier.log_posterior(hidden, seen).exp(), expected, rtol=1e-8, atol=1e-8)
    nothing = classifier.log_posterior(images, torch.zeros(1, 2))
    torch.testing.assert_close(nothing, classifier.log_prior.expand(30, -1), **ROUNDING)


def test_a_class_of_a_place_needs_weights_of_each_position() -> None:
    # Class 0 is bright on the left, class 1 on the right: over all positions both look alike.
    model = filled(DCGMM.build((1, 2, 1), [LayerOptions(LayerType.gmm, components=4)]))
    labels = torch.arange(200) % 2
    images = 0.15 + 0.1 * uniform(200, 1, 2, 1)
    images[labels == 0, 0, 0] += 0.6
    images[labels == 1, 0, 1] += 0.6
    with torch.no_grad():
        model.gmms["gmm1"].loc.copy_(torch.tensor([[0.2], [0.4], [0.6], [0.8]]))
        model.gmms["gmm1"].precision_sqrt.fill_(8.0)
    chosen = GenerativeClassifier.fit(model, images, labels)
    assert chosen.description["per_position"] is True
    assert torch.equal(chosen.predict(images), labels)
    shared = GenerativeClassifier.fit(model, images, labels, per_position=False)
    assert float((shared.predict(images) == labels).double().mean()) < 0.7


def test_positions_that_say_the_same_count_once() -> None:
    model = filled(DCGMM.build((1, 4, 1), [LayerOptions(LayerType.gmm, components=25)]))
    with torch.no_grad():
        model.gmms["gmm1"].loc.copy_(torch.linspace(0, 1, 25)[:, None])
        model.gmms["gmm1"].precision_sqrt.fill_(50.0)
        model.gmms["gmm1"].logits.zero_()
    labels = torch.arange(4000) % 2
    alike = (0.4 + 0.2 * labels + 0.12 * normal(4000)).clamp(0, 1)[:, None, None, None].expand(-1, 1, 4, 1)
    weight = GenerativeClassifier.fit(model, alike, labels).position_weight
    assert 0.2 < weight < 0.4  # not far from 1/4
    apart = (0.4 + 0.2 * labels[:, None] + 0.12 * normal(4000, 4)).clamp(0, 1)[:, None, :, None]
    assert GenerativeClassifier.fit(model, apart, labels).position_weight > 0.8


def test_the_seed_says_what_is_held_out() -> None:
    model, images = open_model(), uniform(60, 4, 3, 1)
    weights = [GenerativeClassifier.fit(model, images, LABELS, seed=seed).position_weight for seed in (0, 0, 1)]
    assert weights[0] == weights[1] != weights[2]


def test_few_images_leave_nothing_to_choose_by() -> None:
    model, images = open_model(), uniform(9, 4, 3, 1)
    classifier = GenerativeClassifier.fit(model, images, LABELS[:9])
    assert classifier.description == {"per_position": False, "position_weight": 1.0}


def test_images_of_a_class_are_drawn_from_its_components() -> None:
    model, images, labels = grouped()
    classifier = GenerativeClassifier.fit(model, images, labels, concentration=1e-9)
    wanted = torch.tensor([3, 8]).repeat(100)
    drawn = dcgmm.sample(model, 200, weights=classifier.component_weights(wanted))
    components = drawn.components["gmm1"].flatten()
    assert torch.equal(components // 2, (wanted == 8).long())
    assert components.unique().tolist() == [0, 1, 2, 3]  # all of each class
    assert torch.equal(classifier.predict(drawn.images.clamp(0, 1)), wanted)


def test_weights_of_classes_at_each_position() -> None:
    model, images = open_model(), uniform(60, 4, 3, 1)
    for per_position in (False, True):
        classifier = GenerativeClassifier.fit(model, images, LABELS, per_position=per_position)
        weights = classifier.component_weights(torch.tensor([7, 2]))
        assert weights.shape == (2, 3, 2, 4)
        torch.testing.assert_close(weights.sum(-1), torch.ones(2, 3, 2).double(), **ROUNDING)
        own = classifier.log_weights[2].exp().expand(6, -1)
        torch.testing.assert_close(weights[0].flatten(0, 1), own, **ROUNDING)
    with option_refused("labels", 3, 2, 5, 7):
        classifier.component_weights(torch.tensor([7, 3]))


def test_several_classifiers_are_asked_at_once() -> None:
    model, images = open_model(), uniform(450, 4, 3, 1)
    model.score(images[:1])
    both = {
        str(each): GenerativeClassifier.fit(model, images[:60], LABELS, per_position=each) for each in (True, False)
    }
    mask = uniform(450, 4, 3, seed=4) < 0.5
    for name, found in log_posteriors(both, images, mask).items():
        assert torch.equal(found, both[name].log_posterior(images, mask))
        one = torch.cat([both[name].log_posterior(images[n : n + 1], mask[n]) for n in (0, 300, 449)])
        torch.testing.assert_close(found[[0, 300, 449]], one, **ROUNDING)


@pytest.mark.parametrize(
    ("labels", "fields", "kind", "named"),
    [
        (torch.zeros(60, dtype=torch.long), {}, InputError, "labels two 1"),
        (LABELS[:59], {}, OptionError, "labels 60 59 int64"),
        (LABELS.double(), {}, OptionError, "labels 60 float64"),
        (LABELS, {"concentration": 0}, OptionError, "concentration 0 0"),
        (LABELS, {"position_weight": -1.0}, OptionError, "position_weight 0 -1.0"),
        (LABELS, {"smoothing": 1}, OptionError, "GenerativeOptions concentration smoothing"),
    ],
)
def test_what_cannot_be_fitted(
    labels: torch.Tensor, fields: dict[str, Any], kind: type[InputError], named: str
) -> None:
    with refused(*named.split(), kind=kind):
        GenerativeClassifier.fit(flat_model(), uniform(60, 2, 3, 1), labels, **fields)
