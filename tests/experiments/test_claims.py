"""Verdicts on made-up figures whose truth is known."""

import random
from collections.abc import Mapping

from experiments.paper.claims import (
    Check,
    clustering,
    diversity,
    outliers,
    sharpening,
    top_s,
    values,
)
from experiments.paper.estimates import Interval
from experiments.paper.items import Item, Row
from experiments.paper.plan import ITEMS
from experiments.paper.published import ARCHS, DATASETS

NOTHING: dict[str, Item | None] = dict.fromkeys(ITEMS)


def rows(column: str, by_arch: Mapping[str, float], spread: float = 0.01, seeds: int = 10) -> list[Row]:
    """A column around a value for each architecture, on both data sets."""
    draw = random.Random(0)
    return [
        {"dataset": dataset, "arch": arch, "seed": seed, column: value + draw.uniform(-spread, spread)}
        for dataset in DATASETS
        for arch, value in by_arch.items()
        for seed in range(seeds)
    ]


def levels(flat: float, convolutional: float, other: float) -> dict[str, float]:
    return {arch: flat if arch == "1L" else other if arch in ("2L-d", "3L-b") else convolutional for arch in ARCHS}


def test_a_check_holds_only_where_its_whole_interval_does() -> None:
    def check(low: float, high: float, below: bool = False, bound: float = 0.0) -> str:
        return Check("x", "mnist", Interval((low + high) / 2, 1, low, high, 10), below, bound).verdict

    assert [check(1, 2), check(-1, 2), check(-2, -1)] == ["holds", "undecided", "contradicted"]
    assert [check(1, 2, True), check(-1, 2, True), check(-2, -1, True)] == ["contradicted", "undecided", "holds"]
    assert [check(1, 2, True, 3), check(4, 5, True, 3), check(1, 2, False, 3)] == [
        "holds",
        "contradicted",
        "contradicted",
    ]
    assert Check("x", "mnist", None).verdict == "missing"


def test_outliers() -> None:
    as_claimed = outliers(NOTHING | {"fig3": Item(rows("auroc", levels(0.8, 0.9, 0.5)))})
    assert as_claimed.verdict() == "reproduced"
    assert not as_claimed.because
    reversed_ = outliers(NOTHING | {"fig3": Item(rows("auroc", levels(0.8, 0.5, 0.9)))})
    assert reversed_.verdict() == "not reproduced (of 8 checks 8 contradicted)"
    assert reversed_.because[0].startswith("MNIST: convolutional, but below the flat GMM's 0.80")
    mixed = outliers(NOTHING | {"fig3": Item(rows("auroc", levels(0.8, 0.7, 0.5) | {"3L-a": 0.95}))})
    assert mixed.verdict("mnist") == "reproduced in part (of 4 checks 3 hold, 1 contradicted)"
    assert "best deep convolutional (3L-a) less best other (1L)" in [check.quantity for check in mixed.checks]


def test_claims_on_too_few_runs_are_missing_and_not_judged() -> None:
    for claim in (outliers, clustering, diversity, sharpening, top_s):
        assert claim(NOTHING).verdict() == "missing: not enough runs yet"
    single = outliers(NOTHING | {"fig3": Item(rows("auroc", levels(0.8, 0.9, 0.5), seeds=1))})
    assert single.verdict() == "missing: not enough runs yet"
    no_flat = {arch: value for arch, value in levels(0.8, 0.9, 0.5).items() if arch != "1L"}
    some = outliers(NOTHING | {"fig3": Item(rows("auroc", no_flat))})
    assert some.verdict("mnist") == "reproduced in part (of 4 checks 2 hold, 2 missing)"


def test_noise_leaves_a_claim_undecided() -> None:
    noisy = outliers(NOTHING | {"fig3": Item(rows("auroc", levels(0.8, 0.8, 0.8), spread=0.2))})
    assert "undecided" in noisy.verdict()
    assert not noisy.verdict().startswith("reproduced (")


def test_clustering_knows_which_way_its_figures_are_good() -> None:
    def table(dunn: Mapping[str, float], davies_bouldin: Mapping[str, float]) -> dict[str, Item | None]:
        pairs = zip(rows("dunn", dunn), rows("davies_bouldin", davies_bouldin), strict=True)
        return NOTHING | {"table2": Item([first | second for first, second in pairs])}

    assert clustering(table(levels(0.1, 0.1, 0.2), levels(3, 3, 2))).verdict() == "reproduced"
    worse = clustering(table(levels(0.2, 0.2, 0.1), levels(2, 2, 3)))
    assert worse.verdict() == "not reproduced (of 8 checks 8 contradicted)"
    # The paper's own table 2: its 2L-d and 3L-b are behind the others on FashionMNIST.
    assert any(
        "FashionMNIST" in line and "dunn: deep non-convolutional less 1L: -0.020" in line for line in worse.because
    )
    assert not any(line.startswith("MNIST") for line in worse.because)


def test_undefined_figures_are_left_out() -> None:
    item = Item([{"arch": "1L", "dunn": None}, {"arch": "1L", "dunn": 0.1}])
    assert values(item, "dunn") == {"1L": [0.1]}


def test_diversity() -> None:
    pairs = zip(rows("diversity", levels(0, 2, 0)), rows("near_duplicates", levels(1, 0.3, 1)), strict=True)
    item = Item([first | second for first, second in pairs])
    assert diversity(NOTHING | {"fig4": item, "fig7": item}).verdict() == "reproduced"
    assert diversity(NOTHING | {"fig4": item}).verdict("mnist") == "reproduced"
    assert diversity(NOTHING | {"fig4": item}).verdict("fashion_mnist") == "missing: not enough runs yet"


def test_sharpening_may_cost_a_little() -> None:
    def item(rise: float) -> Item:
        return Item(
            [
                {"dataset": dataset, "arch": "2L-c", "seed": seed, "setting": setting}
                | {f"{key}_before": 1.0 + seed for key in ("js", "train_distance")}
                | {f"{key}_after": (1.0 + seed) * (1 + rise + 0.001 * seed) for key in ("js", "train_distance")}
                for dataset in DATASETS
                for setting in ("paper", "paper_low_noise", "default")
                for seed in range(5)
            ]
        )

    for rise, verdict in (
        (-0.1, "reproduced"),
        (0.03, "reproduced"),
        (0.2, "not reproduced (of 12 checks 12 contradicted)"),
    ):
        collected = NOTHING | {"fig5": item(rise), "fig8": item(rise)}
        assert sharpening(collected).verdict() == verdict


def test_top_s_compares_within_a_run() -> None:
    # Runs differ by far more than what S changes.
    item = Item(
        [
            {"dataset": dataset, "arch": "2L-c", "seed": seed, "top_s": s}
            | dict.fromkeys(("diversity", "train_distance"), 10 * seed + 0.1 * s + 0.001 * seed)
            for dataset in DATASETS
            for seed in range(5)
            for s in (1, 2, 5, 10)
        ]
    )
    assert top_s(NOTHING | {"fig6": item}).verdict() == "reproduced"
