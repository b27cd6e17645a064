"""What a node of a float graph does, as far as computing it in integers is concerned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from cnntk.exporters.passes.graph import constant, only_user
from cnntk.exporters.shapes.dataflow import weight_of
from cnntk.quantization.first_conv import Window

__all__ = [
    "clip_bounds",
    "dense",
    "dims",
    "group_of",
    "is_float",
    "is_plain",
    "is_rectified",
    "is_spatial_mean",
    "scalar",
    "settled",
    "window_of",
]


def settled(value: ir.Value) -> ir.Value:
    """Where a value's range shows: behind the ReLU and max-pooling that follow it, its only readers."""
    while (user := only_user(value)) is not None and (_rectifies(user) or _is_max_pool(user)):
        value = user.outputs[0]
    return value


def is_rectified(value: ir.Value) -> bool:
    """Whether nobody sees what of a value is below zero."""
    while (user := only_user(value)) is not None and _is_max_pool(user):
        value = user.outputs[0]
    readers = [use.node for use in value.uses()]
    return bool(readers) and not value.is_graph_output() and all(map(_rectifies, readers))


def _is_max_pool(node: ir.Node) -> bool:
    return node.op_type == "MaxPool" and not node.domain


def _rectifies(node: ir.Node) -> bool:
    """Whether it is ReLU, or one with a limit."""
    if node.op_type == "Clip" and not node.domain:
        return scalar(clip_bounds(node)[0]) == 0
    return node.op_type == "Relu" and not node.domain


def clip_bounds(node: ir.Node) -> tuple[ir.Value | None, ir.Value | None]:
    """Of a Clip; None where it has none."""
    least, most = (*node.inputs[1:3], None, None)[:2]
    return least, most


def scalar(value: ir.Value | None) -> float | None:
    found = constant(value)
    return None if found is None or found.size != 1 else float(found.reshape(-1)[0])


def dense(node: ir.Node) -> tuple[Any, ir.Value | None] | None:
    """Weights (N, K) and bias of a fully connected layer; None where it does something else besides."""
    weight = weight_of(node)
    if weight is None or len(weight.shape) != 2:
        return None
    numbers = weight.numpy().astype(np.float64)
    if node.op_type == "MatMul":
        return numbers.T, None
    attributes = node.attributes
    factors = attributes.get_float("alpha", 1.0), attributes.get_float("beta", 1.0)
    if attributes.get_int("transA", 0) != 0 or factors != (1.0, 1.0):
        return None
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    held = constant(bias)
    if bias is not None and (held is None or held.ndim != 1):
        return None
    return (numbers if attributes.get_int("transB", 0) != 0 else numbers.T), bias


def is_float(value: ir.Value) -> bool:
    """Arithmetic on an image's sizes has ranges, too, but nothing to quantize."""
    return value.dtype is ir.DataType.FLOAT


def group_of(node: ir.Node) -> int:
    return node.attributes.get_int("group", 1)


def is_plain(node: ir.Node) -> bool:
    """Whether all padding is said in numbers."""
    return node.attributes.get_string("auto_pad", "NOTSET") == "NOTSET"


def window_of(node: ir.Node, weights: tuple[int, ...]) -> Window:
    def pair(name: str) -> tuple[int, int]:
        down, right = node.attributes.get_ints(name, [1, 1])
        return down, right

    top, left, bottom, right = node.attributes.get_ints("pads", [0, 0, 0, 0])
    return Window((weights[2], weights[3]), pair("strides"), pair("dilations"), (top, left, bottom, right))


def is_spatial_mean(node: ir.Node) -> bool:
    if node.op_type == "GlobalAveragePool":
        return True
    axes = constant(node.inputs[1]) if len(node.inputs) > 1 else None
    return axes is not None and sorted(int(a) % 4 for a in np.ravel(axes)) == [2, 3]


def dims(value: ir.Value | None) -> Sequence[object]:
    return () if value is None or value.shape is None else tuple(value.shape)
