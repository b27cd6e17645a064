import numpy as np
import pytest

from cnntk.quantization.weights import PAIR, full, in_blocks, pair_safe, saturates, seven_bits

RNG = np.random.default_rng(0)
SHAPES = [(4, 27), (8, 64), (3, 1), (5, 2)]


def worst(values: np.ndarray) -> int:
    """The largest 16-bit sum of two neighbors, tried with the activations that are worst for it."""
    wide = values.astype(np.int64)
    wide = np.pad(wide, ((0, 0), (0, wide.shape[1] % 2))).reshape(len(wide), -1, 2)
    up, down = np.maximum(wide, 0) * 255, np.minimum(wide, 0) * 255
    return int(max(up.sum(-1).max(), -down.sum(-1).min()))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("make", [pair_safe, seven_bits])
def test_no_pair_can_saturate(shape: tuple[int, int], make: object) -> None:
    weights = RNG.standard_normal(shape)
    found = make(weights)
    assert worst(found.values) <= 32767
    assert not saturates(found.values)


def test_all_eight_bits_do_saturate() -> None:
    values = full(np.array([[1.0, 1.0, -0.2]])).values
    assert worst(values) == 2 * 127 * 255 > 32767
    assert saturates(values)
    assert not saturates(np.array([[127, 1, -128, 0]], np.int8))
    assert saturates(np.array([[127, 2]], np.int8))
    assert not saturates(np.array([[0, 127, 127, 0]], np.int8))


@pytest.mark.parametrize("shape", SHAPES)
def test_eight_bits_are_within_half_a_step(shape: tuple[int, int]) -> None:
    weights = RNG.standard_normal(shape)
    found = full(weights)
    error = np.abs(found.values * found.scales[:, None].astype(np.float64) - weights)
    assert (error <= found.scales[:, None] * 0.5001).all()
    assert np.abs(found.values).max() == 127


def test_pairs_are_closer_than_seven_bits() -> None:
    weights = RNG.standard_normal((16, 576))

    def error(make: object) -> float:
        found = make(weights)
        return float(((found.values * found.scales[:, None] - weights) ** 2).mean())

    assert error(full) < error(pair_safe) < error(seven_bits)


def test_a_channel_of_zeros_has_a_scale() -> None:
    for make in (full, pair_safe, seven_bits):
        found = make(np.zeros((2, 6)))
        assert (found.scales > 0).all()
        assert not found.values.any()


@pytest.mark.parametrize(("bits", "step"), [(4, 1 / 7), (8, 1 / 127)])
@pytest.mark.parametrize("width", [64, 70])
def test_blocks_say_what_they_hold(bits: int, step: float, width: int) -> None:
    weights = RNG.uniform(-1, 1, (5, width))
    found = in_blocks(weights, bits, 32)
    integers = found.values
    if bits == 4:
        integers = np.stack([integers & 15, integers >> 4], axis=-1).reshape(*integers.shape[:-1], -1)
    scales = found.scales.reshape(5, -1, 1)
    held = ((integers.astype(np.float64) - (1 << (bits - 1))) * scales).reshape(5, -1)
    assert np.abs(held[:, :width] - weights).max() <= step
    assert not held[:, width:].any()
    assert found.values.dtype == np.uint8


def test_a_pair_holds_what_it_may() -> None:
    assert PAIR * 255 <= 32767 < (PAIR + 1) * 255
