"""Files of the repository as pages: studies, benchmarks, how to contribute, what changed."""

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

REPOSITORY = Path(__file__).parents[2]
OWN = REPOSITORY / "docs" / "pages"
PAGES = ("experiments/*/README.md", "examples/*/README.md", "benchmarks/README.md", "CONTRIBUTING.md", "CHANGELOG.md")
PICTURES = ("experiments/*/*.png", "benchmarks/*.png")
LINK = re.compile(r"(!?\[[^\]]*\])\(([^)#:\s]+)(#[^)\s]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the files, under the paths that they have in the repository."""
    for pattern in (*PAGES, *PICTURES):
        for path in sorted(REPOSITORY.glob(pattern)):
            name = path.relative_to(REPOSITORY).as_posix()
            files.append(File.generated(config, name, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, *, page: Page, files: Files, **_: object) -> str:
    """A page with its links as the site has them: sources say where a file is in the repository, of which the site has
    a part. What it has not is named, where a page of the repository links it."""
    path = Path(str(page.file.abs_src_path))
    if not path.is_relative_to(REPOSITORY):  # made of the code
        return markdown
    here, is_own = posixpath.dirname(page.file.src_uri), path.is_relative_to(OWN)
    there = posixpath.dirname(path.relative_to(REPOSITORY).as_posix())

    def resolved(found: re.Match[str]) -> str:
        text, given, anchor = found[1], found[2], found[3] or ""
        target = posixpath.normpath(posixpath.join(there, given)).removeprefix("docs/pages/")
        if files.get_file_from_path(target) is not None:
            return f"{text}({posixpath.relpath(target, here)}{anchor})"
        name = text.lstrip("!")[1:-1]
        return found[0] if is_own else name if "`" in name or name == target else f"{name} (`{target}`)"

    return LINK.sub(resolved, markdown)
