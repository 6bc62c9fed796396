import pytest
import torch

from dcgmm.errors import OptionError
from dcgmm.generation.masks import observed_part
from dcgmm.generation.options import AREAS


@pytest.mark.parametrize(
    ("area", "rows"),
    [
        ("right", ["1100", "1100", "1100", "1100"]),
        ("left", ["0011", "0011", "0011", "0011"]),
        ("top", ["0000", "0000", "1111", "1111"]),
        ("bottom", ["1111", "1111", "0000", "0000"]),
        ("centre", ["1111", "1001", "1001", "1111"]),
    ],
)
def test_areas(area: str, rows: list[str]) -> None:
    expected = torch.tensor([[cell == "1" for cell in row] for row in rows])
    assert torch.equal(observed_part(area, 4, 4, 2), expected.expand(2, 4, 4))


@pytest.mark.parametrize("area", AREAS)
@pytest.mark.parametrize("shape", [(28, 28), (7, 10), (9, 4)])
@pytest.mark.parametrize("share", [0.2, 0.5, 0.75])
def test_about_the_share_is_missing(area: str, shape: tuple[int, int], share: float) -> None:
    seen = observed_part(area, *shape, 3, share=share)
    assert seen.shape == (3, *shape)
    missing = (~seen).float().mean((1, 2))
    step = 1 / min(shape)  # a row or a column; of the centre half a row and half a column on both sides
    assert torch.allclose(missing, torch.full((3,), share), atol=step)


def test_random_pixels_are_exactly_so_many_and_each_image_s_own() -> None:
    first, again, other = (observed_part("random", 9, 7, 4, share=0.3, seed=seed) for seed in (1, 1, 2))
    assert (~first).flatten(1).sum(1).tolist() == [19] * 4  # of 63
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(first[0], first[1])


@pytest.mark.parametrize(
    ("area", "share", "field"),
    [("middle", None, "area"), ("right", 0.0, "share"), ("right", 1.0, "share"), ("top", 0.01, "share")],
)
def test_what_cannot_be(area: str, share: float | None, field: str) -> None:
    with pytest.raises(OptionError) as error:
        observed_part(area, 4, 4, 1, share=share)
    assert error.value.field == field
