import numpy as np
import pytest

from cnntk.quantization.weights import (
    PAIR_LIMIT,
    can_saturate,
    full_range,
    no_saturation,
    quantize_blocks,
    seven_bits,
)

RNG = np.random.default_rng(0)
SHAPES = [(4, 27), (8, 64), (3, 1), (5, 2)]


def worst(values: np.ndarray) -> int:
    """The largest 16-bit sum of two neighbors, with the activations that are worst for it."""
    wide = values.astype(np.int64)
    wide = np.pad(wide, ((0, 0), (0, wide.shape[1] % 2))).reshape(len(wide), -1, 2)
    up, down = np.maximum(wide, 0) * 255, np.minimum(wide, 0) * 255
    return int(max(up.sum(-1).max(), -down.sum(-1).min()))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("quantize", [no_saturation, seven_bits])
def test_no_pair_can_saturate(shape: tuple[int, int], quantize: object) -> None:
    weights = RNG.standard_normal(shape)
    result = quantize(weights)
    assert worst(result.values) <= 32767
    assert not can_saturate(result.values)


def test_all_eight_bits_saturate() -> None:
    values = full_range(np.array([[1.0, 1.0, -0.2]])).values
    assert worst(values) == 2 * 127 * 255 > 32767
    assert can_saturate(values)
    assert not can_saturate(np.array([[127, 1, -128, 0]], np.int8))
    assert can_saturate(np.array([[127, 2]], np.int8))
    assert not can_saturate(np.array([[0, 127, 127, 0]], np.int8))


@pytest.mark.parametrize("shape", SHAPES)
def test_eight_bits_are_within_half_a_step(shape: tuple[int, int]) -> None:
    weights = RNG.standard_normal(shape)
    result = full_range(weights)
    error = np.abs(result.values * result.scales[:, None].astype(np.float64) - weights)
    assert (error <= result.scales[:, None] * 0.5001).all()
    assert np.abs(result.values).max() == 127


def test_eight_bits_without_saturation_are_better_than_seven() -> None:
    weights = RNG.standard_normal((16, 576))

    def error(quantize: object) -> float:
        result = quantize(weights)
        return float(((result.values * result.scales[:, None] - weights) ** 2).mean())

    assert error(full_range) < error(no_saturation) < error(seven_bits)


def test_a_channel_of_zeros_has_a_scale() -> None:
    for quantize in (full_range, no_saturation, seven_bits):
        result = quantize(np.zeros((2, 6)))
        assert (result.scales > 0).all()
        assert not result.values.any()


@pytest.mark.parametrize(("bits", "step"), [(4, 1 / 7), (8, 1 / 127)])
@pytest.mark.parametrize("width", [64, 70])
def test_blocks_represent_the_weights(bits: int, step: float, width: int) -> None:
    weights = RNG.uniform(-1, 1, (5, width))
    result = quantize_blocks(weights, bits, 32)
    integers = result.values
    if bits == 4:
        integers = np.stack([integers & 15, integers >> 4], axis=-1).reshape(*integers.shape[:-1], -1)
    scales = result.scales.reshape(5, -1, 1)
    represented = ((integers.astype(np.float64) - (1 << (bits - 1))) * scales).reshape(5, -1)
    assert np.abs(represented[:, :width] - weights).max() <= step
    assert not represented[:, width:].any()
    assert result.values.dtype == np.uint8


def test_the_pair_limit_is_the_largest_possible() -> None:
    assert PAIR_LIMIT * 255 <= 32767 < (PAIR_LIMIT + 1) * 255
