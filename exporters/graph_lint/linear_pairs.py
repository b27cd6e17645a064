"""Pairs of linear layers with nothing between that a single layer could not do."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from cnntk.exporters.graph_lint.view import View
from cnntk.exporters.shapes.dataflow import weight_of

__all__ = ["LINEAR", "is_pointwise", "linear_pairs"]

LINEAR = frozenset({"Conv", "Gemm", "MatMul"})
_SEES_THROUGH = frozenset({"BatchNormalization", "Dropout", "Flatten", "Identity", "Reshape"})
_AFFINE = frozenset({"Add", "Div", "Mul", "Sub"})


def linear_pairs(seen: View) -> Iterator[tuple[ir.Node, ir.Node]]:
    """Layers that would be one without loss: nothing nonlinear and no other reader between."""
    for first in (n for n in seen.nodes if _is_linear(n)):
        second = seen.next(first)
        while second is not None and _is_affine(second):
            second = seen.next(second)
        if second is not None and _is_linear(second) and _is_one_layer(first, second):
            yield first, second


def _is_linear(node: ir.Node) -> bool:
    return node.op_type in LINEAR and weight_of(node) is not None and node.attributes.get_int("group", 1) == 1


def _is_affine(node: ir.Node) -> bool:
    if node.op_type in _AFFINE:
        return any(weight_of(node, i) is not None for i in (0, 1))
    return node.op_type in _SEES_THROUGH


def _is_one_layer(first: ir.Node, second: ir.Node) -> bool:
    one, other = _shape(first), _shape(second)
    if _is_spatial(one) and _is_spatial(other):
        return 1 not in one[2:] and 1 not in other[2:]
    width, read = _answers_and_reads(first, one)[0], _answers_and_reads(second, other)[1]
    if width != read:  # a whole map, flattened
        return True
    return width >= min(_size(one) // width, _size(other) // read)


def _answers_and_reads(node: ir.Node, shape: tuple[int, ...]) -> tuple[int, int]:
    """How many numbers a linear layer answers, and how many it reads for each, kernel aside."""
    if node.op_type == "Conv" or (node.op_type == "Gemm" and node.attributes.get_int("transB", 0) == 1):
        return shape[0], shape[1]
    return shape[-1], shape[-2]


def _shape(node: ir.Node) -> tuple[int, ...]:
    weight = weight_of(node)
    return () if weight is None else tuple(int(d) for d in weight.shape.numpy())


def _size(shape: tuple[int, ...]) -> int:
    return int(np.prod(shape))


def _is_spatial(shape: tuple[int, ...]) -> bool:
    return any(k > 1 for k in shape[2:])


def is_pointwise(node: ir.Node) -> bool:
    return node.op_type == "Conv" and not _is_spatial(_shape(node))
