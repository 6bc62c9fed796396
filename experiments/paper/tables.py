"""The report's tables: the architectures, clustering, and the noise of the latter."""

import statistics

from scipy import stats

from experiments.paper.claims import Claim, Collected, mean, values
from experiments.paper.estimates import difference, difference_of_worst
from experiments.paper.formats import interval_texts, line, mean_text
from experiments.paper.items import Item
from experiments.paper.published import ARCHS, DATASETS, METRICS, TABLE_1, TABLE_2
from experiments.paper.sheet import MISSING, Sheet

CLOSE = 0.1  # a figure within so much of the paper's counts as the same
MOSTLY, HALF = 0.9, 0.5  # shares of table 2's figures that are the same where it is reproduced, or in part
RUNS = 10  # of the paper, for table 2


# Table 1


def _configured(collected: Collected) -> dict[str, str]:
    item = collected["table1"]
    rows = item.rows if item else []
    return {arch: " ".join(row["layer"] for row in rows if row["arch"] == arch) for arch in ARCHS}


def verdict_table1(collected: Collected) -> str:
    item, configured = collected["table1"], _configured(collected)
    differ = [arch for arch in ARCHS if configured[arch] != TABLE_1[arch]]
    if item is None or not differ:
        return "reproduced"
    reasons = [f"{arch} as printed cannot be built ({item.more['as_printed'].get(arch, 'it can')})" for arch in differ]
    return f"reproduced but for {len(differ)} of {len(ARCHS)}: {'; '.join(reasons)}"


def table1(sheet: Sheet) -> None:
    """The architectures."""
    item = sheet.start("table1", "the architectures")
    if item is None:
        return
    sheet.text(
        "Folding F(kernel height, width, stride down, right), max-pooling P(kernel), GMM layer G(K).",
        "FLOPs are of one image's scores: 2 for each product and sum of x with d² mu and of x² with d² over all D",
        "features, so 4 · positions · K · D a GMM layer; training takes about twice that. Softmax, maxima and",
        "folding are not counted.",
    )
    configured, rows = _configured(sheet.collected), []
    for arch in ARCHS:
        own = [row for row in item.rows if row["arch"] == arch]
        shapes = " → ".join(f"{row['height']}×{row['width']}×{row['channels']}" for row in own)
        gmms = [row for row in own if row["parameters"]]
        rows.append(
            (
                arch,
                configured[arch],
                "as here" if configured[arch] == TABLE_1[arch] else TABLE_1[arch],
                shapes,
                ", ".join(str(row["height"] * row["width"]) for row in gmms),
                f"{sum(row['parameters'] for row in gmms):,}",
                f"{sum(row['flops'] for row in gmms) / 1e6:.2f} M",
            )
        )
    header = (
        "",
        "layers",
        "in the paper",
        "output shapes",
        "positions of the GMM layers",
        "parameters",
        "FLOPs an image",
    )
    sheet.table(header, rows)
    sheet.text(f"Verdict: **{verdict_table1(sheet.collected)}**.", "The paper prints 2L-e as 2L-c; so it is here.")


# Table 2


def _worst(collected: Collected, dataset: str, metric: str) -> dict[str, float]:
    worst = max if metric == "davies_bouldin" else min
    return {arch: worst(found) for arch, found in _values(collected, dataset, metric).items()}


def _values(collected: Collected, dataset: str, metric: str) -> dict[str, list[float]]:
    return values(collected["table2"], metric, dataset=dataset)


def _compared(collected: Collected) -> list[tuple[float, float]]:
    """Our worst figures beside the paper's, where both are there."""
    pairs = []
    for (dataset, metric), printed in TABLE_2.items():
        ours = _worst(collected, dataset, metric)
        pairs += [(ours[arch], paper) for arch, paper in zip(ARCHS, printed, strict=True) if paper and arch in ours]
    return pairs


def verdict_table2(collected: Collected) -> str:
    pairs = _compared(collected)
    if not pairs:
        return MISSING
    close = sum(abs(ours - paper) <= CLOSE * paper for ours, paper in pairs)
    share = close / len(pairs)
    word = "reproduced" if share >= MOSTLY else "reproduced in part" if share >= HALF else "not reproduced"
    fewest = min(len(found) for key in TABLE_2 for found in _values(collected, *key).values())
    few = "" if fewest >= RUNS else f" (worst of {fewest} runs or more so far, the paper's of {RUNS})"
    return f"{word}: {close} of {len(pairs)} figures within {CLOSE:.0%} of the paper's{few}"


def table2(sheet: Sheet, claim: Claim) -> None:
    """Clustering."""
    item = sheet.start("table2", "clustering")
    if item is None:
        return
    images = sorted({row["images"] for row in item.rows})
    sheet.text(
        "Worst case over the runs, as in the paper, with mean and deviation. Distances are between pixels of",
        f"{' or '.join(f'{count:,}' for count in images)} test images, the same for all models; the paper does not",
        "state its sample, and the Dunn index falls as images are added. The best of a row is bold.",
    )
    for dataset, title in DATASETS.items():
        rows = []
        for metric, name in METRICS.items():
            found, worst = _values(sheet.collected, dataset, metric), _worst(sheet.collected, dataset, metric)
            printed = dict(zip(ARCHS, TABLE_2[dataset, metric], strict=True))
            best = min if metric == "davies_bouldin" else max
            rows += [
                (f"{name}, worst", *line(worst, best, 3)),
                (
                    "the paper's",
                    *line({a: v for a, v in printed.items() if v is not None}, best, 3, "not legible"),
                ),
                ("mean ± deviation", *(mean_text(found.get(arch), 3) for arch in ARCHS)),
                ("runs", *(str(len(found.get(arch, ()))) for arch in ARCHS)),
            ]
        sheet.table((title, *ARCHS), rows)
    sheet.text(f"Verdict: **{verdict_table2(sheet.collected)}**.")
    sheet.items([*_orders(sheet.collected), *_peers(item)])
    sheet.claim(claim)


def _orders(collected: Collected) -> list[str]:
    lines = []
    for dataset, title in DATASETS.items():
        for metric in METRICS:
            ours = _worst(collected, dataset, metric)
            pairs = [
                (ours[arch], paper)
                for arch, paper in zip(ARCHS, TABLE_2[dataset, metric], strict=True)
                if paper and arch in ours
            ]
            if len(pairs) > 2 and all(len(set(side)) > 1 for side in zip(*pairs, strict=True)):
                found = stats.spearmanr(*zip(*pairs, strict=True))
                ratio = statistics.median(own / paper for own, paper in pairs)
                lines.append(
                    f"{title}, {metric.replace('_', '-')}: our worst figures are {ratio:.2f} times the paper's in "
                    f"the median of {len(pairs)} architectures; their rank correlation is {found.statistic:+.2f} "
                    f"(p = {found.pvalue:.2f})."
                )
    return lines


def _peers(item: Item) -> list[str]:
    lines = []
    for dataset, title in DATASETS.items():
        for name in dict.fromkeys(peer["arch"] for peer in item.more["peers"]):
            own = [peer for peer in item.more["peers"] if (peer["dataset"], peer["arch"]) == (dataset, name)]
            if own:
                dunn, score = (mean([peer[metric] for peer in own]) for metric in METRICS)
                lines.append(
                    f"{title}, {name} with as many clusters as 1L: Dunn {dunn:.3f}, Davies-Bouldin {score:.2f}."
                )
    return lines


def noise(sheet: Sheet) -> None:
    """2L-e beside 2L-c."""
    sheet.heading(2, "2L-e beside 2L-c: the noise of table 2")
    sheet.text(
        "The paper prints both alike. Here they are the same architecture with other seeds, so whatever lies",
        "between them is noise. The last column says how often two sets of runs of this one model lie at least as",
        "far apart as the paper's 2L-c and 2L-e do (all or 10,000 splits of the runs in two).",
    )
    rows = []
    for dataset, title in DATASETS.items():
        for metric in METRICS:
            found, worst = _values(sheet.collected, dataset, metric), _worst(sheet.collected, dataset, metric)
            printed = dict(zip(ARCHS, TABLE_2[dataset, metric], strict=True))
            apart = difference(found, ["2L-e"], ["2L-c"])
            if apart is None:
                rows.append((title, metric.replace("_", "-"), "missing", *[""] * 4))
                continue
            sign = -1 if metric == "davies_bouldin" else 1
            runs_c, runs_e = ([sign * value for value in found[arch]] for arch in ("2L-c", "2L-e"))
            splits = difference_of_worst(runs_c, runs_e)
            paper_c, paper_e = printed["2L-c"], printed["2L-e"]
            gap = None if paper_c is None or paper_e is None else abs(paper_c - paper_e)
            share = "" if gap is None else f"{sum(each >= gap - 1e-9 for each in splits) / len(splits):.1%}"
            estimate, interval, runs = interval_texts(apart)
            rows.append(
                (
                    title,
                    metric.replace("_", "-"),
                    f"{worst['2L-c']:.3f} and {worst['2L-e']:.3f}",
                    f"{estimate} ({interval}; {runs} runs)",
                    f"{statistics.median(splits):.3f}",
                    "not legible" if gap is None else f"{gap:.3f}",
                    share,
                )
            )
    header = (
        "data set",
        "metric",
        "worst of 2L-c and 2L-e",
        "difference of means, 2L-e less 2L-c",
        "median difference of worst by chance",
        "the paper's difference",
        "as large by chance",
    )
    sheet.table(header, rows)
