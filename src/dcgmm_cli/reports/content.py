"""What reports are made of. All texts are data: whoever shows them sees to it that they stay that."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Pairs:
    """Names and what they stand for."""

    pairs: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Grid:
    """A table; `numeric` columns stand to the right."""

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    numeric: Sequence[bool] = ()


@dataclass(frozen=True)
class Code:
    """A line to copy."""

    text: str


@dataclass(frozen=True)
class Note:
    """A sentence."""

    text: str


@dataclass(frozen=True)
class Picture:
    """A picture's file, and what it shows."""

    path: Path
    alt: str


@dataclass(frozen=True)
class Pictures:
    """Pictures side by side."""

    pictures: Sequence[Picture]


@dataclass(frozen=True)
class Files:
    """Files, with their sizes."""

    root: Path  # which their names start from
    sizes: Mapping[Path, int]  # bytes


@dataclass(frozen=True)
class Curves:
    """Lines over a common axis, for the page."""

    title: str
    x: str
    y: str
    lines: Sequence[tuple[str, Sequence[float], Sequence[float]]]  # name, x, y


@dataclass(frozen=True)
class Detail:
    """What a page shows once it is asked to; a terminal leaves it out."""

    title: str
    blocks: Sequence["Block"]
    is_open: bool = False


Block = Pairs | Grid | Code | Note | Pictures | Files | Curves | Detail


@dataclass(frozen=True)
class Section:
    """A part of a report."""

    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Report:
    """A title and what is said under it."""

    title: str
    sections: list[Section] = field(default_factory=list)

    def add(self, title: str, *blocks: Block | None) -> None:
        """Add a section of what there is; of nothing, none."""
        if there := [block for block in blocks if block is not None]:
            self.sections.append(Section(title, there))


def printable(text: str) -> str:
    """A text without what would steer a terminal, on one line."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def size_text(count: int) -> str:
    """A number of bytes as people read it."""
    return f"{count:,} B" if count < 1000 else f"{count / 1e3:,.0f} kB" if count < 1e6 else f"{count / 1e6:,.1f} MB"
