"""Values as Hydra reads them in `key=value`. Imports nothing slow."""

import re
from collections.abc import Mapping
from typing import Any

_WORDS = {"null", "true", "false", "nan", "inf", "yes", "no", "on", "off"}  # which stand for something else


def value_text(value: Any) -> str:
    """A value as it is given on the command line, before the shell's own quotes.

    Examples:
        >>> print(value_text([{"type": "gmm", "components": 25, "kernel": None}]), value_text([1, 0.5, "1"]))
        [{type:gmm,components:25}] [1,0.5,'1']
    """
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list | tuple):
        return f"[{','.join(map(value_text, value))}]"
    if isinstance(value, Mapping):
        return f"{{{','.join(f'{key}:{value_text(part)}' for key, part in value.items() if part is not None)}}}"
    return _text(value) if isinstance(value, str) else repr(value)


def escaped(text: str) -> str:
    """A text in which `${` begins nothing that OmegaConf would resolve.

    Example:
        >>> print(escaped("/home/a${b}"))
        /home/a\\${b}
    """
    return re.sub(r"(\\*)\$\{", r"\1\1\\${", text)


def _text(value: str) -> str:
    """A text: bare where it can be, else in quotes, in which a backslash stands for itself but before a quote."""
    is_bare = re.fullmatch(r"\.{0,2}/?[A-Za-z_][\w./-]*", value) and value.lower() not in _WORDS
    if is_bare or re.fullmatch(r"\d+[A-Za-z][A-Za-z-]*", value):  # 2L-c; 1e5 has a digit at its end
        return value
    plain = escaped(value)
    ending = re.search(r"\\*$", plain)
    quoted = re.sub(r"(\\*)'", r"\1\1\\'", plain)
    return f"'{quoted}{ending[0] if ending else ''}'"
