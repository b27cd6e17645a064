"""Weights as integers: 8 bits per channel, or 4 and 8 bits in blocks.

CPUs without VNNI multiply bytes with ``vpmaddubsw`` (SSSE3, AVX2): a1 w1 + a2 w2 for two neighbors along
the sum, in 16 bits that saturate. With activations from 0 to 255, no pair does where its positive weights
add up to at most 128, and its negative ones to at least -128: 255 * 128 = 32640 < 32767. `pair_safe` makes
weights of which that is true, and uses all 8 bits wherever a neighbor is small.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "PAIR",
    "Blocks",
    "Channelwise",
    "full",
    "in_blocks",
    "in_floats",
    "pair_safe",
    "saturates",
    "seven_bits",
]

Array = NDArray[Any]

PAIR = 128
"""What the weights of a pair may add up to, of either sign: 128 * 255 fits into 16 bits."""

_TINY = 1e-12
_SHRINKS = np.linspace(1, 2, 11)
_BLOCK_SHRINKS = (1.0, 0.92, 0.85, 0.78)


@dataclass(frozen=True)
class Channelwise:
    """int8 weights with a scale for each output channel: ``w = scale * q``.

    Attributes:
        values: int8 (M, K), from -127 to 127.
        scales: float32 (M,).
    """

    values: Array
    scales: Array


@dataclass(frozen=True)
class Blocks:
    """Weights in blocks along the sum, each with a scale: ``w = scale * (q - middle)``.

    Attributes:
        values: uint8 (N, K / block, block * bits / 8); of 4 bits, the lower half is the earlier weight.
        scales: float32 (N * K / block,).
        bits: 4 or 8.
        block: weights in a block.
    """

    values: Array
    scales: Array
    bits: int
    block: int


def full(weights: Array) -> Channelwise:
    """8 bits per channel, symmetric: ``scale = max |w| / 127``.

    Args:
        weights: (M, K).
    """
    scales = np.maximum(np.abs(weights).max(axis=1), _TINY) / 127
    values = np.rint(weights / scales[:, None]).clip(-127, 127)
    return Channelwise(values.astype(np.int8), scales.astype(np.float32))


def seven_bits(weights: Array) -> Channelwise:
    """From -64 to 64 per channel: no two weights whatever add up to more than a pair may.

    Args:
        weights: (M, K).
    """
    scales = np.maximum(np.abs(weights).max(axis=1), _TINY) / (PAIR // 2)
    values = np.rint(weights / scales[:, None]).clip(-PAIR // 2, PAIR // 2)
    return Channelwise(values.astype(np.int8), scales.astype(np.float32))


def pair_safe(weights: Array) -> Channelwise:
    """8 bits per channel, such that no pair of neighbors along the sum can saturate.

    For each channel some coarser scales are tried; a pair that is still too large is brought down to the
    limit, both weights by the same amount. The scale with the least squared error is taken.

    Args:
        weights: (M, K), neighbors along K in the order in which the kernel sums.
    """
    weights = weights.astype(np.float32)  # half the memory to go through, and far finer than the integers
    top = np.maximum(np.abs(weights).max(axis=1), _TINY) / 127
    least = np.full(len(weights), np.inf)
    best_scales, best = top.copy(), np.zeros_like(weights)
    for factor in _SHRINKS:
        scales = top * factor
        values = _limited(np.rint(weights / scales[:, None]).clip(-127, 127))
        errors = ((values * scales[:, None] - weights) ** 2).sum(axis=1)
        better = errors < least
        least[better], best_scales[better], best[better] = errors[better], scales[better], values[better]
    return Channelwise(best.astype(np.int8), best_scales.astype(np.float32))


def saturates(values: Array) -> bool:
    """Whether a 16-bit sum of two neighbors can saturate, for activations from 0 to 255.

    Args:
        values: int8 (M, K).
    """
    pairs = _pairs(values.astype(np.int32))
    up, down = np.maximum(pairs, 0).sum(axis=-1), -np.minimum(pairs, 0).sum(axis=-1)
    return bool(max(up.max(initial=0), down.max(initial=0)) > PAIR)


def in_blocks(weights: Array, bits: int, block: int) -> Blocks:
    """4 or 8 bits with a scale for each block, symmetric around the middle (8, or 128).

    The weight of the largest size becomes the least integer, one step further out than the greatest.
    Of a few smaller scales the one with the least squared error is taken.

    Args:
        weights: (N, K).
        bits: 4 or 8.
        block: weights in a block: 16, 32, 64 or 128. K is filled up with zeros.
    """
    rows, width = weights.shape
    count = -(-width // block)
    padded = np.zeros((rows, count * block), np.float32)
    padded[:, :width] = weights
    blocks = padded.reshape(rows, count, block)
    middle = 1 << (bits - 1)
    at = np.abs(blocks).argmax(axis=-1)[..., None]
    extreme = np.take_along_axis(blocks, at, axis=-1)
    values, scales = _best_of(blocks, extreme, middle)
    integers = (values + middle).astype(np.uint8)
    packed = integers if bits == 8 else integers[..., 0::2] | integers[..., 1::2] << 4
    return Blocks(packed, scales.reshape(-1).astype(np.float32), bits, block)


def in_floats(blocks: Blocks) -> Array:
    """What blocks stand for, float64 (N, K filled up to whole blocks)."""
    packed = blocks.values
    if blocks.bits == 4:
        integers = np.stack([packed & 15, packed >> 4], axis=-1).reshape(*packed.shape[:2], -1)
    else:
        integers = packed
    scales = blocks.scales.reshape(*packed.shape[:2], 1)
    found = (integers.astype(np.float64) - (1 << (blocks.bits - 1))) * scales
    return found.reshape(len(packed), -1)


def _best_of(blocks: Array, extreme: Array, middle: int) -> tuple[Array, Array]:
    best_values = best_scales = least = None
    for shrink in _BLOCK_SHRINKS if middle == 8 else (1.0,):
        scales = extreme * shrink / -middle
        scales[scales == 0] = 1
        values = np.rint(blocks / scales).clip(-middle, middle - 1)
        errors = ((values * scales - blocks) ** 2).sum(axis=-1, keepdims=True)
        if least is None or best_values is None or best_scales is None:
            best_values, best_scales, least = values, scales, errors
            continue
        better = errors < least
        best_values = np.where(better, values, best_values)
        best_scales = np.where(better, scales, best_scales)
        least = np.minimum(errors, least)
    if best_values is None or best_scales is None:
        raise ValueError("there is no scale to try")
    return best_values, best_scales


def _pairs(values: Array) -> Array:
    """(M, K / 2, 2), a last one alone with a zero."""
    rows, width = values.shape
    even = np.zeros((rows, width + width % 2), values.dtype)
    even[:, :width] = values
    return even.reshape(rows, -1, 2)


def _limited(values: Array) -> Array:
    """Pairs that are too large brought down to the limit, both by the same amount as far as they go."""
    pairs = _pairs(values)
    for sign in (1, -1):
        part = np.maximum(sign * pairs, 0)
        over = np.maximum(part.sum(axis=-1) - PAIR, 0)
        first = np.minimum(part[..., 0], np.ceil(over / 2))
        second = np.minimum(part[..., 1], over - first)
        first = over - second
        pairs[..., 0] -= sign * first
        pairs[..., 1] -= sign * second
    return pairs.reshape(len(values), -1)[:, : values.shape[1]]
