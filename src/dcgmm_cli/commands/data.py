"""`dcgmm data`: list the known data sets, fetch and check them; list and remove images that are kept decoded."""

import logging
import sys
from pathlib import Path
from typing import Any

from dcgmm.errors import InputError
from dcgmm_cli.schema_in_place import DataConfig

log = logging.getLogger(__name__)


def run_in_place(config: DataConfig) -> Path:
    """Fetch and remove what is asked for, list what there is on standard output, and return the folder that holds it.

    A data set that cannot be fetched does not keep the others from being fetched.

    Raises:
        InputError: a data set is unknown, or could not be fetched; names all that could not. Or there are no decoded
            images of a name.
    """
    from dcgmm.datasets.options import root_of

    root = root_of(config.dataset.root)
    failures = _fetch(_names(config.fetch), root)
    _remove(config.remove, root)
    _print_table(root)
    _print_decoded(root)
    if failures:
        raise InputError(f"could not fetch {'; '.join(failures)}")
    return root


def _names(fetch: Any) -> list[str]:
    """The data sets that a `fetch` key names.

    Raises:
        InputError: one cannot be fetched.
    """
    from dcgmm.datasets.catalogue import KNOWN

    choices = [known.name for known in KNOWN.values() if known.kind != "sample"]
    if fetch is None:
        return []
    given = choices if fetch == "all" else fetch if isinstance(fetch, list) else [fetch]
    if unknown := [name for name in given if name not in choices]:
        raise InputError(f"fetch={unknown[0]} is nothing to fetch; choose from {', '.join(choices)}, or all")
    return list(dict.fromkeys(given))


def _fetch(names: list[str], root: Path) -> list[str]:
    """Fetch data sets and return which could not be, and why."""
    from dcgmm.datasets.catalogue import KNOWN
    from dcgmm.datasets.files import SourceError
    from dcgmm.datasets.sources import fetch

    failures = []
    for number, name in enumerate(names, 1):
        log.info("%s (%d of %d)", name, number, len(names))
        try:
            if fetch(KNOWN[name], root) is None:
                log.info("%s: already complete", name)
        except (SourceError, InputError) as error:
            log.warning("%s: %s", name, error)
            failures.append(f"{name}: {error}")
    return failures


def _remove(remove: Any, root: Path) -> None:
    """Remove decoded images.

    Raises:
        InputError: there are none of a name.
    """
    from dcgmm.datasets import cache

    if remove is None:
        return
    given = None if remove == "all" else list(map(str, remove if isinstance(remove, list) else [remove]))
    known = [each.name for each in cache.listed(root)]
    if unknown := [name for name in given or [] if name not in known]:
        raise InputError(f"remove={unknown[0]} is not kept decoded; choose from {', '.join(known) or 'none'}, or all")
    removed = cache.remove(root, given)
    log.info("removed: %s", ", ".join(removed) or "nothing")


def _print_table(root: Path) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from dcgmm.datasets.catalogue import KNOWN
    from dcgmm.datasets.sources import inspect

    table = Table(title=f"data sets in {root}", title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in ("dataset=", "state"):
        table.add_column(column, no_wrap=True)
    for column in ("images", "size"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("folder", overflow="fold")
    table.add_column("from")
    problems: list[str] = []
    for known in KNOWN.values():
        state = inspect(known, root)
        problems += state.problems
        table.add_row(
            known.name,
            state.summary,
            f"{sum(known.counts):,}",
            f"{state.size / 1e6:.1f} MB" if state.size else "",
            "the package" if known.kind == "sample" else known.folder,
            known.origin,
        )
    table.add_row("folder", "", "", "", "dataset.path=...", "any folder of images")
    table.add_row("arrays", "", "", "", "dataset.path=...", "any .npy or .npz file")
    table.add_row("parquet", "", "", "", "dataset.path=...", "any .parquet files")
    table.caption = "verified, bundled: all checksums match; present: none are known"
    table.caption_justify = "left"
    console = _console()
    console.print(table)
    for problem in problems:
        console.print(problem, highlight=False, soft_wrap=True)


def _print_decoded(root: Path) -> None:
    """List images that are kept decoded, if there are any."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from dcgmm.datasets import cache

    if not (listed := cache.listed(root)):
        return
    title = f"decoded images in {root / cache.FOLDER}"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("name", no_wrap=True)
    for column in ("images", "size"):
        table.add_column(column, justify="right", no_wrap=True)
    for column in ("of", "in"):
        table.add_column(column, overflow="fold")
    for each in listed:
        table.add_row(each.name, f"{each.images:,}", f"{each.size / 1e6:.1f} MB", each.what, each.source)
    table.caption, table.caption_justify = "made again when they are wanted; remove=[NAME] or remove=all", "left"
    _console().print(table)


def _console() -> Any:
    from rich.console import Console

    # A file or a pipe has no width of its own: no line need be broken there.
    return Console(width=None if sys.stdout.isatty() else 120, markup=False, emoji=False)
