"""Weights as integers: 8 bits per channel, or 4 and 8 bits in blocks.

CPUs without VNNI multiply bytes with ``vpmaddubsw`` (SSSE3, AVX2): a1 w1 + a2 w2 for two neighbors along
the sum, in 16 bits that saturate. With activations from 0 to 255 no pair saturates if its positive weights
add up to at most 128, and its negative ones to at least -128: 255 * 128 = 32640 < 32767. `no_saturation`
creates weights with that property, and uses all 8 bits wherever a neighbor is small.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "BIAS_LIMIT",
    "PAIR_LIMIT",
    "BlockWeights",
    "ChannelWeights",
    "can_saturate",
    "coarser",
    "dequantize_blocks",
    "full_range",
    "no_saturation",
    "quantize_blocks",
    "seven_bits",
]

Array = NDArray[Any]

PAIR_LIMIT = 128
"""Maximum sum of the weights of a pair, of either sign: 128 * 255 fits into 16 bits."""

BIAS_LIMIT = 2**30
"""Largest bias in steps: half of 32 bits, the other half is for the sum of products."""

_TINY = 1e-12
_COARSER = np.linspace(1, 2, 11)
_BLOCK_FACTORS = (1.0, 0.92, 0.85, 0.78)


@dataclass(frozen=True)
class ChannelWeights:
    """Weights in int8 with a scale for each output channel: ``w = scale * q``.

    Attributes:
        values: Integers from -127 to 127, int8 (M, K).
        scales: Scales, float32 (M,).
    """

    values: Array
    scales: Array


@dataclass(frozen=True)
class BlockWeights:
    """Weights in blocks along the sum, each with a scale: ``w = scale * (q - middle)``.

    Attributes:
        values: Integers, uint8 (N, K / block, block * bits / 8); of 4 bits, the lower half of a byte is the
            earlier weight.
        scales: Scales, float32 (N * K / block,).
        bits: Number of bits of a weight, 4 or 8.
        block: Number of weights in a block.
    """

    values: Array
    scales: Array
    bits: int
    block: int


def full_range(weights: Array) -> ChannelWeights:
    """Quantizes ``weights`` (M, K) to 8 bits per channel: ``scale = max |w| / 127``."""
    return _symmetric(weights, 127)


def seven_bits(weights: Array) -> ChannelWeights:
    """Quantizes ``weights`` (M, K) to -64 to 64 per channel: no two weights can exceed `PAIR_LIMIT`."""
    return _symmetric(weights, PAIR_LIMIT // 2)


def _symmetric(weights: Array, largest: int) -> ChannelWeights:
    scales = np.maximum(np.abs(weights).max(axis=1), _TINY) / largest
    values = np.rint(weights / scales[:, None]).clip(-largest, largest)
    return ChannelWeights(values.astype(np.int8), scales.astype(np.float32))


def coarser(integers: ChannelWeights, weights: Array, least_scales: Array) -> ChannelWeights:
    """Channels with at least these scales, (M,): a bias is counted in steps of the weights' scales.

    A channel with next to no weight and a usual bias would need more steps than 32 bits hold. Its scale is at
    least doubled, so that no pair exceeds `PAIR_LIMIT`.
    """
    small = integers.scales < least_scales
    if not small.any():
        return integers
    values, scales = integers.values.copy(), integers.scales.copy()
    scales[small] = np.maximum(least_scales[small], 2 * scales[small])
    values[small] = np.rint(weights[small] / scales[small, None].astype(np.float64)).astype(np.int8)
    return ChannelWeights(values, scales)


def no_saturation(weights: Array) -> ChannelWeights:
    """Quantizes to 8 bits per channel so that no pair of neighbors along the sum can saturate.

    For each channel some coarser scales are tried; both weights of a pair that is still too large are reduced
    by the same amount. The scale with the least squared error is selected.

    Args:
        weights: Weights (M, K), neighbors along K in the order in which the kernel sums.
    """
    weights = weights.astype(np.float32)  # half the memory to go through, and far finer than the integers
    finest = np.maximum(np.abs(weights).max(axis=1), _TINY) / 127
    least = np.full(len(weights), np.inf)
    best_scales, best = finest.copy(), np.zeros_like(weights)
    for factor in _COARSER:
        scales = finest * factor
        values = _limit_pairs(np.rint(weights / scales[:, None]).clip(-127, 127))
        errors = ((values * scales[:, None] - weights) ** 2).sum(axis=1)
        better = errors < least
        least[better], best_scales[better], best[better] = errors[better], scales[better], values[better]
    return ChannelWeights(best.astype(np.int8), best_scales.astype(np.float32))


def can_saturate(values: Array) -> bool:
    """Whether a 16-bit sum of two neighbors of ``values`` int8 (M, K) saturates for some activations."""
    pairs = _pairs(values.astype(np.int32))
    up, down = np.maximum(pairs, 0).sum(axis=-1), -np.minimum(pairs, 0).sum(axis=-1)
    return bool(max(up.max(initial=0), down.max(initial=0)) > PAIR_LIMIT)


def quantize_blocks(weights: Array, bits: int, block: int) -> BlockWeights:
    """Quantizes to 4 or 8 bits with a scale for each block, symmetric around the middle (8 or 128).

    The weight with the largest magnitude becomes the smallest integer, one step further out than the largest.
    Of a few smaller scales the one with the least squared error is selected.

    Args:
        weights: Weights (N, K).
        bits: Number of bits, 4 or 8.
        block: Number of weights in a block: 16, 32, 64 or 128. K is padded with zeros.
    """
    rows, width = weights.shape
    count = -(-width // block)
    padded = np.zeros((rows, count * block), np.float32)
    padded[:, :width] = weights
    blocks = padded.reshape(rows, count, block)
    middle = 1 << (bits - 1)
    at = np.abs(blocks).argmax(axis=-1)[..., None]
    extreme = np.take_along_axis(blocks, at, axis=-1)
    values, scales = _best_blocks(blocks, extreme, middle)
    integers = (values + middle).astype(np.uint8)
    packed = integers if bits == 8 else integers[..., 0::2] | integers[..., 1::2] << 4
    return BlockWeights(packed, scales.reshape(-1).astype(np.float32), bits, block)


def dequantize_blocks(blocks: BlockWeights) -> Array:
    """The weights that blocks represent, float64 (N, K padded to whole blocks)."""
    packed = blocks.values
    if blocks.bits == 4:
        integers = np.stack([packed & 15, packed >> 4], axis=-1).reshape(*packed.shape[:2], -1)
    else:
        integers = packed
    scales = blocks.scales.reshape(*packed.shape[:2], 1)
    weights = (integers.astype(np.float64) - (1 << (blocks.bits - 1))) * scales
    return weights.reshape(len(packed), -1)


def _best_blocks(blocks: Array, extreme: Array, middle: int) -> tuple[Array, Array]:
    """Integers around 0 and scales with the least squared error; 8 bits need no search."""
    best_values, best_scales = np.zeros_like(blocks), np.ones_like(extreme)
    least = np.full(extreme.shape, np.inf)
    for factor in _BLOCK_FACTORS if middle == 8 else (1.0,):
        scales = extreme * factor / -middle
        scales[scales == 0] = 1
        values = np.rint(blocks / scales).clip(-middle, middle - 1)
        errors = ((values * scales - blocks) ** 2).sum(axis=-1, keepdims=True)
        better = errors < least
        best_values = np.where(better, values, best_values)
        best_scales = np.where(better, scales, best_scales)
        least = np.minimum(errors, least)
    return best_values, best_scales


def _pairs(values: Array) -> Array:
    """Neighbors (M, K / 2, 2); a last one alone is paired with a zero."""
    rows, width = values.shape
    even = np.zeros((rows, width + width % 2), values.dtype)
    even[:, :width] = values
    return even.reshape(rows, -1, 2)


def _limit_pairs(values: Array) -> Array:
    """Reduces pairs that are too large to the limit, both weights by the same amount as far as they go."""
    pairs = _pairs(values)
    for sign in (1, -1):
        part = np.maximum(sign * pairs, 0)
        over = np.maximum(part.sum(axis=-1) - PAIR_LIMIT, 0)
        first = np.minimum(part[..., 0], np.ceil(over / 2))
        second = np.minimum(part[..., 1], over - first)
        first = over - second
        pairs[..., 0] -= sign * first
        pairs[..., 1] -= sign * second
    return pairs.reshape(len(values), -1)[:, : values.shape[1]]
