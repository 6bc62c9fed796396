"""Where commands run: in directories of any name, as other users, without a home."""

import itertools
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.dcgmm_cli.commands.conftest import QUICK
from tests.stress.conftest import share
from tests.stress.zygote import Zygote

NAMES = [
    *("a${b", "${oc.env:HOME}", "\\${x}'", "it's", '"', "$HOME", "#x", "a b", "ü", "a,b=c", "~", "[a]", "{a:b}", "-x"),
    *("\nnew", "%d%(x)s", "latest", os.fsdecode(b"\xff")),
]
PYTHON = f"/usr/bin/python3.{sys.version_info.minor}"  # that every user may run
TRAINING = ["train", *QUICK]
FOLLOW_UP = ["sample", "sampling.count=4", "quality.count=0"]


@pytest.mark.parametrize("name", share(NAMES, "names"))
def test_a_working_directory_of_any_name(name: str, zygote: Zygote, tmp_path: Path) -> None:
    here = tmp_path / name
    here.mkdir()
    first = zygote.run(TRAINING, here)
    assert first.code == 0, first.err
    (run,) = here.glob("runs/custom-*/*")  # the last line may be a part of its name
    quoted = "'" + str(run).replace("'", "\\'") + "'"
    for words in (
        ["train", f"run={run}", "trainer.epochs=3"],
        ["train", "-m", *QUICK, "seed=0,1", "hydra.sweep.dir=sweep"],
        ["visualize", "run=sweep", "images=0"],
        ["show", "run=latest", "format=html"],
        ["compare", f"run={quoted}", "run=sweep", "format=html"],
        ["results", "format=csv"],
        FOLLOW_UP,
    ):
        ended = zygote.run(words, here)
        assert ended.code == 0, (words, ended.err)
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("setpriv") is None or not os.access(PYTHON, os.X_OK),
    reason="takes another user's rights, and a Python that this user may run",
)
@pytest.mark.parametrize("home", share([None, "/nonexistent", "/proc", "/root"], "homes"))
def test_another_user_with_a_read_only_installation(home: str | None, tmp_path_factory: pytest.TempPathFactory) -> None:
    place = tmp_path_factory.mktemp("other")
    # Of the test's own folders all that lead here, one more where tests run side by side.
    for folder in (place, *itertools.takewhile(lambda folder: "pytest" in str(folder), place.parents)):
        folder.chmod(0o755)
    packages = place / "site"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(packages)]
    subprocess.run([*pip, str(Path(__file__).parents[2])], check=True)
    torch = Path(sys.modules["torch"].__file__ or "").parents[1]
    subprocess.run(["chmod", "-R", "a-w,a+rX", packages], check=True)
    work = place / "work"
    work.mkdir()
    os.chown(work, 65534, 65534)
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": f"{packages}:{torch}"}
    if home is not None:
        environment["HOME"] = home
    as_nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", PYTHON, "-m", "dcgmm_cli"]
    longer = ["train", "run=latest", "trainer.epochs=3"]
    for words in (TRAINING, longer, FOLLOW_UP, ["results"], ["show", "format=html"]):
        done = subprocess.run([*as_nobody, *words], cwd=work, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, (shlex.join(words), done.stderr)
        assert "Traceback" not in done.stderr
