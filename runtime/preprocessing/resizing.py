"""The Resize of an artifact's graph by itself: images of many sizes become one batch, to the same bit.

A graph takes a batch of images of one size. Images of several can still go together, if each is first made as
small as the graph would make it: there the graph's own Resize has nothing left to do, so answers are those of
the whole image. It takes the very kernel that the graph uses, so a model of one node is built here.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from cnntk.runtime.artifact.protobuf import encode_message
from cnntk.runtime.artifact.spec import Interpolation, Preprocessing
from cnntk.runtime.images.reading import Pixels
from cnntk.runtime.preprocessing.sampling import resize_nearest
from cnntk.runtime.session.devices import import_onnxruntime

__all__ = ["ONNX_MODES", "resize_attributes", "shrink", "shrinkable"]

_IR_VERSION, _OPSET = 10, 18
ONNX_MODES = {"bilinear": "linear", "bicubic": "cubic"}
"""ONNX's names of the filters."""

_UINT8, _INT64 = 2, 7
_ATTRIBUTE_FLOAT, _ATTRIBUTE_INT, _ATTRIBUTE_STRING, _ATTRIBUTE_INTS = 1, 2, 3, 7


def resize_attributes(interpolation: Interpolation) -> dict[str, Any]:
    """Of the Resize, on (N, H, W, C), that is Pillow's within a level (edge pixels and cubic like there)."""
    return {
        "mode": ONNX_MODES[interpolation],
        "axes": [1, 2],
        "coordinate_transformation_mode": "half_pixel",
        "antialias": 1,
        "exclude_outside": 1,
        "cubic_coeff_a": -0.5,
    }


def shrinkable(p: Preprocessing) -> bool:
    """Whether `shrink` gives images of one size, of which the graph makes what it makes of the whole ones."""
    filtered = p.interpolation in ONNX_MODES and p.antialias
    return p.levels == "uint8" and p.resize != "longest" and (filtered or p.interpolation == "nearest")


def shrink(image: Pixels, p: Preprocessing) -> Pixels:
    """Resized as in the graph, and cut to what the graph's crop looks at.

    Args:
        image: uint8 (H, W, C).
        p: of the artifact; `shrinkable`.

    Returns:
        uint8, ``p.fitted_size``.
    """
    size = p.resized_size(*image.shape[:2])
    resized = image
    if image.shape[:2] != size:
        resized = (
            resize_nearest(image, size)
            if p.interpolation == "nearest"
            else _run(image, size, p.interpolation)
        )
    if p.resize == "stretch":
        return resized
    (e, f), (height, width) = p.edges, size
    top = p.crop_offset(height - p.height) - p.crop_offset(e - p.height)
    left = p.crop_offset(width - p.width) - p.crop_offset(f - p.width)
    return resized[top : top + e, left : left + f]


def _run(image: Pixels, size: tuple[int, int], interpolation: Interpolation) -> Pixels:
    given = {"image": np.ascontiguousarray(image)[None], "size": np.array(size, dtype=np.int64)}
    (resized,) = _session(interpolation).run(None, given)
    return np.asarray(resized[0])


@functools.cache
def _session(interpolation: Interpolation) -> Any:
    """One thread: it is called from many."""
    ort = import_onnxruntime()
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    return ort.InferenceSession(_model(interpolation), options, providers=["CPUExecutionProvider"])


def _model(interpolation: Interpolation) -> bytes:
    """A model of one Resize, by the field numbers of onnx.proto."""
    attributes = [_attribute(k, v) for k, v in resize_attributes(interpolation).items()]
    inputs = ("image", "", "", "size")
    node = encode_message(
        *((1, n) for n in inputs), (2, "resized"), (4, "Resize"), *((5, a) for a in attributes)
    )
    any_image = ("N", "H", "W", "C")
    graph = encode_message(
        (1, node),
        (2, "resize"),
        (11, _value("image", _UINT8, any_image)),
        (11, _value("size", _INT64, (2,))),
        (12, _value("resized", _UINT8, any_image)),
    )
    return encode_message((1, _IR_VERSION), (7, graph), (8, encode_message((1, ""), (2, _OPSET))))


def _attribute(name: str, value: Any) -> bytes:
    if isinstance(value, str):
        return encode_message((1, name), (4, value), (20, _ATTRIBUTE_STRING))
    if isinstance(value, float):
        return encode_message((1, name), (2, value), (20, _ATTRIBUTE_FLOAT))
    if isinstance(value, int):
        return encode_message((1, name), (3, value), (20, _ATTRIBUTE_INT))
    return encode_message((1, name), *((8, v) for v in value), (20, _ATTRIBUTE_INTS))


def _value(name: str, dtype: int, shape: tuple[int | str, ...]) -> bytes:
    dims = [encode_message((2, d) if isinstance(d, str) else (1, d)) for d in shape]
    tensor = encode_message((1, dtype), (2, encode_message(*((1, d) for d in dims))))
    return encode_message((1, name), (2, encode_message((1, tensor))))
