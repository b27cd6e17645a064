"""The numbers in a graph's shape arithmetic, the batch among them as a symbol: what a Reshape is told."""

from __future__ import annotations

from collections.abc import Callable

import onnx_ir as ir

from cnntk.exporters.shapes.dims import Dim, Shape, product

__all__ = ["constant_shape", "shape_value"]

_Look = Callable[[ir.Value | None], Shape | None]

_LARGEST = 64
"""Elements; no shape or list of axes has more, and reading weights would cost."""

_SAME_NUMBERS = {"Cast", "Identity", "Reshape", "Squeeze", "Unsqueeze"}


def constant_shape(value: ir.Value) -> Shape | None:
    """The shape of an initializer or of a Constant node's output."""
    tensor = _tensor(value)
    return None if tensor is None else tuple(int(d) for d in tensor.shape.numpy())


def shape_value(of: ir.Node | ir.Value, numbers: _Look, shapes: _Look) -> Shape | None:
    """The integers, in one row, that a node puts out or that a constant holds; None where they are not known.

    Args:
        of: the node or the constant.
        numbers: those of the values before it.
        shapes: those of the values before it.
    """
    if isinstance(of, ir.Value):
        return _constant(of)
    if of.op_type == "Constant":
        return _constant(of.outputs[0])
    if of.op_type == "Shape":
        return _measured(of, shapes(of.inputs[0]))
    rows = [numbers(value) for value in of.inputs]
    if not rows or rows[0] is None:
        return None
    if of.op_type in _SAME_NUMBERS:
        return rows[0]
    return _computed(of, rows)


def _computed(node: ir.Node, rows: list[Shape | None]) -> Shape | None:
    known = [row for row in rows if row is not None]
    if len(known) < len(rows):
        return None
    match node.op_type:
        case "Concat":
            return sum(known, ())
        case "Mul":
            return _multiplied(*known)
        case "Gather":
            return _picked(*known)
        case "Slice":
            return _sliced(known)
    return None


def _multiplied(left: Shape, right: Shape) -> Shape:
    length = max(len(left), len(right))
    rows = (row * length if len(row) == 1 else row for row in (left, right))
    return tuple(product(pair) for pair in zip(*rows, strict=True))


def _picked(row: Shape, indices: Shape) -> Shape | None:
    if not all(isinstance(i, int) and -len(row) <= i < len(row) for i in indices):
        return None
    return tuple(row[i] for i in indices if isinstance(i, int))


def _sliced(rows: list[Shape]) -> Shape | None:
    row, *bounds = rows
    start, stop = (_single(bound) for bound in bounds[:2])
    step = _single(bounds[3]) if len(bounds) > 3 else 1
    return row[start:stop:step] if start is not None and stop is not None and step else None


def _single(row: Shape) -> int | None:
    number: Dim = row[0] if len(row) == 1 else None
    return number if isinstance(number, int) else None


def _measured(node: ir.Node, shape: Shape | None) -> Shape | None:
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
