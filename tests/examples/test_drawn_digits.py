import numpy as np
import pytest
from drawn_digits import drawn_digit

from cnntk.runtime import Classifier
from cnntk.shipped import shipped_model


@pytest.mark.parametrize("size", [28, 112, 280])
def test_the_shipped_model_reads_every_digit(size: int) -> None:
    classify = Classifier(shipped_model(), threads=1)
    for shift in ((0, 0), (2, 1), (-2, -1)):
        results = classify.many([drawn_digit(digit, size, shift) for digit in range(10)])
        assert [p.best.label for p in results] == list("0123456789")


def test_is_black_on_white() -> None:
    seven = drawn_digit(7, 64)
    assert (seven.shape, seven.dtype) == ((64, 64), np.uint8)
    assert seven[0, 0] == 255
    assert seven.min() == 0
    assert not np.array_equal(seven, drawn_digit(1, 64))
