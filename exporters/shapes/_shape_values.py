"""Values of a graph's shape arithmetic, like a Reshape's target, with the batch as a symbol."""

from __future__ import annotations

from collections.abc import Callable

import onnx_ir as ir

from cnntk.exporters.shapes._dims import Dim, Shape, product

_Look = Callable[[ir.Value | None], Shape | None]

_LARGEST = 64
"""Largest number of elements that are read: shapes and lists of axes have fewer, and weights cost time."""

_SAME_NUMBERS = {"Cast", "Identity", "Reshape", "Squeeze", "Unsqueeze"}


def constant_shape(value: ir.Value) -> Shape | None:
    """The shape of an initializer or of a Constant node's output."""
    tensor = _tensor(value)
    return None if tensor is None else tuple(int(d) for d in tensor.shape.numpy())


def shape_value(of: ir.Node | ir.Value, numbers: _Look, shapes: _Look) -> Shape | None:
    """Integers that a node computes or a constant holds, in one row; None where they are not known.

    Args:
        of: Node or constant.
        numbers: Returns the integers of an input.
        shapes: Returns the shape of an input.
    """
    if isinstance(of, ir.Value):
        return _constant(of)
    if of.op_type == "Constant":
        return _constant(of.outputs[0])
    if of.op_type == "Shape":
        return _shape(of, shapes(of.inputs[0]))
    rows = [numbers(value) for value in of.inputs]
    if not rows or rows[0] is None:
        return None
    if of.op_type in _SAME_NUMBERS:
        return rows[0]
    return _compute(of, rows)


def _compute(node: ir.Node, rows: list[Shape | None]) -> Shape | None:
    inputs = [row for row in rows if row is not None]
    if len(inputs) < len(rows):
        return None
    match node.op_type:
        case "Concat":
            return sum(inputs, ())
        case "Mul":
            return _multiply(*inputs)
        case "Gather":
            return _gather(*inputs)
        case "Slice" if "starts" in node.attributes:  # before opset 10
            starts, ends = (node.attributes.get_ints(name, ()) for name in ("starts", "ends"))
            return _slice([*inputs, tuple(starts), tuple(ends)])
        case "Slice":
            return _slice(inputs)
    return None


def _multiply(left: Shape, right: Shape) -> Shape:
    length = max(len(left), len(right))
    rows = (row * length if len(row) == 1 else row for row in (left, right))
    return tuple(product(pair) for pair in zip(*rows, strict=True))


def _gather(row: Shape, indices: Shape) -> Shape | None:
    if not all(isinstance(i, int) and -len(row) <= i < len(row) for i in indices):
        return None
    return tuple(row[i] for i in indices if isinstance(i, int))


def _slice(rows: list[Shape]) -> Shape | None:
    row, *bounds = rows
    start, stop = (_single(bound) for bound in bounds[:2])
    step = _single(bounds[3]) if len(bounds) > 3 else 1
    return row[start:stop:step] if start is not None and stop is not None and step else None


def _single(row: Shape) -> int | None:
    number: Dim = row[0] if len(row) == 1 else None
    return number if isinstance(number, int) else None


def _shape(node: ir.Node, shape: Shape | None) -> Shape | None:
    if shape is None:
        return None
    return shape[node.attributes.get_int("start", 0) : node.attributes.get_int("end", len(shape))]


def _constant(value: ir.Value) -> Shape | None:
    tensor = _tensor(value)
    if tensor is None or tensor.size > _LARGEST or not tensor.dtype.is_integer():
        return None
    return tuple(int(number) for number in tensor.numpy().reshape(-1))


def _tensor(value: ir.Value) -> ir.TensorProtocol | None:
    producer = value.producer()
    if producer is not None and producer.op_type == "Constant":
        return ir.convenience.get_const_tensor(value)
    return value.const_value if value.is_initializer() else None
