import unicodedata

import pytest

from dcgmm.datasets.names import as_cell, class_name, natural_key, printable


def test_numbers_in_names_are_in_their_order() -> None:
    names = ["2", "10", "a2b", "a2c", "a10b", "b", "é"]
    backwards = names[::-1]
    assert sorted(backwards, key=natural_key) == names
    assert sorted(["01", "1", "001"], key=natural_key) == sorted(["1", "001", "01"], key=natural_key)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("plain $x_1$ [red] =1+1.png", "plain $x_1$ [red] =1+1.png"),
        ("日本\u3000é", "日本\u3000é"),
        ("a\nb\tc\x1b[31m", "a\\nb\\tc\\x1b[31m"),
        (b"\xff\xfe".decode("utf-8", "surrogateescape"), "\\xff\\xfe"),
        ("\u202egnp", "\\u202egnp"),
        ("\ud800", "\\ud800"),
    ],
)
def test_a_name_can_be_printed(name: str, shown: str) -> None:
    assert printable(name) == shown
    assert printable(shown) == shown
    shown.encode()


def test_spellings_of_a_letter_are_one_class() -> None:
    composed, decomposed = (unicodedata.normalize(form, "résumé") for form in ("NFC", "NFD"))
    assert composed != decomposed
    assert class_name(composed) == class_name(decomposed) == composed


def test_a_spreadsheet_takes_no_name_for_a_formula() -> None:
    assert [as_cell(name) for name in ("=1+1.png", "+a", "-c.png", "@b", "a=b.png", "sub/=1.png")] == [
        *("./=1+1.png", "./+a", "./-c.png", "./@b"),
        *("a=b.png", "sub/=1.png"),
    ]
