"""What an array must be: every mistake is refused by its name."""

import pytest
import torch
from torch import Tensor

from dcgmm.errors import OptionError
from dcgmm.model.arrays import check, dense, in_place

RIGHT = torch.arange(6, dtype=torch.float32).view(2, 3)
WRONG = {
    "shape": RIGHT.view(3, 2),
    "dimensions": RIGHT.view(1, 2, 3),
    "float64": RIGHT.double(),
    "bfloat16": RIGHT.bfloat16(),
    "whole numbers": RIGHT.long(),
    "device": RIGHT.to("meta"),
}


@pytest.mark.parametrize("array", WRONG.values(), ids=WRONG)
@pytest.mark.parametrize("take", [check, dense, in_place])
def test_what_is_not_as_it_must_be_is_refused_by_name(take: object, array: Tensor) -> None:
    with pytest.raises(OptionError) as caught:
        take("loc", array, (2, 3))  # type: ignore[operator]
    assert caught.value.field == "loc"
    assert "(2, 3)" in caught.value.rule


def test_an_array_that_will_do_is_not_copied() -> None:
    assert dense("x", RIGHT, (2, 3)).data_ptr() == RIGHT.data_ptr()
    assert in_place("x", RIGHT, (2, 3)) is RIGHT


def test_gaps_are_closed_by_a_copy_but_not_where_a_pass_writes() -> None:
    turned = RIGHT.view(3, 2).mT
    assert torch.equal(dense("x", turned, (2, 3)), turned)
    assert dense("x", turned, (2, 3)).is_contiguous()
    with pytest.raises(OptionError) as caught:
        in_place("loc", turned, (2, 3))
    assert caught.value.field == "loc"
