"""The Resize of an artifact's graph on its own, to batch images of different sizes bit for bit.

A graph takes a batch of images of one size. Images of different sizes can share a batch if each is first
resized as the graph would do it, so that the graph's Resize has no effect and outputs are those of the
original image. That requires the same kernel as in the graph, so a model of one node is built here.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from cnntk.runtime.artifact.protobuf import encode_message
from cnntk.runtime.artifact.spec import Interpolation, Preprocessing
from cnntk.runtime.images.reading import Pixels
from cnntk.runtime.preprocessing.sampling import resize_filtered, resize_interpolated, resize_nearest
from cnntk.runtime.session.devices import import_onnxruntime

__all__ = ["ONNX_MODES", "resize_attributes", "resize_by_graph", "shrink", "shrinkable"]

_IR_VERSION, _OPSET = 10, 18
ONNX_MODES = {"bilinear": "linear", "bicubic": "cubic"}
"""ONNX names of the filters."""

_UINT8, _INT64 = 2, 7
_ATTRIBUTE_FLOAT, _ATTRIBUTE_INT, _ATTRIBUTE_STRING, _ATTRIBUTE_INTS = 1, 2, 3, 7


def resize_attributes(interpolation: Interpolation) -> dict[str, Any]:
    """Returns attributes of the Resize on (N, H, W, C) that equals Pillow's within one level."""
    return {
        "mode": ONNX_MODES[interpolation],
        "axes": [1, 2],
        "coordinate_transformation_mode": "half_pixel",
        "antialias": 1,
        "exclude_outside": 1,
        "cubic_coeff_a": -0.5,
    }


def shrinkable(p: Preprocessing) -> bool:
    """Whether `shrink` returns images of one size without an effect on the graph's outputs."""
    if p.resize_form == "fast":  # whose sums in float32 only the graph itself repeats
        return False
    filtered = (p.interpolation in ONNX_MODES or p.resize_form == "exact") and p.antialias
    return p.levels == "uint8" and p.resize != "longest" and (filtered or p.interpolation == "nearest")


def shrink(image: Pixels, p: Preprocessing) -> Pixels:
    """Resizes an image like the graph of a `shrinkable` preprocessing, and crops it to ``p.fitted_size``."""
    size = p.resized_size(*image.shape[:2])
    resized = resize_by_graph(image, size, p)
    if p.resize == "stretch":
        return resized
    (e, f), (height, width) = p.edges, size
    top = p.crop_offset(height - p.height) - p.crop_offset(e - p.height)
    left = p.crop_offset(width - p.width) - p.crop_offset(f - p.width)
    return resized[top : top + e, left : left + f]


def resize_by_graph(image: Pixels, size: tuple[int, int], p: Preprocessing) -> Pixels:
    """Resizes an image to height and width as the graph of ``p`` does, whose levels are uint8."""
    if image.shape[:2] == size:
        return image
    if p.interpolation == "nearest":
        return resize_nearest(image, size)
    if not p.antialias:
        levels = resize_interpolated(image, size, cubic=p.interpolation == "bicubic")
        return np.rint(levels).clip(0, 255).astype(np.uint8)
    if p.resize_form != "operator":  # whose products equal Pillow's filters
        return resize_filtered(image, size, p.interpolation)
    inputs = {"image": np.ascontiguousarray(image)[None], "size": np.array(size, dtype=np.int64)}
    return np.asarray(_session(p.interpolation).run(None, inputs)[0][0])


@functools.cache
def _session(interpolation: Interpolation) -> Any:
    """Returns a session with one thread, as many threads call it."""
    ort = import_onnxruntime()
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    return ort.InferenceSession(_model(interpolation), options, providers=["CPUExecutionProvider"])


def _model(interpolation: Interpolation) -> bytes:
    """Encodes a model of one Resize, by the field numbers of onnx.proto."""
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
