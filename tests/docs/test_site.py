"""The documentation site that `make docs` has built: complete in itself, and legible at any width, in both colours."""

import functools
import http.server
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser import CHROMIUM, Browser

SITE = Path(__file__).parents[2] / "build" / "docs"
PAGES = sorted(SITE.rglob("*.html"))
WIDE = ("index", "model/layers", "guides/samples", "reference/commands/train", "reference/python/dcgmm")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PAGES, reason="`make docs` builds the site"),
]


def test_no_page_loads_anything_from_elsewhere() -> None:
    for page in PAGES:
        loaded = re.findall(r'<(?:script|img|iframe|source)[^>]+src="([^"]+)"', page.read_text())
        loaded += re.findall(r'<link[^>]+rel="(?:stylesheet|icon|preload)"[^>]+href="([^"]+)"', page.read_text())
        assert [url for url in loaded if re.match(r"(https?:)?//", url)] == [], page
    for sheet in SITE.rglob("*.css"):
        assert not re.search(r"@import|url\(['\"]?(https?:)?//", sheet.read_text()), sheet


def test_every_picture_says_what_it_shows() -> None:
    for page in PAGES:
        article = re.search(r"<article.*?</article>", page.read_text(), re.DOTALL)
        for tag in re.findall(r"<img[^>]*>", article[0] if article else ""):
            assert re.search(r'alt="[^"]+"', tag), (page, tag)


def test_every_formula_is_shown() -> None:
    for page in PAGES:
        assert "arithmatex" not in page.read_text(), page


@pytest.fixture
def address() -> Iterator[str]:
    """Where a server of this process has the site."""
    handler = functools.partial(_Quiet, directory=str(SITE))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


def waited(browser: Browser, condition: str) -> bool:
    """Whether a condition of a page comes to hold: its scripts run on after it has loaded."""
    script = f"""new Promise(done => {{
        let left = 400;
        const look = () => {condition} ? done(true) : left-- ? setTimeout(look, 50) : done(false);
        look();
    }})"""
    found = browser.ask("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
    return bool(found["result"]["value"])


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_pages_fit_a_phone_and_a_desk_in_both_colours(tmp_path: Path, address: str) -> None:
    with Browser(tmp_path / "profile") as browser:
        for page in PAGES:
            name = page.relative_to(SITE).as_posix()
            for width in (390, 1280) if name.removesuffix(".html") in WIDE else (390,):
                for scheme in ("light", "dark"):
                    feature = {"name": "prefers-color-scheme", "value": scheme}
                    browser.ask("Emulation.setEmulatedMedia", features=[feature])
                    browser.open(f"{address}/{name}", width)
                    assert browser.evaluate("document.documentElement.scrollWidth") <= width, (name, width)
                    wanted = {"light": "default", "dark": "slate"}[scheme]
                    assert waited(browser, f"document.body.dataset.mdColorScheme == '{wanted}'"), (name, scheme)
                    told = [event for event in browser.events if event.get("method") == "Log.entryAdded"]
                    thrown = [event for event in browser.events if event.get("method") == "Runtime.exceptionThrown"]
                    assert told + thrown == [], name


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_the_search_finds_pages(tmp_path: Path, address: str) -> None:
    with Browser(tmp_path / "profile") as browser:
        browser.open(f"{address}/index.html?q=responsibilities", 1280)
        assert waited(browser, "document.querySelector('.md-search-result__link[href*=\"model/layers.html\"]') != null")
