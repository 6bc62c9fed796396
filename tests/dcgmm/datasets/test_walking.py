import os
from pathlib import Path

import pytest

from dcgmm.datasets.walking import walk


def test_images_come_sorted_and_what_is_none_or_hidden_is_passed_over(tmp_path: Path) -> None:
    for name in ("b.png", "a.JPG", "sub/c.tif", "notes.txt", ".hidden.png", ".cache/d.png", "e.png/f.txt", "t/a.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    tree = walk(tmp_path)
    found = list(tree.files())
    assert [str(path.relative_to(tmp_path)) for path in found] == ["a.JPG", "b.png", "sub/c.tif", "t/a.png"]
    assert found == sorted(found)
    assert [path.name for path in tree.images] == ["a.JPG", "b.png"]
    assert [folder.path.name for folder in tree.folders] == ["e.png", "sub", "t"]


def test_links_are_followed_but_in_no_circle(tmp_path: Path) -> None:
    outside, root = tmp_path / "outside", tmp_path / "root"
    (outside / "deep").mkdir(parents=True)
    (root / "a").mkdir(parents=True)
    for file in (outside / "x.png", outside / "deep" / "y.png"):
        file.write_text("")
    (root / "linked").symlink_to(outside)
    (root / "again").symlink_to(outside)
    (root / "file.png").symlink_to(outside / "x.png")
    (root / "gone.png").symlink_to(outside / "nothing.png")
    (root / "a" / "round").symlink_to(root)
    tree = walk(root)
    names = [str(path.relative_to(root)) for path in tree.files()]
    assert names == ["again/deep/y.png", "again/x.png", "file.png", "linked/deep/y.png", "linked/x.png"]
    assert dict(tree.all_broken()) == {
        root / "gone.png": f"a link to {outside / 'nothing.png'}, which is not there",
        root / "a" / "round": "it leads back to a folder that it lies in",
    }


def test_a_folder_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.png").write_text("")
    scan = os.scandir

    def refuse(path: Path) -> object:  # permissions do not keep out the superuser, as whom tests may run
        if path.name == "a":
            raise PermissionError(13, "Permission denied")
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    tree = walk(tmp_path)
    assert list(tree.files()) == [tmp_path / "b" / "x.png"]
    assert list(tree.all_broken()) == [(tmp_path / "a", "Permission denied")]
