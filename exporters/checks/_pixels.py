"""Pixels: graph, host and torch preprocess an image to the same input of the network.

They are compared in pixel values, 0 to 255, on images for which ways to resize differ most, and on the user's
photographs. `cnntk.runtime.preprocessing.limits` has the limits of the difference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from numpy.typing import NDArray

from cnntk.exporters.checks._candidate import Candidate, Check
from cnntk.exporters.checks._inputs import Run
from cnntk.exporters.checks.reference import Outputs, scale_per_image
from cnntk.exporters.preprocessing import PreprocessingRecord
from cnntk.exporters.session import Arrays, GraphSession, extract_model
from cnntk.models.preprocess import Preprocess
from cnntk.runtime.artifact.spec import IMAGE_INPUT, Preprocessing
from cnntk.runtime.errors import ParityError
from cnntk.runtime.preprocessing.limits import ROUNDING, pixel_limit
from cnntk.runtime.preprocessing.preprocess import fit, luma, preprocess

Array = NDArray[Any]
Photographs = Mapping[str, NDArray[np.uint8]]

_MEAN = 0.05
"""Limit of the mean over all images; 0.001 is usual."""

_PIXELS = 2_000_000
"""Size of the largest image in values: ten times the input's height and width where that is small."""


@dataclass(frozen=True)
class EndToEnd:
    """The file and the network alone, to compare their outputs.

    Attributes:
        images: Runs the file, which takes ``image``.
        floats: Runs the network, which takes the array ``input`` instead.
        input: Name of the network's first input.
        others: Arrays of one row for the other inputs.
        bounds: Limit of the difference by output, relative to the image's largest value.
    """

    images: Run
    floats: Run
    input: str
    others: Mapping[str, Array]
    bounds: Mapping[str, float]


@dataclass(frozen=True)
class _Difference:
    """Difference of two ways to preprocess an image, in pixel values."""

    image: str
    ways: str
    worst: float
    bound: float
    total: float
    count: int


def check_pixels(candidate: Candidate) -> Check | None:
    """Compares preprocessing in the graph, on the host and in torch, and the outputs that follow from it.

    Raises:
        ParityError: Pixel values or outputs differ by more than rounding, or have another shape.
    """
    interface, samples = candidate.interface, candidate.samples
    if interface.record is None or interface.preprocessing is None:
        return None
    photographs = {} if samples is None else dict(zip(samples.names, samples.images, strict=True))
    return compare_preprocessing(
        GraphPreprocessing(interface.model, interface.preprocessing, interface.record),
        photographs,
        None if candidate.large and not photographs else _end_to_end(candidate),
    )


def compare_preprocessing(
    graph: GraphPreprocessing, photographs: Photographs, end_to_end: EndToEnd | None = None
) -> Check:
    """`check_pixels` for a graph.

    Args:
        graph: Preprocessing nodes of the graph.
        photographs: The user's images by name: uint8 (H, W, C) of any sizes.
        end_to_end: File and network, to compare their outputs too.
    """
    p = graph.preprocessing
    generated, photographs = worst_images(p), _usable(photographs, p)
    rows = [row for name, image in generated.items() for row in _compare(graph, name, image, (p,))]
    for name, image in photographs.items():
        rows += _compare(graph, name, image, _either_inversion(p))
    _check_differences(rows, p)
    detail = _detail(rows, len(generated), len(photographs), p)
    if end_to_end is not None:
        detail += "; " + _compare_outputs(end_to_end, graph, generated, photographs)
    return Check("pixels", detail)


def _end_to_end(candidate: Candidate) -> EndToEnd:
    """Two float32 programs may each differ from float64 by the limit of parity, so by twice that from each
    other.
    """
    network = GraphSession(candidate.model, optimize=True)
    first, *others = (v.name or "" for v in candidate.model.graph.inputs)
    row = candidate.inputs.batch(1)
    expected = candidate.expected

    def run(arrays: Arrays) -> Arrays:
        return network.run({k: a.astype(row[k].dtype, copy=False) for k, a in arrays.items()})

    return EndToEnd(
        images=candidate.run,
        floats=run,
        input=first,
        others={name: row[name] for name in others},
        bounds={
            name: 2 * _relative_bound(name, expected) for name in expected.float64 if name in network.names
        },
    )


def _relative_bound(output: str, expected: Outputs) -> float:
    """The largest limit of an ordinary image, relative to its largest value."""
    images = expected.inputs.ordinary
    scales = scale_per_image(expected.float64[output][images])
    nonzero = scales > 0
    shares = expected.bounds[output][images][nonzero] / scales[nonzero]
    return float(np.nanmax(shares, initial=0.0))


def worst_images(p: Preprocessing) -> dict[str, NDArray[np.uint8]]:
    """Images for which ways to resize differ: uint8 (H, W, C) by name, always the same for the same ``p``.

    Their backgrounds are clearly light or dark, so that rounding can't decide about an inversion.
    """
    rng = np.random.default_rng(0)
    h, w, c = p.height, p.width, p.channels
    exact = p.fitted_size  # which needs no resize
    shrunk = min(10.0, max(2.0, (_PIXELS / (h * w * c)) ** 0.5))

    def noise(height: float, width: float, channels: int = c, dark: bool = True) -> NDArray[np.uint8]:
        size = (max(1, round(height)), max(1, round(width)), channels)
        pixels = rng.integers(0, 256, size, dtype=np.uint8)
        return np.asarray(pixels >> 1 | (0 if dark else 128), dtype=np.uint8)

    rows, columns = np.arange(2 * h + 1)[:, None, None], np.arange(2 * w + 3)[None, :, None]
    ramp = np.broadcast_to((rows + columns) * 100.0 / (2 * h + 2 * w), (2 * h + 1, 2 * w + 3, c))
    lines = np.broadcast_to(np.where(columns % 3, 0, 255), ramp.shape)
    return {
        "noise of the exact size": noise(*exact),
        "light noise of the exact size": noise(*exact, dark=False),
        "one pixel": noise(1, 1),
        "a few pixels": noise(3, 5),  # its border, where filters differ, is wider than what a crop removes
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


class GraphPreprocessing:
    """Runs the preprocessing nodes of a graph, with and without onnxruntime's own rewrites.

    Args:
        model: Graph after `add_preprocessing`; it is not changed.
        p: Preprocessing that was added.
        record: Result of `add_preprocessing`.

    Attributes:
        preprocessing: Preprocessing that the nodes do.
        step: Difference of one pixel value in the network's input; one a channel, to broadcast.
    """

    def __init__(self, model: ir.Model, p: Preprocessing, record: PreprocessingRecord) -> None:
        self.preprocessing = p
        self._is_static = isinstance(record.input.shape[1], int)
        nodes = extract_model(model, IMAGE_INPUT, record.pixel_values)
        self._sessions = [GraphSession(nodes, optimize=optimize) for optimize in (False, True)]
        shape = (1, -1, 1, 1) if p.layout == "NCHW" else (1, 1, 1, -1)
        self._shift, self.step = (np.array(v).reshape(shape) for v in (record.shift, record.factor))

    def fitted(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The images at the size that the graph takes, where it takes only one: as `Classifier` does it."""
        if not self._is_static:
            return images
        return np.stack([fit(image, self.preprocessing) for image in images])

    def __call__(self, images: NDArray[np.uint8], name: str) -> NDArray[np.float64]:
        """The network's input, normalized in float64, for images of any size."""
        inputs = {IMAGE_INPUT: self.fitted(images)}
        plain, optimized = (next(iter(s.run(inputs).values())) for s in self._sessions)
        if not np.array_equal(plain, optimized):
            raise ParityError(
                f"pixels: on {name} onnxruntime's optimized graph differs from the plain one by "
                f"{np.abs(plain - optimized).max():.3g} pixel values (limit 0); use --preprocess host. "
                "Nothing was written"
            )
        return np.asarray((plain.astype(np.float64) - self._shift) * self.step)


def _compare(
    graph: GraphPreprocessing, name: str, image: NDArray[np.uint8], variants: Sequence[Preprocessing]
) -> list[_Difference]:
    """Graph against host, and torch against host; small images as a batch of two, the second upside down.

    The host's variant that is nearest counts.
    """
    p = graph.preprocessing
    small = image.shape[0] * image.shape[1] <= 2 * p.height * p.width
    batch = np.stack([image, image[::-1]] if small else [image])
    with torch.inference_mode():
        by_torch = Preprocess(p)(torch.from_numpy(batch)).numpy()
    rows = []
    for ways, actual in (("graph and host", graph(batch, name)), ("torch and host", by_torch)):
        expected = (preprocess(list(batch), variant) for variant in variants)
        exact = p.resize_form == "exact" or ways == "torch and host"
        bound = pixel_limit((image.shape[0], image.shape[1]), p, exact=exact)
        pairs = [_difference(name, ways, actual, each, p, bound) for each in expected]
        rows.append(min(pairs, key=lambda row: np.nan_to_num(row.worst, nan=np.inf)))
    return rows


def _difference(
    name: str, ways: str, actual: Array, expected: Array, p: Preprocessing, bound: float
) -> _Difference:
    if actual.shape != expected.shape:
        raise ParityError(
            f"pixels: on {name}, {ways}: shapes {list(actual.shape)} and {list(expected.shape)}. "
            "Nothing was written"
        )
    step = p.scale / np.abs(np.array(p.std)).reshape((-1, 1, 1) if p.layout == "NCHW" else (-1,))
    difference = np.abs(actual.astype(np.float64) - expected) / step
    return _Difference(name, ways, float(difference.max()), bound, float(difference.sum()), difference.size)


def _either_inversion(p: Preprocessing) -> tuple[Preprocessing, ...]:
    """Rounding may decide whether a photograph with a middle gray edge is inverted: both are right."""
    if p.invert != "light-background":
        return (p,)
    return replace(p, invert="never"), replace(p, invert="always")


def _check_differences(rows: list[_Difference], p: Preprocessing) -> None:
    worst = max(rows, key=lambda row: np.nan_to_num(row.worst / row.bound, nan=np.inf))
    if not worst.worst <= worst.bound:
        raise ParityError(
            f"pixels: {worst.ways} differ by {worst.worst:.3g} pixel values on {worst.image} (limit "
            f"{worst.bound:.3g}); the graph must resize as the spec says (antialias, cubic coefficient, "
            "channel order, crop). Nothing was written"
        )
    mean = _mean(rows)
    if p.antialias and not mean <= _MEAN:
        raise ParityError(
            f"pixels: graph, host and torch differ by {mean:.3g} pixel values on average (limit {_MEAN}), "
            "though by no more than rounding at the worst. Nothing was written"
        )


def _mean(rows: list[_Difference]) -> float:
    return float(sum(row.total for row in rows) / sum(row.count for row in rows))


def _detail(rows: list[_Difference], generated: int, photographs: int, p: Preprocessing) -> str:
    worst, images = max(row.worst for row in rows), f"{generated} images"
    limit = max(row.bound for row in rows)
    if photographs:
        images += f" and {photographs} photographs"
    if limit == ROUNDING:
        return f"graph, host and torch have the same pixel values to the bit on {images} (limit 0 of 255)"
    largest = f"{worst:.2g}" if p.levels == "float32" else f"{worst:.0f} of 255 (limit {limit:.0f})"
    return f"max difference of graph, host and torch {largest} on {images}, mean {_mean(rows):.2g}"


def _usable(photographs: Photographs, p: Preprocessing) -> dict[str, NDArray[np.uint8]]:
    """Photographs with the network's channels: the host converts color for networks of gray images."""
    if p.channels == 3:
        return dict(photographs)
    return {name: luma(image) if image.shape[2] == 3 else image for name, image in photographs.items()}


def _compare_outputs(
    end_to_end: EndToEnd, graph: GraphPreprocessing, generated: Photographs, photographs: Photographs
) -> str:
    """The file's outputs for an image are those of the network for the preprocessed image."""
    first = ("noise of the exact size", "a photograph's shape")
    images = {**{name: generated[name] for name in first}, **photographs}
    largest, same = 0.0, 0
    for name, image in images.items():
        floats = graph(image[None], name).astype(np.float32)
        actual = end_to_end.images({**end_to_end.others, IMAGE_INPUT: graph.fitted(image[None])})
        expected = end_to_end.floats({**end_to_end.others, end_to_end.input: floats})
        for output, bound in end_to_end.bounds.items():
            largest = max(largest, _relative_difference(output, name, actual, expected, bound))
        if name in photographs:
            array = preprocess([image], graph.preprocessing)
            host = end_to_end.floats({**end_to_end.others, end_to_end.input: array})
            same += all(_same_best(actual[output], host[output]) for output in end_to_end.bounds)
    detail = f"max relative difference of outputs {largest:.2g}"
    if not photographs:
        return detail
    return f"{detail}, the same best class as with preprocessing on the host on {same} of {len(photographs)}"


def _relative_difference(
    output: str, image: str, actual: Mapping[str, Array], expected: Mapping[str, Array], bound: float
) -> float:
    a, b = actual[output].astype(np.float64), expected[output].astype(np.float64)
    if a.shape != b.shape:
        raise ParityError(
            f"{output}: shape {list(a.shape)} from an image, {list(b.shape)} from floats. Nothing was written"
        )
    scale = float(np.abs(b).max(initial=0.0)) or 1.0
    difference = float(np.abs(a - b).max(initial=0.0)) / scale
    if not difference <= bound:
        raise ParityError(
            f"{output}: on {image} preprocessing in the graph changes the output by {difference:.3g} of its "
            f"largest value (limit {bound:.3g}); use --preprocess host. Nothing was written"
        )
    return difference


def _same_best(a: Array, b: Array) -> bool:
    return bool((a.reshape(len(a), -1).argmax(axis=1) == b.reshape(len(b), -1).argmax(axis=1)).all())
