"""Architectures that come with the package: `conf/arch/*.yaml`."""

from pathlib import Path

import yaml

from dcgmm.errors import OptionError
from dcgmm.model.options import Architecture
from dcgmm.options import made


def arch(name: str) -> Architecture:
    """An architecture by its name, such as one of the paper's Table 1.

    Args:
        name: as in `conf/arch/2L-c.yaml`; an unknown one is told which there are.

    Raises:
        OptionError: there is none of that name.

    Examples:
        >>> import dcgmm
        >>> print(dcgmm.arch("2L-c"))
        F(7,7,3,3) G(25) F(8,8,1,1) G(36)
    """
    folder = _folder()
    known = sorted(path.stem for path in folder.glob("*.yaml"))
    if name not in known:
        raise OptionError("arch", f"one of {', '.join(known)}", name)
    return made(Architecture, yaml.safe_load((folder / f"{name}.yaml").read_text()), "arch")


def _folder() -> Path:
    """Inside the installed package, else at the top of the source tree."""
    package = Path(__file__).resolve().parent
    inside = package / "conf" / "arch"
    return inside if inside.is_dir() else package.parents[1] / "conf" / "arch"
