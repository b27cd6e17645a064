"""Resizing by points: against the formula, pixel by pixel."""

import numpy as np
import pytest
from PIL import Image

from cnntk.runtime.preprocessing.sampling import resize_interpolated, resize_nearest

RNG = np.random.default_rng(0)
SIZES = [((7, 9), (3, 4)), ((5, 4), (11, 13)), ((6, 6), (6, 6)), ((1, 1), (3, 2)), ((40, 3), (2, 9))]


def weight(x: float, cubic: bool) -> float:
    """Keys' kernel with a = -0.75, or the triangle."""
    x, a = abs(x), -0.75
    if not cubic:
        return max(0.0, 1 - x)
    if x <= 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    return a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a if x < 2 else 0.0


def along(line: np.ndarray, size: int, cubic: bool) -> np.ndarray:
    n = len(line)
    resized = np.zeros((size, *line.shape[1:]))
    for d in range(size):
        position = (d + 0.5) * n / size - 0.5
        for k in range(int(np.floor(position)) - 1, int(np.floor(position)) + 3):
            resized[d] += weight(position - k, cubic) * line[min(max(k, 0), n - 1)]
    return resized


@pytest.mark.parametrize(("before", "after"), SIZES)
@pytest.mark.parametrize("cubic", [False, True], ids=["linear", "cubic"])
def test_sampled_is_the_formula(before: tuple[int, int], after: tuple[int, int], cubic: bool) -> None:
    image = RNG.integers(0, 256, (*before, 3), dtype=np.uint8)
    tall = along(image.astype(np.float64), after[0], cubic)
    expected = along(tall.swapaxes(0, 1), after[1], cubic).swapaxes(0, 1)
    actual = resize_interpolated(image, after, cubic=cubic)
    assert actual.dtype == np.float32
    np.testing.assert_allclose(actual, expected, atol=1e-3)


@pytest.mark.parametrize(("before", "after"), SIZES)
def test_nearest_is_the_formula(before: tuple[int, int], after: tuple[int, int]) -> None:
    image = RNG.integers(0, 256, (*before, 1), dtype=np.uint8)
    actual = resize_nearest(image, after)
    for row in range(after[0]):
        for column in range(after[1]):
            y, x = (2 * row + 1) * before[0] // (2 * after[0]), (2 * column + 1) * before[1] // (2 * after[1])
            assert actual[row, column] == image[y, x]


def test_nearest_is_pillows_but_for_ties() -> None:
    """Pillow adds up positions; where one is a whole number, the rounding of that sum decides."""
    differ = 0
    for n in range(1, 300):
        line = RNG.integers(0, 256, (1, n), dtype=np.uint8)
        line[0] = np.arange(n) % 251
        pillow = np.asarray(Image.fromarray(line).resize((28, 1), Image.Resampling.NEAREST))[0]
        odd = (2 * np.arange(28) + 1) * n
        tie = odd % 56 == 0
        resized = resize_nearest(line[:, :, None], (1, 28))[0, :, 0]
        assert np.array_equal(resized[~tie], pillow[~tie])
        differ += not np.array_equal(resized, pillow)
    assert differ < 30
