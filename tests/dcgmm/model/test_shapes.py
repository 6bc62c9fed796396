import itertools

import pytest

from dcgmm.errors import InputError, OptionError
from dcgmm.model import Shape, Window
from tests.refusals import refused

AXES = list(itertools.product(range(1, 10), range(1, 6), range(1, 6)))  # size, kernel, stride


def one_line(error: pytest.ExceptionInfo[InputError]) -> str:
    message = str(error.value)
    assert "\n" not in message
    return message


def test_shape_reads_as_people_write_it() -> None:
    assert str(Shape(5, 7, 3)) == "5x7x3"
    assert Shape(5, 7, 3).positions == 35


def test_window_reads_as_table_1_writes_it() -> None:
    assert str(Window((7, 6), (3, 2))) == "7, 6, 3, 2"


def test_whole_windows_are_counted_by_listing_them() -> None:
    for size, kernel, stride in AXES:
        if kernel <= size:
            starts = [start for start in range(0, size, stride) if start + kernel <= size]
            assert Window((kernel, 1), (stride, 1)).positions(size, 4) == (len(starts), 4)
            assert Window((1, kernel), (1, stride)).positions(4, size) == (4, len(starts))


def test_a_partial_window_counts_where_it_sees_something_new() -> None:
    for size, kernel, stride in AXES:
        if kernel <= size:
            # From the first on, until a window reaches the end; none starts outside.
            starts, start = [0], stride
            while starts[-1] + kernel < size and start < size:
                starts.append(start)
                start += stride
            assert Window((kernel, 1), (stride, 1)).positions(size, 4, partial=True) == (len(starts), 4)


def test_height_and_width_are_not_mixed_up() -> None:
    window = Window((2, 5), (1, 3))
    assert window.positions(4, 11) == (3, 3)
    with pytest.raises(InputError) as error:
        window.positions(11, 4)
    assert one_line(error) == "the window does not fit its 11x4 input; a kernel of at most 11x4 would"


@pytest.mark.parametrize("partial", [False, True])
def test_a_window_larger_than_the_map_in_one_direction(partial: bool) -> None:
    for kernel in ((6, 1), (1, 6)):
        with refused("5x5"):
            Window(kernel, (1, 1)).positions(5, 5, partial=partial)


@pytest.mark.parametrize("pair", [(0, 1), (1, -1), (2,), (1, 2, 3), (), (2.0, 2.0), (1.5, 1), (True, 1), ("2", "2")])
def test_a_pair_must_be_two_positive_integers(pair: tuple[int, ...]) -> None:
    for name, kernel, stride in (("kernel", pair, (1, 1)), ("stride", (1, 1), pair)):
        with pytest.raises(OptionError) as error:
            Window(kernel, stride)
        assert (error.value.field, error.value.value) == (name, list(pair))
