"""A page written once, as Markdown, and the same as one HTML file that needs no other."""

import base64
import html
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from markdown_it import MarkdownIt

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
table { border-collapse: collapse; margin: 1rem 0; font-size: 0.9rem; display: block; overflow-x: auto; }
th, td { border: 1px solid #ccc; padding: 0.25rem 0.6rem; text-align: left; }
tr:nth-child(even) td { background: #f7f7f7; }
img { max-width: 100%; image-rendering: auto; }
code, pre { font-family: ui-monospace, monospace; background: #f3f3f3; font-size: 0.9em; }
pre { padding: 0.6rem; overflow-x: auto; }
"""


class Page:
    """A Markdown page that is put together from the top down."""

    def __init__(self) -> None:
        self._parts: list[str] = []

    def heading(self, level: int, text: str) -> None:
        """A heading, 1 the highest."""
        self._parts.append(f"{'#' * level} {text}")

    def text(self, *sentences: str) -> None:
        """A paragraph."""
        self._parts.append(" ".join(sentences))

    def items(self, lines: Iterable[str]) -> None:
        """A list."""
        self._parts.append("\n".join(f"- {line}" for line in lines))

    def table(self, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """A table of Markdown texts."""
        lines = [header, ["---"] * len(header), *rows]
        self._parts.append(
            "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)
        )

    def image(self, name: str, text: str) -> None:
        """A picture that lies beside the page, with what it shows under it."""
        self._parts.append(f"![{text}]({name})\n\n*{text}*")

    def code(self, lines: Iterable[str]) -> None:
        """Lines of shell."""
        self._parts.append("\n".join(("```bash", *lines, "```")))

    def markdown(self) -> str:
        """The page."""
        return "\n\n".join(self._parts) + "\n"


def to_html(markdown: str, folder: Path, title: str) -> str:
    """The page as one HTML file, with the pictures of `folder` inside it."""
    body = MarkdownIt("commonmark").enable("table").render(markdown)

    def embed(found: re.Match[str]) -> str:
        data = base64.b64encode((folder / html.unescape(found.group(1))).read_bytes()).decode()
        return f'src="data:image/png;base64,{data}"'

    body = re.sub(r'src="([^"]+)"', embed, body)
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{html.escape(title)}</title>\n'
        f"<style>{STYLE}</style>\n</head>\n<body>\n{body}</body>\n</html>\n"
    )
