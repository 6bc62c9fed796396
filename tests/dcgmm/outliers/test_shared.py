"""A detector whose images several processes share, against one alone."""

from typing import Any

import torch

from dcgmm.distributed import Processes
from dcgmm.outliers import Detector
from tests.conftest import ROUNDING
from tests.dcgmm.small import small_images, small_model
from tests.together import together


def fitted(count: int) -> dict[str, Any]:
    return Detector.fit(small_model(), small_images(count), batch_size=4, processes=Processes.current()).state_dict()


def assert_close(one: Any, other: Any) -> None:
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key, value in one.items():
            assert_close(value, other[key])
    else:
        torch.testing.assert_close(torch.as_tensor(one), torch.as_tensor(other), **ROUNDING)


def both() -> list[dict[str, Any]]:
    return [fitted(23), fitted(1)]


def test_processes_that_share_the_images_find_the_detector_of_one() -> None:
    alone = both()
    for found in together(2, both):
        for one, other in zip(found, alone, strict=True):
            assert_close(one, other)
