"""Sources are compiled once, and what can go wrong is said."""

import logging
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from dcgmm.model import GMM, Rates, Shape, native
from dcgmm.model.native.build import COMPILERS, library


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A cache with nothing compiled yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    library.cache_clear()
    yield tmp_path / "dcgmm" / "compiled"
    library.cache_clear()


def test_without_a_compiler_tensors_do_the_work(
    cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    gmm = GMM(Shape(1, 1, 2), 4)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            gmm.step(torch.ones(3, 1, 1, 2), None, Rates(*torch.full((4,), 0.01)), passes_on=False)
    assert (gmm.loc.amax(0) > 0).all()
    assert [record.message for record in caplog.records] == [
        "computing without passes.cpp, which is slower: no C++ compiler here (g++, c++)"
    ]
    assert not cache.exists()


def test_a_compiler_that_fails_is_reported_and_leaves_nothing(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    compiler = tmp_path / "broken"
    compiler.write_text("#!/bin/sh\necho no such flag >&2\nexit 1\n")
    compiler.chmod(0o755)
    monkeypatch.setattr(shutil, "which", lambda _: str(compiler))
    with caplog.at_level(logging.WARNING):
        assert library(native.SOURCE) is None
    assert "slower: no such flag" in caplog.text
    assert list(cache.iterdir()) == []


@pytest.mark.skipif(not any(map(shutil.which, COMPILERS)), reason="needs a C++ compiler")
def test_it_is_compiled_once(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert library(native.SOURCE) is not None
    (made,) = cache.iterdir()
    assert made.suffix == ".so"
    library.cache_clear()
    monkeypatch.setattr(shutil, "which", lambda _: None)
    assert library(native.SOURCE) is not None


@pytest.mark.skipif(not any(map(shutil.which, COMPILERS)), reason="needs a C++ compiler")
def test_a_damaged_library_is_compiled_again(cache: Path, tmp_path: Path) -> None:
    source = tmp_path / "seven.cpp"
    source.write_text('extern "C" int seven() { return 7; }')

    def answer() -> int:
        library.cache_clear()
        found = library(source)
        assert found is not None
        return int(found.seven())

    assert answer() == 7
    (made,) = cache.iterdir()
    whole = made.read_bytes()
    for damaged in (b"", whole[: len(whole) // 2], whole[:-1], whole[:5000] + b"\1" * 100 + whole[5100:]):
        # Moved there: the process has the file mapped that was there before.
        made.with_suffix(".other").write_bytes(damaged)
        made.with_suffix(".other").replace(made)
        assert answer() == 7
        assert len(made.read_bytes()) == len(whole)
    assert list(cache.iterdir()) == [made]
