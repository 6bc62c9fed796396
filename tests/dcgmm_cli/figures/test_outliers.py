import numpy as np
import torch

from dcgmm_cli.figures.outliers import HOTTEST, heat, outline, overlay


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


def test_heat_rises_on_a_scale_that_all_pictures_share_and_lets_the_image_through() -> None:
    outlying = torch.tensor([[0.0, 2.0, 4.0, HOTTEST, 90.0]])
    colours = heat(outlying)
    assert colours.shape == (1, 5, 3)
    assert (colours.sum(-1).diff()[:, :3] > 0).all()
    assert torch.equal(colours[:, 3], colours[:, 4])
    image = torch.rand(1, 5, 2, generator=torch.Generator().manual_seed(0))
    over = overlay(image, outlying)
    torch.testing.assert_close(over[:, 0], image[:, 0].double().mean(-1, keepdim=True).expand(-1, 3))
    assert over.min() >= 0
    assert over.max() <= 1
    assert not torch.equal(over[:, 3], overlay(1 - image, outlying)[:, 3])
