"""What the figures were before models were trained as they are now, beside what they are."""

from typing import NamedTuple

from experiments.paper.claims import values
from experiments.paper.formats import mean_text
from experiments.paper.published import DATASETS
from experiments.paper.sheet import Sheet

BEFORE = "0.1.0"


class Figure(NamedTuple):
    """A figure of a model, with what it was, a mean over ten runs."""

    item: str
    key: str
    name: str
    dataset: str
    arch: str
    before: str


FIGURES = (
    Figure("fig4", "js", "divergence of samples from the data (JS)", "mnist", "2L-b", "0.089 ± 0.011"),
    Figure("fig4", "js", "divergence of samples from the data (JS)", "mnist", "2L-c", "0.179 ± 0.021"),
    Figure("fig7", "js", "divergence of samples from the data (JS)", "fashion_mnist", "2L-b", "0.114 ± 0.011"),
    Figure("fig4", "train_distance", "distance to the nearest training image", "mnist", "2L-b", "6.640 ± 0.209"),
    Figure("fig4", "train_distance", "distance to the nearest training image", "mnist", "2L-c", "5.704 ± 0.148"),
    Figure("fig4", "train_distance", "distance to the nearest training image", "mnist", "3L-a", "5.090 ± 0.222"),
    Figure("fig4", "diversity", "distance to the nearest other sample", "mnist", "2L-b", "5.789 ± 0.243"),
    Figure("fig4", "diversity", "distance to the nearest other sample", "mnist", "2L-c", "3.565 ± 0.141"),
    Figure("fig4", "diversity", "distance to the nearest other sample", "mnist", "3L-a", "3.623 ± 0.261"),
    Figure("fig7", "diversity", "distance to the nearest other sample", "fashion_mnist", "3L-a", "3.679 ± 0.119"),
    Figure("fig3", "joint", "AUROC, `joint`", "mnist", "2L-b", "0.859 ± 0.005"),
    Figure("fig3", "joint", "AUROC, `joint`", "mnist", "3L-a", "0.950 ± 0.005"),
    Figure("fig3", "auroc", "AUROC, the paper's score", "mnist", "2L-c", "0.825 ± 0.007"),
    Figure("table2", "davies_bouldin", "Davies-Bouldin score", "mnist", "2L-d", "2.745 ± 0.146"),
    Figure("table2", "davies_bouldin", "Davies-Bouldin score", "fashion_mnist", "3L-b", "2.846 ± 0.355"),
    Figure("table2", "davies_bouldin", "Davies-Bouldin score", "mnist", "2L-c", "2.633 ± 0.055"),
)


def changes(sheet: Sheet) -> None:
    """What came of what was changed since an earlier version."""
    sheet.heading(2, f"What changed since {BEFORE}, and why")
    sheet.text(
        "Mixture weights are mean responsibilities on the training images at the end of training (they hardly learnt",
        "before, and components that explain no image were drawn as often as others), and layers of more than 25",
        "components learn faster (`experiments/mixtures`). So samples are of components in use alone: closer to the",
        "training images and to their distribution, and less far from each other. Deep models that are not",
        "convolutional cluster less well for it: 2L-d has a Davies-Bouldin score of 2.82 on MNIST, mean of the seeds 0",
        "to 4, where its weights stay as training left them (`trainer.weights_by_use=false`).",
    )
    rows = []
    for figure in FIGURES:
        item = sheet.collected[figure.item]
        if item is not None:
            now = values(item, figure.key, dataset=figure.dataset).get(figure.arch)
            rows.append((DATASETS[figure.dataset], figure.arch, figure.name, figure.before, mean_text(now, 3)))
    if rows:
        sheet.table(("data set", "model", "figure", f"{BEFORE}, ten runs", "here"), rows)
