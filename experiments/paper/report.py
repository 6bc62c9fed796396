"""The report: every table and figure beside the paper's, the claims judged, and how it all came about.

It is written from the collected files alone, so that it can be built anywhere; what has not been run is shown as
missing.
"""

from pathlib import Path

from dcgmm.files import write_text
from experiments.paper import figures, origin, tables
from experiments.paper.changes import changes
from experiments.paper.claims import Claim, Collected, clustering, diversity, outliers, sharpening, top_s
from experiments.paper.document import to_html
from experiments.paper.items import read_item
from experiments.paper.plan import ITEMS
from experiments.paper.sheet import MISSING, NAMES, Sheet

TITLE = "Image Modeling with Deep Convolutional Gaussian Mixture Models: what comes out here"


def write_report(out: Path, *, quick: bool) -> None:
    """Write README.md and report.html from the collected files that lie in `out`."""
    markdown = _write({item: read_item(out, item) for item in ITEMS}, out, quick)
    write_text(out / "README.md", markdown)
    write_text(out / "report.html", to_html(markdown, out, TITLE))


def _write(collected: Collected, out: Path, quick: bool) -> str:
    sheet = Sheet(collected, out)
    claims = {
        "outliers": outliers(collected),
        "clustering": clustering(collected),
        "diversity": diversity(collected),
        "sharpening": sharpening(collected),
        "top-S": top_s(collected),
    }
    sheet.heading(1, TITLE)
    sheet.text(
        "Each table and figure of the paper beside what these models give, and its claims checked.",
        "Numbers with ± are means over runs with their standard deviation; intervals are 95% (Student's t),",
        "without a correction for the number of checks.",
        "The rules that the verdicts follow stand beside them.",
    )
    if quick:
        sheet.text(
            "**The quick run, a few epochs on the bundled sample: it shows the path, its figures mean nothing.**"
        )
    origin.age(sheet)
    _verdicts(sheet, claims)
    tables.table1(sheet)
    tables.table2(sheet, claims["clustering"])
    tables.noise(sheet)
    figures.figure2(sheet)
    figures.figure3(sheet, claims["outliers"])
    figures.figures4and7(sheet, claims["diversity"])
    figures.figures5and8(sheet, claims["sharpening"])
    figures.figure6(sheet, claims["top-S"])
    if not quick:
        changes(sheet)
    origin.differences(sheet)
    origin.conditions(sheet)
    origin.commands(sheet)
    return sheet.markdown()


def _verdicts(sheet: Sheet, claims: dict[str, Claim]) -> None:
    sheet.heading(2, "Verdicts")
    sheet.table(("claim", "source", "verdict"), [(c.title, c.source, c.verdict()) for c in claims.values()])
    verdicts = {
        "table1": tables.verdict_table1(sheet.collected),
        "table2": tables.verdict_table2(sheet.collected),
        "fig2": figures.verdict_figure2(sheet.collected),
        "fig3": claims["outliers"].verdict(),
        "fig4": claims["diversity"].verdict("mnist"),
        "fig5": claims["sharpening"].verdict("mnist"),
        "fig6": claims["top-S"].verdict(),
        "fig7": claims["diversity"].verdict("fashion_mnist"),
        "fig8": claims["sharpening"].verdict("fashion_mnist"),
    }
    rows = [
        (NAMES[item], verdict if sheet.collected[item] else MISSING, f"`make {item}`")
        for item, verdict in verdicts.items()
    ]
    sheet.table(("item", "verdict", "made by"), rows)
