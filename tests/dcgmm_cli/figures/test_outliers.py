import numpy as np

from dcgmm_cli.figures.outliers import outline


def test_outline_runs_around_the_mask() -> None:
    mask = np.zeros((4, 5), bool)
    mask[1:3, 4] = True  # two pixels, at the right border
    segments = {tuple(sorted(segment)) for segment in outline(mask)}
    assert segments == {
        ((3.5, 0.5), (4.5, 0.5)),
        ((3.5, 2.5), (4.5, 2.5)),
        ((3.5, 0.5), (3.5, 1.5)),
        ((3.5, 1.5), (3.5, 2.5)),
        ((4.5, 0.5), (4.5, 1.5)),
        ((4.5, 1.5), (4.5, 2.5)),
    }
    assert outline(np.zeros((2, 2), bool)) == []
