"""Names from outside, of files and folders: in the order that people expect, and as they can be shown anywhere."""

import re
import unicodedata
from collections.abc import Sequence

SHOWN = 10  # names in a list of many


def natural_key(name: str) -> tuple[tuple[tuple[bool, int, str], ...], str]:
    """Sorts names with numbers as people do.

    Examples:
        >>> sorted(["10", "9b", "9a", "2"], key=natural_key)
        ['2', '9a', '9b', '10']
    """
    parts = filter(None, re.split(r"(\d+)", name))
    # The name itself as well: 1 and 01 have an order too.
    return tuple((False, int(part), "") if part.isdecimal() else (True, 0, part) for part in parts), name


def printable(name: str) -> str:
    """A name as it can be printed, logged and stored: what has no sign of its own is escaped as Python does.

    Bytes that are no UTF-8 (which Python keeps as lone surrogates) become `\\xff`, a newline `\\n`.

    Examples:
        >>> printable("two\\nlines, a byte \\udcff, 日本")
        'two\\\\nlines, a byte \\\\xff, 日本'
    """
    return "".join(map(_escaped, name))


def _escaped(sign: str) -> str:
    if "\udc80" <= sign <= "\udcff":
        return f"\\x{ord(sign) - 0xDC00:02x}"
    if sign.isprintable() or unicodedata.category(sign) == "Zs":
        return sign
    return sign.encode("unicode_escape").decode()


def counted(number: int, noun: str) -> str:
    """So many of what a noun stands for.

    Examples:
        >>> counted(1, "inlier"), counted(2000, "inlier"), counted(0, "outlier")
        ('1 inlier', '2,000 inliers', '0 outliers')
    """
    return f"{number:,} {noun}{'s' * (number != 1)}"


def as_cell(name: str) -> str:
    """A file's name as a table's cell that no spreadsheet takes for a formula; still a path to it."""
    return f"./{name}" if name.startswith(("=", "+", "-", "@")) else name


def class_name(folder: str) -> str:
    """The class that a folder's name stands for: composed and decomposed spellings of a letter are one."""
    return printable(unicodedata.normalize("NFC", folder))


def enumerated(names: Sequence[object]) -> str:
    """Names in a list, the first ones of many.

    Examples:
        >>> enumerated(["a", "b"]), enumerated(range(500))
        ('a, b', '0, 1, 2, 3, 4, 5, 6, 7, 8, 9, ... (500 in all)')
    """
    shown = ", ".join(printable(str(name)) for name in names[:SHOWN])
    return shown if len(names) <= SHOWN else f"{shown}, ... ({len(names)} in all)"
