import pytest
import torch

from dcgmm.generation.cumulative import running_sums
from tests.conftest import ROUNDING, uniform


@pytest.mark.parametrize("shape", [(1,), (7,), (2, 1), (3, 4, 5)])
def test_running_sums_are_sums_of_what_came_before(shape: tuple[int, ...]) -> None:
    values = uniform(*shape)
    expected = torch.stack([values[..., : i + 1].sum(-1) for i in range(shape[-1])], -1)
    torch.testing.assert_close(running_sums(values), expected, **ROUNDING)


@pytest.mark.gpu
def test_a_long_row_is_summed_in_the_same_order_each_time() -> None:
    values = uniform(100_000).cuda()
    first = running_sums(values)
    assert all(torch.equal(running_sums(values), first) for _ in range(100))
    torch.testing.assert_close(first.cpu(), values.cpu().cumsum(-1))
