import math

import pytest

from dcgmm_cli.commands.outliers.verdicts import Verdict, Verdicts


def of(*scores: float, p_value: str = "0.1") -> list[Verdict]:
    kinds = ["inlier" if score >= 0 else "outlier" for score in scores]
    return [Verdict(f"{score}.png", kind, score, p_value, "") for kind, score in zip(kinds, scores, strict=True)]


def rows(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [line.split("│")[1].strip() for line in capsys.readouterr().out.splitlines() if ".png" in line]


def test_numbers_agree_with_their_nouns() -> None:
    found = Verdicts()
    assert str(found) == "0 inliers, 0 outliers"
    found.add([*of(1, -1), Verdict("x", "failed", math.nan, "", "")])
    assert str(found) == "1 inlier, 1 outlier, 1 that cannot be used"
    found.add(of(*range(2000)))
    assert str(found) == "2,001 inliers, 1 outlier, 1 that cannot be used"


def test_of_many_the_most_outlying_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    found = Verdicts()
    found.add(of(3, -2, 1))
    found.add(of(*range(17), p_value=""))
    found.print_table()
    assert rows(capsys) == [f"{score}.png" for score in [3, -2, 1, *range(17)]]
    found.add([*of(-1, -3), *(Verdict("nan.png", "outlier", math.nan, "", "") for _ in range(1))])
    found.print_table()
    assert rows(capsys) == ["nan.png", "-3.png", "-2.png", "-1.png"]
    found.add(of(*range(-60, -40)))
    found.print_table()
    out = capsys.readouterr().out
    assert "the 10 most outlying of 43 images" in out
    assert [score for score in range(-60, -40) if f" {score}.png" in out] == [*range(-60, -51)]


def test_without_outliers_there_is_no_table(capsys: pytest.CaptureFixture[str]) -> None:
    found = Verdicts()
    found.add(of(*range(30)))
    found.print_table()
    assert capsys.readouterr().out == ""
