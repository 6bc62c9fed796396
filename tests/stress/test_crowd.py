"""Many commands at once in one directory: each has its own, all end well, and `latest` is a run."""

from pathlib import Path

from dcgmm.files import TEMPORARY, read_json
from tests.dcgmm_cli.commands.conftest import QUICK
from tests.generated import STRESS
from tests.stress.whole import check_all_whole
from tests.stress.zygote import Zygote

AT_ONCE = 50 if STRESS else 10
DRAWN = ["sampling.count=4", "quality.count=0"]


def test_many_commands_in_one_directory(zygote: Zygote, tmp_path: Path) -> None:
    first = zygote.run(["train", *QUICK, "hydra.run.dir=first"], tmp_path)
    assert first.code == 0, first.err
    # What each is, and how it may end: the newest run may have begun only now, and one directory takes one at a time.
    kinds = [
        (["train", *QUICK, "seed=@"], {0}),
        (["sample", "run=first", "seed=@", *DRAWN], {0}),
        (["train", *QUICK, "seed=@"], {0}),
        (["visualize", "run=latest", "images=0"], {0, 2}),
        (["train", "-m", *QUICK, "seed=@,1@"], {0}),
        (["results"], {0, 2}),
        (["show", "run=latest", "format=html"], {0}),
        (["train", *QUICK, "hydra.run.dir=shared"], {0, 2}),
        (["train", *QUICK, "dataset.limit=100", "trainer.batch_size=101"], {2}),
        (["train", "-m", *QUICK, "seed=0,1", "hydra.sweep.dir=sweep"], {0, 2}),
    ]
    chosen = [(kinds[number % len(kinds)], number) for number in range(AT_ONCE)]
    started = [
        zygote.start([word.replace("@", str(number)) for word in words], tmp_path) for (words, _), number in chosen
    ]
    ended = [each.wait() for each in started]
    for ((words, codes), _), each in zip(chosen, ended, strict=True):
        assert each.code in codes, (words, each)
        assert "Traceback" not in each.err, (words, each.err)
    check_all_whole(tmp_path)
    printed = (Path(line) for each in ended for line in each.out.splitlines())
    lines = [path for path in printed if path.parent.parent == tmp_path / "runs"]
    assert len(set(lines)) == len(lines) == len(list(tmp_path.glob("runs/custom-*/*")))
    for name in ("shared", "sweep"):
        assert {read_json(path)["status"] for path in (tmp_path / name).rglob("result.json")} == {"finished"}
    latest = tmp_path / "runs" / "latest"
    assert latest.is_symlink()
    assert read_json(latest / "result.json")["status"] == "finished"
    assert not [path for path in tmp_path.rglob(".*") if path.name.endswith(TEMPORARY) or ".latest" in path.name]
    table = zygote.run(["results", "format=csv"], tmp_path)
    assert len(table.out.splitlines()) == 1 + len(lines)
