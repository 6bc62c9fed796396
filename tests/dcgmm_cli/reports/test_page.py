"""Pages: what stands in names stays text, pictures have a budget; in a browser, everybody can read them."""

import html.parser
import itertools
from pathlib import Path

import pytest
from PIL import Image

from dcgmm_cli.reports.content import Code, Curves, Detail, Files, Grid, Note, Pairs, Picture, Pictures, Report
from dcgmm_cli.reports.page import BUDGET, page
from tests.browser import CHROMIUM, Browser

EVIL = '<script src="https://example.org/x.js"></script><img src=x onerror=alert(1)>"\'&'


def noise(path: Path, width: int, height: int, seed: int = 0) -> Path:
    """A picture that does not compress."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.effect_noise((width, height), 100 + seed).save(path)
    return path


def report(folder: Path, text: str = EVIL) -> Report:
    """A report with a block of every kind, and the same text wherever one stands."""
    picture = Picture(noise(folder / "figures" / "a b.png", 900, 60), text)
    made = Report(text)
    made.add("Facts", Pairs([(text, text)]), Note(text), Code(f"{text} {'x' * 300}"))
    made.add("Figures", Grid(text, ["figure", *[f"{text} {n}" for n in range(12)]], [[text, *["1.0"] * 12]]))
    line = (text, [0.0, 1.0, 2.0], [float("nan"), 2.0, 3.0])
    made.add("Pictures", Pictures([picture]), Curves(text, text, text, [line, line]))
    made.add("Others", Detail(text, [Note("inside"), Pictures([picture])]), Files(folder, {picture.path: 5}))
    return made


class Tags(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def tags(text: str) -> list[tuple[str, dict[str, str | None]]]:
    parser = Tags()
    parser.feed(text)
    return parser.found


def test_what_stands_in_names_stays_text(tmp_path: Path) -> None:
    found = tags(page(report(tmp_path), tmp_path / "page.html"))
    assert not {tag for tag, _ in found} & {"script", "iframe", "object", "base", "form"}
    assert not [name for _, attributes in found for name in attributes if name.startswith("on")]
    sources = [attributes["src"] for tag, attributes in found if tag == "img"]
    assert len(sources) == 2
    assert all(source and source.startswith("data:image/png;base64,") for source in sources)
    assert [attributes["alt"] for tag, attributes in found if tag == "img"] == [EVIL] * 2


def test_files_are_linked_from_where_the_page_lies(tmp_path: Path) -> None:
    text = page(report(tmp_path / "run"), tmp_path / "pages" / "page.html")
    links = [attributes["href"] for tag, attributes in tags(text) if tag == "a"]
    assert links.count("../run/figures/a%20b.png") == 3


def test_pictures_have_a_budget(tmp_path: Path) -> None:
    pictures = [Picture(noise(tmp_path / f"{n}.png", 1250, 900, n), f"picture {n}") for n in range(4)]
    (tmp_path / "broken.png").write_bytes(b"none")
    made = Report("large")
    made.add("Pictures", Pictures([*pictures, Picture(tmp_path / "broken.png", "broken")]))
    text = page(made, tmp_path / "page.html")
    assert len(text) < 3_000_000
    assert 0 < text.count("left out of the page for its size") < 4
    widths = [attributes["width"] for tag, attributes in tags(text) if tag == "img"]
    assert widths[0] == "1200"
    assert BUDGET * 4 / 3 < 2_900_000


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
@pytest.mark.parametrize("width", [360, 1280])
def test_a_page_in_a_browser(width: int, tmp_path: Path) -> None:
    place = tmp_path / "page.html"
    place.write_text(page(report(tmp_path), place))
    with Browser(tmp_path / "profile") as browser:
        browser.open(place, width)
        assert browser.complaints() == []
        check_for_everybody(browser, width)


def check_for_everybody(browser: Browser, width: int) -> None:
    """No sideways scrolling, names for all that is shown, and all that reacts within reach of the Tab key."""
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    assert browser.evaluate("[...document.images].every(each => each.complete && each.naturalWidth > 0)")
    assert browser.evaluate("parseFloat(getComputedStyle(document.body).fontSize)") >= 16
    nodes = browser.ask("Accessibility.getFullAXTree")["nodes"]
    seen = [node for node in nodes if not node.get("ignored")]
    for role in ("image", "region", "heading", "link", "navigation"):
        named = [node for node in seen if node["role"]["value"] == role]
        assert named, role
        assert all(node["name"]["value"].strip() for node in named), role
    levels = browser.evaluate("[...document.querySelectorAll('h1,h2,h3')].map(each => +each.tagName[1])")
    assert levels[0] == 1
    assert all(below - above <= 1 for above, below in itertools.pairwise(levels))
    reacting = "[...document.querySelectorAll('a[href],summary,[tabindex=\"0\"]')]"
    wanted = browser.evaluate(f"{reacting}.filter(each => each.checkVisibility()).length")
    reached = set()
    for _ in range(wanted + 5):
        browser.press("Tab")
        place = "[...document.querySelectorAll('*')].indexOf(document.activeElement)"
        reached.add(browser.evaluate(f"document.activeElement === document.body ? -1 : {place}"))
    assert len(reached - {-1}) == wanted
    for scheme in ("light", "dark"):
        browser.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        ratios = browser.evaluate(_CONTRASTS)
        assert min(ratios) >= 4.5, scheme


# Contrast of each text to the page, as WCAG 2 has it.
_CONTRASTS = """(() => {
  const light = text => { const [r, g, b] = text.match(/[\\d.]+/g).map(each => each / 255)
      .map(each => each <= 0.04045 ? each / 12.92 : ((each + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b };
  const paper = light(getComputedStyle(document.body).backgroundColor);
  return [...document.querySelectorAll('body *')].filter(each => each.innerText).map(each => {
    const ink = light(getComputedStyle(each).color);
    return (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05) }) })()"""
