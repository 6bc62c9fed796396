"""The report's figures 2 to 8."""

from experiments.paper.claims import SETTINGS, Claim, Collected, values
from experiments.paper.formats import mean_text, number
from experiments.paper.items import QUALITIES
from experiments.paper.plan import TOP_S
from experiments.paper.published import ARCHS, DATASETS
from experiments.paper.sheet import MISSING, Sheet

SPARSE = 0.2  # a centroid of a responsibility layer is sparse with at most this share of its entries in use
QUALITY_NAMES = {
    "repeated": "framed in red",
    "diversity": "distance to the nearest other sample",
    "near_duplicates": "near-duplicates",
    "train_distance": "distance to the nearest training image",
    "ndb": "different bins (NDB)",
    "js": "divergence from the data (JS, nats)",
    "log_likelihood": "log-likelihood in gmm1 (nats a position)",
}
DIGITS = {"ndb": 1, "log_likelihood": 2}  # after the point; 3 elsewhere


# Figure 2


def verdict_figure2(collected: Collected) -> str:
    item = collected["fig2"]
    if item is None:
        return MISSING
    row = item.rows[0]
    sparse = row["mean_entries_in_use"] <= SPARSE * row["entries"]
    verdict = "reproduced" if sparse else "not reproduced"
    return f"{verdict}: {row['mean_entries_in_use']:.1f} of {row['entries']} entries in use"


def figure2(sheet: Sheet) -> None:
    """Centroids of 2L-a, and the way down from one."""
    item = sheet.start("fig2", "2L-a's centroids, and sampling from one of its components")
    if item is None:
        return
    sheet.text(
        "2L-a, MNIST, all classes. Claim (section 4.1): the upper layer's centroids are very sparsely populated.",
        "Judged by the mean number of entries of a position above a tenth of its largest: sparse is at most",
        f"{SPARSE:.0%} of the {item.rows[0]['entries']} entries. Verdict: **{verdict_figure2(sheet.collected)}**",
        f"(median {item.rows[0]['median_entries_in_use']:.0f}).",
    )
    for name, text in (
        ("centroids_gmm1", "Centroids of the lower GMM layer (G2 in the paper)"),
        ("centroids_gmm2", "Centroids of the upper GMM layer (G4): a component grid for each of 2×2 positions"),
        ("walk", f"Sampling from component {item.rows[0]['component']} of the upper layer, its heaviest"),
    ):
        sheet.picture(f"fig2-{name}.png", text)


# Figure 3


def figure3(sheet: Sheet, claim: Claim) -> None:
    """Outlier detection."""
    item = sheet.start("fig3", "outlier detection")
    if item is None:
        return
    sheet.text(
        "Trained on classes 0-4; test images of 0-4 are inliers, of 5-9 outliers. Means over the runs of the",
        "outliers removed where a given share of the inliers is kept; dots mark c = -2, -1, 0, 1, 2. Dashed: deep",
        "but non-convolutional; dotted: 1L. The paper prints no numbers for this figure.",
    )
    sheet.picture("fig3.png", "Inliers kept against outliers removed, MNIST and FashionMNIST")
    columns = {"auroc": "paper's score (top layer)", "joint": "`joint`, the default of `dcgmm outliers`"}
    for dataset, title in DATASETS.items():
        rows = []
        for column, name in columns.items():
            found = values(item, column, dataset=dataset)
            rows.append((f"AUROC, {name}", *(mean_text(found.get(arch), 3) for arch in ARCHS)))
        runs = values(item, "auroc", dataset=dataset)
        rows.append(("runs", *(str(len(runs.get(arch, ()))) for arch in ARCHS)))
        sheet.table((title, *ARCHS), rows)
    sheet.claim(claim)


# Figures 4 to 8


def figures4and7(sheet: Sheet, claim: Claim) -> None:
    """Diversity of samples."""
    for name, dataset in (("fig4", "mnist"), ("fig7", "fashion_mnist")):
        item = sheet.start(name, f"diversity of samples, {DATASETS[dataset]}")
        if item is None:
            continue
        sheet.text(
            "Top-1 samples of models trained on classes 0-4, as the model draws them and without pixel noise. A",
            "red frame: another of the 36 chose the same component of the lowest layer at every position.",
        )
        sheet.picture(f"{name}.png", f"Top-1 samples of 1L, 2L-d, 2L-c and 2L-e, {DATASETS[dataset]}")
        rows = []
        for key in ("repeated", *QUALITIES):
            found, digits = values(item, key, dataset=dataset), DIGITS.get(key, 3)
            tests = number(item.more["test_images"].get(key), digits)
            rows.append((QUALITY_NAMES[key], *(mean_text(found.get(arch), digits) for arch in ARCHS), tests))
        rows.append(("runs", *(str(len(found.get(arch, ()))) for arch in ARCHS), ""))
        sheet.table(("without pixel noise", *ARCHS, "test images"), rows)
    sheet.claim(claim)


def figures5and8(sheet: Sheet, claim: Claim) -> None:
    """Sharpening."""
    for name, dataset in (("fig5", "mnist"), ("fig8", "fashion_mnist")):
        item = sheet.start(name, f"sharpening, {DATASETS[dataset]}")
        if item is None:
            continue
        sheet.text(
            "2L-c, top-1 samples: unsharpened, sharpened, and the difference; the same component at the same place."
        )
        rows = []
        for setting, label in SETTINGS.items():
            sheet.picture(f"{name}-{setting}.png", f"{label}: before, after, difference")
            for key in ("log_likelihood", *QUALITIES):
                before, after = (
                    values(item, f"{key}_{when}", setting=setting).get("2L-c") for when in ("before", "after")
                )
                digits = DIGITS.get(key, 3)
                means = (mean_text(before, digits), mean_text(after, digits))
                rows.append((label, QUALITY_NAMES[key], *means, str(len(before or ()))))
        sheet.table(("setting", "figure", "before", "after", "runs"), rows)
    sheet.claim(claim)


def figure6(sheet: Sheet, claim: Claim) -> None:
    """Top-S sampling."""
    item = sheet.start("fig6", "top-S sampling")
    if item is None:
        return
    sheet.text("2L-c, without pixel noise. The paper shows S = 2, 5 and 10. Red frames as in figure 4.")
    sheet.picture("fig6.png", "Samples of 2L-c with S = 1, 2, 5 and 10")
    for dataset, title in DATASETS.items():
        rows = []
        for key in QUALITIES:
            by_s = [values(item, key, dataset=dataset, top_s=s).get("2L-c") for s in TOP_S]
            rows.append((QUALITY_NAMES[key], *(mean_text(each, DIGITS.get(key, 3)) for each in by_s)))
        sheet.table((title, *(f"S={s}" for s in TOP_S)), rows)
    sheet.claim(claim)
