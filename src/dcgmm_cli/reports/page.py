"""A report as one page that holds all that it shows: nothing is loaded from elsewhere, no scripts run."""

import base64
import functools
import io
import os
import re
from collections.abc import Sequence
from html import escape
from pathlib import Path
from urllib.parse import quote

from PIL import Image

from dcgmm_cli.reports.content import (
    Block,
    Code,
    Curves,
    Detail,
    Files,
    Grid,
    Note,
    Pairs,
    Picture,
    Pictures,
    Report,
    Section,
    printable,
    size_text,
)
from dcgmm_cli.reports.curves import drawing

BUDGET = 1_900_000  # bytes of all pictures: base64 makes 2.5 MB of them
LARGE = 250_000  # bytes from which a picture is made smaller
WIDEST = 1200  # pixels of one that is

# Contrasts of text are at least 7:1, in both schemes.
STYLE = """
:root { color-scheme: light dark; --ink: #1a1a1a; --faint: #4a4a4a; --paper: #fff; --line: #c4c4c4; --link: #0b4a8f; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #ececec; --faint: #c0c0c0; --paper: #161616; --line: #4c4c4c; --link: #9cc7ff; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 70rem; padding: 1rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif; }
h1 { font-size: 1.4rem; overflow-wrap: anywhere; } h2 { font-size: 1.15rem; border-bottom: 1px solid var(--line); }
a { color: var(--link); } nav ul { display: flex; flex-wrap: wrap; gap: .2rem 1rem; list-style: none; padding: 0; }
:focus-visible { outline: 3px solid var(--link); outline-offset: 2px; }
.scroll { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-size: .9rem; }
caption { text-align: left; color: var(--faint); padding-bottom: .3rem; }
th, td { text-align: left; padding: .25rem .7rem .25rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
th[scope=row] { font-weight: normal; } .number { text-align: right; font-variant-numeric: tabular-nums; }
dl { display: grid; grid-template-columns: minmax(6rem, max-content) 1fr; gap: .2rem 1rem; }
dt { color: var(--faint); overflow-wrap: anywhere; } dd { margin: 0; overflow-wrap: anywhere; }
@media (max-width: 34rem) { dl { grid-template-columns: 1fr; } dd { margin-bottom: .5rem; } }
.pictures { display: flex; flex-wrap: wrap; gap: 1rem; margin: 1rem 0; } figure { margin: 0; max-width: 100%; }
.pictures figure { flex: 1 1 18rem; }
img { max-width: 100%; height: auto; display: block; background: #fff; }
figcaption { color: var(--faint); font-size: .85rem; max-width: 40rem; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; border: 1px solid var(--line); padding: .6rem; }
summary { cursor: pointer; padding: .3rem 0; overflow-wrap: anywhere; } .files { overflow-wrap: anywhere; }
svg { width: 100%; max-width: 44rem; height: auto; } svg text { fill: var(--ink); font-size: 12px; }
"""
# Whatever stood in a name: a browser loads nothing but the pictures in the page, and runs nothing.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def page(report: Report, place: Path) -> str:
    """A report as HTML, under 3 MB; links to files lead from the page's place."""
    writer = _Writer(place.absolute().parent)
    sections = [writer.section(section) for section in report.sections]
    links = "".join(f'<li><a href="#{_anchor(each.title)}">{_text(each.title)}</a></li>' for each in report.sections)
    title = _text(report.title)
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{title}</title>\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n<link rel="icon" href="data:,">\n'
        f"<style>{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n"
        f'<nav aria-label="Parts of this page"><ul>{links}</ul></nav>\n'
        f"<main>\n{''.join(sections)}</main>\n</body>\n</html>\n"
    )


def _text(text: str) -> str:
    return escape(printable(text))


def _anchor(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


class _Writer:
    """Blocks as HTML, as long as there is room for pictures."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._room = folder, BUDGET

    def section(self, section: Section) -> str:
        blocks = "".join(map(self.block, section.blocks))
        return f'<section id="{_anchor(section.title)}">\n<h2>{_text(section.title)}</h2>\n{blocks}</section>\n'

    @functools.singledispatchmethod
    def block(self, block: Block) -> str:
        raise TypeError(block)

    @block.register
    def _(self, block: Pairs) -> str:
        return f"<dl>{''.join(f'<dt>{_text(name)}</dt><dd>{_text(text)}</dd>' for name, text in block.pairs)}</dl>\n"

    @block.register
    def _(self, block: Grid) -> str:
        kinds = [' class="number"' if each else "" for each in block.numeric or [False] * len(block.columns)]
        head = "".join(
            f'<th scope="col"{kind}>{_text(name)}</th>' for name, kind in zip(block.columns, kinds, strict=True)
        )
        rows = "".join(f"<tr>{self._row(row, kinds)}</tr>\n" for row in block.rows)
        caption = _text(block.caption)
        return (
            f'<div class="scroll" role="region" tabindex="0" aria-label="{caption}"><table><caption>{caption}</caption>'
            f"<thead><tr>{head}</tr></thead>\n<tbody>{rows}</tbody></table></div>\n"
        )

    @staticmethod
    def _row(row: Sequence[str], kinds: list[str]) -> str:
        first, *others = (f"{kind}>{_text(cell)}" for cell, kind in zip(row, kinds, strict=True))
        return f'<th scope="row"{first}</th>' + "".join(f"<td{cell}</td>" for cell in others)

    @block.register
    def _(self, block: Code) -> str:
        return f'<pre tabindex="0"><code>{_text(block.text)}</code></pre>\n'

    @block.register
    def _(self, block: Note) -> str:
        return f"<p>{_text(block.text)}</p>\n"

    @block.register
    def _(self, block: Pictures) -> str:
        return f'<div class="pictures">{"".join(map(self._picture, block.pictures))}</div>\n'

    def _picture(self, picture: Picture) -> str:
        content, size = _embedded(picture.path)
        link = self._link(picture.path, picture.path.name)
        if len(content) > self._room:
            return f"<p>{_text(picture.alt)}: {link}, left out of the page for its size</p>\n"
        self._room -= len(content)
        data = base64.b64encode(content).decode()
        return (
            f'<figure><img width="{size[0]}" height="{size[1]}" alt="{_text(picture.alt)}" '
            f'src="data:image/png;base64,{data}"><figcaption>{_text(picture.alt)} ({link})</figcaption></figure>\n'
        )

    def _link(self, path: Path, name: str) -> str:
        return f'<a href="{quote(os.path.relpath(path, self._folder))}">{_text(name)}</a>'

    @block.register
    def _(self, block: Files) -> str:
        items = (
            f"<li>{self._link(path, str(path.relative_to(block.root)))} {size_text(size)}</li>\n"
            for path, size in block.sizes.items()
        )
        return f'<p>The links work where the page lies beside the files.</p><ul class="files">{"".join(items)}</ul>\n'

    @block.register
    def _(self, block: Curves) -> str:
        return drawing(block)

    @block.register
    def _(self, block: Detail) -> str:
        inner = "".join(map(self.block, block.blocks))
        return (
            f"<details{' open' if block.is_open else ''}><summary>{_text(block.title)}</summary>\n{inner}</details>\n"
        )


def _embedded(path: Path) -> tuple[bytes, tuple[int, int]]:
    """A picture as PNG with its width and height, a large one made smaller; of one that cannot be read nothing."""
    try:
        with Image.open(path) as image:
            content = path.read_bytes()
            if len(content) <= LARGE and image.format == "PNG":
                return content, image.size
            image.thumbnail((WIDEST, 10 * WIDEST))
            buffer = io.BytesIO()
            image.convert("RGB").quantize(64).save(buffer, format="png", optimize=True)
            return buffer.getvalue(), image.size
    except (OSError, ValueError, SyntaxError):
        return b"", (0, 0)
