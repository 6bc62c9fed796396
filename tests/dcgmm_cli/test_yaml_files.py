import os
from pathlib import Path

import pytest
from omegaconf._utils import get_yaml_loader

from dcgmm.errors import InputError
from dcgmm_cli.yaml_files import read_yaml
from tests.refusals import refused

# Each name stands for ten of the one before: 10^9 values in 300 bytes.
BOMB = "a0: &a0 [0,0,0,0,0,0,0,0,0,0]\n" + "".join(
    f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 9)
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.yaml"


def test_plain_data(path: Path) -> None:
    path.write_text("# ü\nlayers: &l [{type: gmm}]\nmore: *l\nrate: 1e-3\nnone:\n")
    layers = [{"type": "gmm"}]
    assert read_yaml(path) == {"layers": layers, "more": layers, "rate": "1e-3", "none": None}
    assert read_yaml(path, get_yaml_loader())["rate"] == 1e-3
    path.write_text("")
    assert read_yaml(path) is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\nb: [1, 2\nc: 3", ", line 3: "),
        ("a: 1\n\tb: 2", ", line 2: "),
        ("a: b: c", ", line 1: "),
        ("a: *b", ", line 1: found undefined alias"),
        ("a: !!python/object/apply:os.system [ls]", ", line 1: could not determine a constructor"),
        ("a: !mine 3", ", line 1: could not determine a constructor"),
        ("a: 1\n---\nb: 2", ", line 2: but found another document"),
        ("a: \0", ": "),
        ("a: &a [*a]", " holds more than 100,000 values"),
        (BOMB, " holds more than 100,000 values"),
        ("\n" + "[" * 100_000, ", line 2: "),
        ("\n" + "[" * 51 + "]" * 51, ", line 2: it is nested more than 50 times"),
        ("a:\n" + "- " * 1000 + "1", ", line 2: it is nested more than 50 times"),
    ],
)
def test_what_is_wrong_is_named_by_file_and_line(text: str, said: str, path: Path) -> None:
    path.write_text(text)
    with pytest.raises(InputError) as error:
        read_yaml(path)
    assert str(error.value).startswith(f"{path}{said}")
    assert "\n" not in str(error.value)


def test_what_cannot_be_read(path: Path) -> None:
    path.write_bytes(b"a: \xff")
    with refused(path, "0xff"):
        read_yaml(path)
    path.unlink()
    os.mkfifo(path)
    with refused(path, "regular"):
        read_yaml(path)
