import torch

from dcgmm.outliers import Detector, worst_positions
from dcgmm.outliers.localisation import centre_pixel
from tests.dcgmm.small import small_images, small_model


def test_the_worst_position_is_the_least_value_where_positions_localise() -> None:
    model = small_model()
    maps = {"gmm1": torch.zeros(2, 4, 6), "gmm2": torch.full((2, 1, 1), -9.0)}
    maps["gmm1"][0, 2, 5] = -3
    maps["gmm1"][1, 0, 1] = -4
    first, second = worst_positions(model, maps)
    assert (first.layer, first.standardised) == ("gmm1", -3)
    assert (first.row, first.column) == centre_pixel(model, "gmm1", 2, 5)
    assert (second.row, second.column) == centre_pixel(model, "gmm1", 0, 1)
    # A single position is asked only if there is no other.
    assert worst_positions(model, {"gmm2": maps["gmm2"]})[0].standardised == -9


def test_it_is_what_the_score_of_that_name_says() -> None:
    detector = Detector.fit(small_model(), small_images(30))
    report = detector.report(small_images(5, seed=1))
    worst = worst_positions(detector.model, report.maps)
    assert [position.standardised for position in worst] == report.scores["worst"].tolist()
