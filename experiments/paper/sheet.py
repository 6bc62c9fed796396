"""The report's page with what it is made of: collected items, the claims on them, pictures."""

from pathlib import Path

from experiments.paper.claims import Claim, Collected
from experiments.paper.document import Page
from experiments.paper.formats import interval_texts
from experiments.paper.items import Item
from experiments.paper.plan import ITEMS
from experiments.paper.published import DATASETS

MISSING = "missing: not run yet"
NAMES = {item: f"{'Table' if item.startswith('table') else 'Figure'} {item[-1]}" for item in ITEMS}


class Sheet(Page):
    """A page, the items that it shows, and the folder with their pictures."""

    def __init__(self, collected: Collected, folder: Path) -> None:
        super().__init__()
        self.collected, self.folder = collected, folder

    def start(self, item: str, title: str) -> Item | None:
        """An item's heading, and the item; None, and a word of that, where it has not been run."""
        self.heading(2, f"{NAMES[item]}: {title}")
        found = self.collected[item]
        if found is None:
            self.text(f"**{MISSING}** (`make {item}`).")
        return found

    def picture(self, name: str, text: str) -> None:
        """A picture, where there is one."""
        if (self.folder / name).is_file():
            self.image(name, text)

    def claim(self, claim: Claim) -> None:
        """A claim with its checks."""
        self.text(f"**Claim: {claim.title}** ({claim.source}): **{claim.verdict()}**.", claim.how)
        rows = []
        for check in claim.checks:
            wanted = f"{'below' if check.below else 'above'} {check.bound:g}"
            estimate, interval, runs = interval_texts(check.interval)
            rows.append((DATASETS[check.dataset], check.quantity, wanted, estimate, interval, runs, check.verdict))
        self.table(("data set", "quantity", "should be", "estimate", "95% interval", "runs", "check"), rows)
        if claim.because:
            self.items(claim.because)
