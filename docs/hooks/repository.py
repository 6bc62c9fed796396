"""Files of the repository as pages: studies, benchmarks, how to contribute, what changed."""

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

REPOSITORY = Path(__file__).parents[2]
PAGES = ("experiments/*/README.md", "examples/*/README.md", "benchmarks/README.md", "CONTRIBUTING.md", "CHANGELOG.md")
PICTURES = ("experiments/*/*.png", "benchmarks/*.png")
LINK = re.compile(r"(?<!\!)\[([^\]]+)\]\(([^)#:\s]+)(#[^)\s]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the files, under the paths that they have in the repository."""
    for pattern in (*PAGES, *PICTURES):
        for path in sorted(REPOSITORY.glob(pattern)):
            name = path.relative_to(REPOSITORY).as_posix()
            files.append(File.generated(config, name, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, *, page: Page, files: Files, **_: object) -> str:
    """A repository's page with its links to what is no page as plain names; the site has no copy of the sources."""
    if not str(page.file.abs_src_path).startswith(str(REPOSITORY)) or "/docs/pages/" in str(page.file.abs_src_path):
        return markdown
    here = posixpath.dirname(page.file.src_uri)

    def resolved(found: re.Match[str]) -> str:
        text, target = found[1], posixpath.normpath(posixpath.join(here, found[2]))
        if files.get_file_from_path(target) is not None:
            return found[0]
        return text if "`" in text or text == target else f"{text} (`{target}`)"

    return LINK.sub(resolved, markdown)
