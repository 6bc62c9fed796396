from pathlib import Path

import numpy as np
from PIL import Image

from experiments.paper.document import Page, to_html


def page() -> Page:
    made = Page()
    made.heading(1, "Title")
    made.text("One.", "**Two**.")
    made.items(["a", "b"])
    made.table(("x", "y|z"), [("1 < 2", "`code`")])
    made.image("figure.png", "a figure")
    made.code(["dcgmm train 'a=[1,2]'"])
    return made


def test_markdown() -> None:
    assert page().markdown() == (
        "# Title\n\nOne. **Two**.\n\n- a\n- b\n\n| x | y\\|z |\n| --- | --- |\n| 1 < 2 | `code` |\n\n"
        "![a figure](figure.png)\n\n*a figure*\n\n```bash\ndcgmm train 'a=[1,2]'\n```\n"
    )


def test_html_needs_no_other_file(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((2, 2), dtype=np.uint8)).save(tmp_path / "figure.png")
    html = to_html(page().markdown(), tmp_path, "A & B")
    assert html.count("src=") == html.count('src="data:image/png;base64,iVBOR') == 1
    assert "href=" not in html
    assert "<title>A &amp; B</title>" in html
    assert "<td>1 &lt; 2</td>" in html
    assert "<th>y|z</th>" in html
