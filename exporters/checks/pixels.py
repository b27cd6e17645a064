"""Pixels: do the graph, the host and torch make the same input of an image?

They are compared in levels, 0 to 255, on images at which ways to resize part, and on the user's photographs.
How far they may be apart, in levels:

| what                     | bound               | reason                                                  |
|--------------------------|---------------------|---------------------------------------------------------|
| whole levels             | 2                   | each rounds after each axis: a tie of the first moves   |
|                          |                     | the second by up to 1.3 (a cubic's weights), and that   |
|                          |                     | may be a tie again; the mean says that they are few     |
| their mean, all images   | 0.05                | 0.001 is usual                                          |
| whole, without antialias | 1                   | rounded once                                            |
| floats                   | 255 k 2^-22         | positions of up to n pixels in float32, twice 2^-23,    |
|                          |                     | and up to 255 levels from one pixel to the next. With   |
|                          |                     | antialias the filter is as wide as n / m pixels where   |
|                          |                     | n become m, so k = min(n, m); without, k = n            |
| nearest, or no resize    | 0                   | whole numbers                                           |

0.005 is added to all: levels are compared after the normalization, in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from numpy.typing import NDArray

from cnntk.exporters.checks.record import Check
from cnntk.exporters.preprocessing import PreprocessingRecord
from cnntk.exporters.session import GraphSession
from cnntk.models.preprocess import Preprocess
from cnntk.runtime.artifact.spec import IMAGE_INPUT, Preprocessing
from cnntk.runtime.errors import ParityError
from cnntk.runtime.preprocessing.preprocess import luma, preprocess

__all__ = ["Photographs", "PixelsPart", "Whole", "check_pixels", "pixels_part", "worst_images"]

Array = NDArray[Any]
Run = Callable[[dict[str, Array]], dict[str, Array]]
Photographs = Mapping[str, NDArray[np.uint8]]

_FLOAT = 0.005
_MEAN = 0.05
_POSITION = 255 * 2.0**-22

_PIXELS = 2_000_000
"""Worst images are at most about that large: ten times as wide and high as the input where that is small."""


@dataclass(frozen=True)
class Whole:
    """The model with and without preprocessing, to compare the answers.

    Attributes:
        pixels: takes ``image``.
        floats: takes the network's own first input instead.
        input: the name of that.
        others: arrays of one row for the other inputs.
        bounds: for each output to compare how far an answer may be, relative to the image's largest.
    """

    pixels: Run
    floats: Run
    input: str
    others: Mapping[str, Array]
    bounds: Mapping[str, float]


@dataclass(frozen=True)
class _Gap:
    """How far two ways are apart on an image, in levels."""

    image: str
    ways: str
    worst: float
    bound: float
    total: float
    count: int


def check_pixels(
    model: ir.Model,
    p: Preprocessing,
    record: PreprocessingRecord,
    *,
    photographs: Photographs | None = None,
    whole: Whole | None = None,
) -> Check:
    """The graph makes of images what the host and torch make of them, and answers what it should.

    Args:
        model: after `add_preprocessing`; left as it is.
        p: what was added.
        record: of that.
        photographs: the user's, by name: uint8 (H, W, C), of any sizes.
        whole: to compare the answers, too.

    Raises:
        ParityError: levels or answers differ by more than rounding, or have another shape.
    """
    part = PixelsPart(model, p, record)
    made, given = worst_images(p), _usable(photographs or {}, p)
    gaps = [gap for name, image in made.items() for gap in _compare(part, name, image, p, (p,))]
    for name, image in given.items():
        gaps += _compare(part, name, image, p, _either_way(p))
    _check_levels(gaps, p)
    told = _told(gaps, len(made), len(given), p)
    if whole is not None:
        told += "; " + _check_answers(whole, part, made, given, p)
    return Check("pixels", told)


def worst_images(p: Preprocessing) -> dict[str, NDArray[np.uint8]]:
    """Images at which ways to resize part: uint8 (H, W, C) by name, always the same for the same ``p``.

    Their backgrounds are clearly light or dark, so that a level's rounding can't invert one.
    """
    rng = np.random.default_rng(0)
    h, w, c = p.height, p.width, p.channels
    very = p.edges if p.resize == "shortest" else (h, w)  # which needs no resize
    shrunk = min(10.0, max(2.0, (_PIXELS / (h * w * c)) ** 0.5))

    def noise(height: float, width: float, channels: int = c, dark: bool = True) -> NDArray[np.uint8]:
        size = (max(1, round(height)), max(1, round(width)), channels)
        levels = rng.integers(0, 256, size, dtype=np.uint8)
        return np.asarray(levels >> 1 | (0 if dark else 128), dtype=np.uint8)

    rows, columns = np.arange(2 * h + 1)[:, None, None], np.arange(2 * w + 3)[None, :, None]
    ramp = np.broadcast_to((rows + columns) * 100.0 / (2 * h + 2 * w), (2 * h + 1, 2 * w + 3, c))
    lines = np.broadcast_to(np.where(columns % 3, 0, 255), ramp.shape)
    return {
        "noise of the very size": noise(*very),
        "light noise of the very size": noise(*very, dark=False),
        "one pixel": noise(1, 1),
        "lines of one pixel": lines.astype(np.uint8),
        "lines across": lines.astype(np.uint8).transpose(1, 0, 2),
        "a fine checkerboard": np.where((rows + columns) % 2, 180, 20 * np.ones(c)).astype(np.uint8),
        "a coarse checkerboard": np.where((rows // 8 + columns // 8) % 2, 200, np.zeros(c)).astype(np.uint8),
        "a gradient": ramp.astype(np.uint8),
        "very wide": noise(h / 4, 2 * w),
        "very tall": noise(2 * h, w / 4, dark=False),
        "half the size": noise(h / 2, w / 2),
        f"{shrunk:.2g} times the size": noise(h * shrunk, w * shrunk),
        "a photograph's shape": noise(1.3 * h, 1.7 * w, dark=False),
        "gray": noise(1.7 * h, 1.3 * w, channels=1),
    }


class PixelsPart:
    """What stands in front of the network, with and without onnxruntime's own rewrites.

    Attributes:
        level: what one level is in the network's input; one a channel, to broadcast.
    """

    def __init__(self, model: ir.Model, p: Preprocessing, record: PreprocessingRecord) -> None:
        self._sessions = [GraphSession(pixels_part(model, record), optimize=yes) for yes in (False, True)]
        self._levels = record.pixel_values
        shape = (1, -1, 1, 1) if p.layout == "NCHW" else (1, 1, 1, -1)
        self._shift, self.level = (np.array(v).reshape(shape) for v in (record.shift, record.factor))

    def __call__(self, images: NDArray[np.uint8], name: str) -> NDArray[np.float64]:
        """The network's input, normalized in float64."""
        plain, optimized = (s.run({IMAGE_INPUT: images})[self._levels] for s in self._sessions)
        if not np.array_equal(plain, optimized):
            raise ParityError(
                f"pixels: on {name} onnxruntime's optimized graph gives other levels than the plain one, by "
                f"{np.abs(plain - optimized).max():.3g}; use --preprocess host. Nothing was written"
            )
        return np.asarray((plain.astype(np.float64) - self._shift) * self.level)


def pixels_part(model: ir.Model, record: PreprocessingRecord) -> ir.Model:
    """The nodes from ``image`` to the levels, as a model of their own."""
    graph = ir.convenience.extract(model.graph, [IMAGE_INPUT], [record.pixel_values])
    graph.opset_imports.update(model.graph.opset_imports)
    return ir.Model(graph, ir_version=model.ir_version)


def _compare(
    part: PixelsPart,
    name: str,
    image: NDArray[np.uint8],
    p: Preprocessing,
    candidates: Sequence[Preprocessing],
) -> list[_Gap]:
    """Graph against host, and torch against host; small ones as a batch of two, the second upside down."""
    small = image.shape[0] * image.shape[1] <= 2 * p.height * p.width
    batch = np.stack([image, image[::-1]] if small else [image])
    graph = part(batch, name)
    with torch.inference_mode():
        by_torch = Preprocess(p)(torch.from_numpy(batch)).numpy()
    gaps = []
    for ways, found in (("graph and host", graph), ("torch and host", by_torch)):
        expected = (preprocess(list(batch), way) for way in candidates)
        pairs = [_gap(name, ways, found, each, p, _bound(image, p)) for each in expected]
        gaps.append(min(pairs, key=lambda gap: np.nan_to_num(gap.worst, nan=np.inf)))
    return gaps


def _gap(name: str, ways: str, found: Array, expected: Array, p: Preprocessing, bound: float) -> _Gap:
    if found.shape != expected.shape:
        raise ParityError(
            f"pixels: on {name}, {ways}: shapes {list(found.shape)} and {list(expected.shape)}. "
            "Nothing was written"
        )
    level = p.scale / np.abs(np.array(p.std)).reshape((-1, 1, 1) if p.layout == "NCHW" else (-1,))
    apart = np.abs(found.astype(np.float64) - expected) / level
    return _Gap(name, ways, float(apart.max()), bound, float(apart.sum()), apart.size)


def _either_way(p: Preprocessing) -> tuple[Preprocessing, ...]:
    """Whether a photograph whose edge is of middle gray is inverted, may hang on the rounding of a level."""
    if p.invert != "light-background":
        return (p,)
    return replace(p, invert="never"), replace(p, invert="always")


def _bound(image: NDArray[np.uint8], p: Preprocessing) -> float:
    size: tuple[int, int] = image.shape[0], image.shape[1]
    resized = p.resized_size(*size)
    if p.interpolation == "nearest" or resized == size:
        return _FLOAT
    if p.levels == "uint8":
        return _FLOAT + (2 if p.antialias else 1)
    pixels = max(map(min, size, resized)) if p.antialias else max(size)
    return _FLOAT + _POSITION * pixels


def _check_levels(gaps: list[_Gap], p: Preprocessing) -> None:
    worst = max(gaps, key=lambda gap: np.nan_to_num(gap.worst / gap.bound, nan=np.inf))
    if not worst.worst <= worst.bound:
        raise ParityError(
            f"pixels: {worst.ways} differ by {worst.worst:.3g} levels on {worst.image}, {worst.bound:.3g} is "
            "allowed; the graph must resize as the spec says (antialias, cubic coefficient, channel order, "
            "crop). Nothing was written"
        )
    mean = _mean(gaps)
    if p.antialias and not mean <= _MEAN:
        raise ParityError(
            f"pixels: graph, host and torch differ by {mean:.3g} levels on average, {_MEAN} are allowed, "
            "though by no more than rounding at the worst. Nothing was written"
        )


def _mean(gaps: list[_Gap]) -> float:
    return float(sum(gap.total for gap in gaps) / sum(gap.count for gap in gaps))


def _told(gaps: list[_Gap], made: int, photographs: int, p: Preprocessing) -> str:
    worst, on = max(gap.worst for gap in gaps), f"{made} images"
    if photographs:
        on += f" and {photographs} photographs"
    within = f"{worst:.2g}" if p.levels == "float32" else f"{worst:.0f}"
    return (
        f"graph, host and torch agree within {within} level{'' if within == '1' else 's'} on {on}, "
        f"{_mean(gaps):.2g} on average"
    )


def _usable(photographs: Photographs, p: Preprocessing) -> dict[str, NDArray[np.uint8]]:
    """A network of gray images takes gray ones alone: color is the host's to take away."""
    if p.channels == 3:
        return dict(photographs)
    return {name: luma(image) if image.shape[2] == 3 else image for name, image in photographs.items()}


def _check_answers(
    whole: Whole,
    part: PixelsPart,
    made: Mapping[str, NDArray[np.uint8]],
    given: Mapping[str, NDArray[np.uint8]],
    p: Preprocessing,
) -> str:
    """The model answers to an image what the network alone answers to what the graph makes of the image."""
    few = [(name, made[name]) for name in ("noise of the very size", "a photograph's shape")]
    worst, same = 0.0, 0
    for name, image in [*few, *given.items()]:
        floats = part(image[None], name).astype(np.float32)
        found = whole.pixels({**whole.others, IMAGE_INPUT: image[None]})
        expected = whole.floats({**whole.others, whole.input: floats})
        worst = max([worst, *(_apart(output, name, found, expected, whole) for output in whole.bounds)])
        if name in given:
            host = whole.floats({**whole.others, whole.input: preprocess([image], p)})
            same += all(_same_best(found[output], host[output]) for output in whole.bounds)
    told = f"answers {worst:.2g} of the largest apart"
    return f"{told}, the same best class as from the host on {same} of {len(given)}" if given else told


def _apart(
    output: str, image: str, found: Mapping[str, Array], expected: Mapping[str, Array], whole: Whole
) -> float:
    a, b = found[output].astype(np.float64), expected[output].astype(np.float64)
    if a.shape != b.shape:
        raise ParityError(
            f"{output}: shape {list(a.shape)} from an image, {list(b.shape)} from floats. Nothing was written"
        )
    scale = float(np.abs(b).max(initial=0.0)) or 1.0
    apart = float(np.abs(a - b).max(initial=0.0)) / scale
    if not apart <= whole.bounds[output]:
        raise ParityError(
            f"{output}: on {image} the answers with preprocessing in the graph differ by {apart:.3g} of the "
            f"largest, {whole.bounds[output]:.3g} is allowed; use --preprocess host. Nothing was written"
        )
    return apart


def _same_best(a: Array, b: Array) -> bool:
    return bool((a.reshape(len(a), -1).argmax(axis=1) == b.reshape(len(b), -1).argmax(axis=1)).all())
