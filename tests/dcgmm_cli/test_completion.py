import subprocess
import sys
from pathlib import Path

import pytest

from dcgmm_cli.completion import completions
from dcgmm_cli.main import COMMANDS, conf_dir, run
from tests.refusals import check_names


def complete(line: str) -> set[str]:
    return set(completions(line, conf_dir()))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("dcgmm tr", {"train"}),
        ("dcgmm train --config-dir=mi", set()),
        ("dcgmm train --hy", {"--hydra-help"}),
        ("dcgmm train --cfg ", {"job", "hydra", "all"}),
        ("dcgmm train --config-dir ", set()),
        ("dcgmm train trainer.annealing.", {f"trainer.annealing.{name}=" for name in ("alpha", "delta", "gamma")}),
        ("dcgmm train seed=1 arch=2L-a", {"arch=2L-a"}),
        ("dcgmm train -m arch=1L,2L-a", {"arch=1L,2L-a"}),
        ("dcgmm train dataset=mnist", {"dataset=mnist", "dataset=mnist_sample"}),
        ("dcgmm train dataset.name=fo", {"dataset.name=folder"}),
        ("dcgmm train dataset.color=", {"dataset.color=true", "dataset.color=false"}),
        ("dcgmm train trainer.dtype=", {"trainer.dtype=float32", "trainer.dtype=float64"}),
        ("dcgmm train trainer.epochs=", set()),
        ("dcgmm cluster cluster.split=t", {"cluster.split=test", "cluster.split=train"}),
        ("dcgmm cluster cluster.merge=", {"cluster.merge=ward", "cluster.merge=grid", "cluster.merge=null"}),
        ("dcgmm outliers device=c", {"device=cpu", "device=cuda"}),
        ("dcgmm sample input=./", set()),
        ("dcgmm results fo", {"format="}),
        ("dcgmm results format=", {f"format={name}" for name in ("table", "csv", "markdown", "json")}),
        ("dcgmm results ./ru", set()),
        ("dcgmm data arch=", set()),
        ("dcgmm data dataset=", set()),
        ("dcgmm nothing x", set()),
        ("dcgmm completion ", {"bash", "zsh"}),
        ("dcgmm train nothing=", set()),
    ],
)
def test_completions(line: str, words: set[str]) -> None:
    assert complete(line) == words | ({"trainer.annealing.sigma_end="} if line.endswith("annealing.") else set())


def test_commands_are_offered_first() -> None:
    assert {*COMMANDS, "completion"} <= complete("dcgmm ")


def test_choices_of_the_users_own_directory(tmp_path: Path) -> None:
    (tmp_path / "arch").mkdir()
    (tmp_path / "arch" / "mine.yaml").touch()
    for given in (f"--config-dir {tmp_path}", f"-cd {tmp_path}", f"--config-dir={tmp_path}"):
        assert {"arch=mine", "arch=1L"} <= complete(f"dcgmm train {given} arch=")
    assert "arch=mine" not in complete("dcgmm train arch=")


def test_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert complete("dcgmm sample run=") == set()
    for name in ("1L-mnist/a", "1L-mnist/b", "2L-c-mnist/c", ".sweeps/x"):
        (tmp_path / "runs" / name).mkdir(parents=True)
    (tmp_path / "runs" / "latest").symlink_to("1L-mnist/a")
    assert complete("dcgmm sample run=") == {"run=latest", "run=1L-mnist/", "run=2L-c-mnist/"}
    assert complete("dcgmm train run=1L-mnist/") == {"run=1L-mnist/a", "run=1L-mnist/b"}
    assert complete("dcgmm sample run=runs/") == set()  # a path, if anything: the shell's
    assert complete("dcgmm sample run=./") == set()
    (tmp_path / "runs").rename(tmp_path / "mine")
    assert complete("dcgmm sample runs_dir=mine run=l") == {"run=latest"}


@pytest.mark.parametrize("breaks", [" =:", " :"])
@pytest.mark.parametrize(
    ("line", "replies", "space"),
    [
        ("dcgmm tr", ["train"], True),
        ("dcgmm train arch=2L-", [f"arch=2L-{name}" for name in "abcde"], True),
        ("dcgmm train trainer.ep", ["trainer.epochs="], False),
        ("dcgmm cluster x=1 cluster.split=te", ["cluster.split=test"], True),
        ("dcgmm train trainer.epochs=", [], True),
    ],
)
def test_completion_in_bash(line: str, replies: list[str], space: bool, breaks: str, tmp_path: Path) -> None:
    script = f"""
PATH="{Path(sys.executable).parent}:$PATH"
eval "$(dcgmm completion bash)"
compopt() {{ echo "a space"; }}
COMP_WORDBREAKS={breaks!r} COMP_LINE='{line} and more' COMP_POINT={len(line)}
_dcgmm dcgmm
printf "%s\\n" "${{COMPREPLY[@]}}"
"""
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    if "=" in breaks:  # the shell has the part before it already
        start = line.rsplit(" ")[-1].rpartition("=")
        replies = [reply.removeprefix(start[0] + start[1]) for reply in replies]
    expected = [*(["a space"] if space else []), *(replies or [""])]
    assert done.stdout.splitlines() == expected


def test_the_script_for_zsh_makes_it_understand_bash(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["completion", "zsh"]) == 0
    zsh = capsys.readouterr().out
    assert run(["completion", "bash"]) == 0
    assert zsh == "autoload -Uz bashcompinit && bashcompinit\n" + capsys.readouterr().out


@pytest.mark.parametrize("shell", [[], ["fish"], ["bash", "zsh"]])
def test_completion_for_another_shell(shell: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["completion", *shell]) == 2
    check_names(capsys.readouterr().err.strip(), "bash", "zsh", " ".join(shell) or "none")
