"""Outputs with the batch as first axis, wherever a model has it.

A text recognizer returns (T, N, C), and a detector its anchors (A, 4) without any batch. Checks compare image
by image, so the batch is brought to the front first; an output without one is the same for each image.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from cnntk.exporters.session import Arrays
from cnntk.exporters.sources.io_names import BATCH

BatchAxes = Mapping[str, int | None]
"""Axis of the batch by output; None for an output without one. Outputs that are missing have it first."""


def batch_axes(model: ir.Model) -> dict[str, int | None]:
    """The axis of the batch of each output, by the symbol ``N`` in its shape.

    A dimension like ``2*N`` counts: its rows belong to the images in order. Where the shape is not known, or
    no input has a dynamic batch, it is the first axis.
    """
    dynamic = any(_axis(value) is not None for value in model.graph.inputs)
    return {str(v.name): _axis(v) if dynamic and v.shape is not None else 0 for v in model.graph.outputs}


def batch_first(outputs: Arrays, axes: BatchAxes, count: int) -> Arrays:
    """``outputs`` as (count, ...), count being the number of images."""
    return {name: _first(array, axes.get(name, 0), count) for name, array in outputs.items()}


def _axis(value: ir.Value) -> int | None:
    """The first axis whose size depends on the batch."""
    sizes = [d.value if isinstance(d, ir.SymbolicDim) else None for d in value.shape or ()]
    return next((i for i, size in enumerate(sizes) if size and re.search(rf"\b{BATCH}\b", size)), None)


def _first(array: np.ndarray, axis: int | None, count: int) -> np.ndarray:
    if axis is None:
        return np.broadcast_to(array, (count, *array.shape))
    images = np.moveaxis(array, axis, 0) if axis else array
    rows = images.shape[0] if images.ndim else 0
    if rows != count and rows and rows % count == 0:
        return images.reshape(count, rows // count, *images.shape[1:])
    return images
