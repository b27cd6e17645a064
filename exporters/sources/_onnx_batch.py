"""The batch of somebody's ONNX graph: a fixed one becomes dynamic, where the graph computes each image alone.

Three things fix a batch: the declared shapes of inputs, outputs and inner values, which are dropped and
inferred again; constant shapes for Reshape, Expand and Resize; and constants with a row for each image, such
as a class token, which are expanded. A changed graph is used where it gives at batch 1, 2 and 3 what the
original gives for each image alone. A declared dynamic batch is only a claim, which a run confirms.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from cnntk.exporters.passes import FoldConstants, deterministic
from cnntk.exporters.passes.graph import add_weight, constant, dimensions, label, opset
from cnntk.exporters.passes.run import compare_graphs, sensitivity
from cnntk.exporters.session import Arrays, GraphSession
from cnntk.exporters.sources._onnx_opset import infer_shapes
from cnntk.runtime.errors import InferenceError

BATCH = "N"

Dims = tuple[int | str | None, ...]

_BATCHES = (1, 2, 3)

_SHAPE_START = 15
"""Oldest opset whose Shape can return the batch alone."""


def follow_batch(
    original: ir.Model, model: ir.Model, batch: int | None, images: Sequence[Arrays]
) -> tuple[ir.Model, tuple[str, ...]]:
    """A form of a graph that takes any batch, with the measured shapes of its outputs.

    Args:
        original: Graph as it is in the file. Its declared batch becomes 1 where it takes no other.
        model: The same graph in the opset in which it is exported.
        batch: Batch that the file fixes; None where it declares a dynamic one.
        images: Three inputs of one image each.

    Returns:
        The graph, with an integer batch where it can't be freed; and notes for the user.

    Raises:
        InferenceError: The graph runs at no batch size.
    """
    claim = f"the batch was fixed at {batch}"
    if batch is None:
        try:
            shapes = _followed(*(_outputs(model, images, size) for size in (2, 3)))
        except InferenceError:
            shapes = None
        if shapes is not None:
            return _with_shapes(model, shapes), ()
        batch, claim = 1, "the batch was declared dynamic, but the graph takes only 1"
        set_batch(original, batch)
        set_batch(model, batch)
    reference = _SingleImages.of(original, batch, images)
    reason = _batch_statistics(model)
    for trial, changes in () if reason else ((_declared(model), ()), _rewritten(model, batch)):
        try:
            results = [_outputs(trial, images, size) for size in _BATCHES]
        except InferenceError as error:
            reason = str(error)
            continue
        shapes = _followed(*results[1:])
        if shapes is None:
            reason = f"outputs have shapes {_shapes_text(results[1])} at batch 2"
            continue
        reason = reference.difference(trial, results, shapes) or ""
        if not reason:
            detail = f" ({'; '.join(changes)})" if changes else ""
            return _with_shapes(trial, shapes), (f"{claim}; any batch is possible now{detail}",)
    shapes = {name: array.shape for name, array in GraphSession(model).run(reference.inputs[0]).items()}
    return _with_shapes(model, shapes), (f"{claim}, and stays so: {reason}",)


@dataclass(frozen=True, eq=False)
class _SingleImages:
    """Outputs of the original graph for each image alone: in a batch of copies, where the batch is larger."""

    model: ir.Model
    inputs: list[Arrays]
    outputs: list[Arrays]
    sensitivity: dict[str, float]

    @classmethod
    def of(cls, model: ir.Model, batch: int, images: Sequence[Arrays]) -> _SingleImages:
        session = GraphSession(deterministic(model))
        inputs = [{k: np.repeat(v, batch, axis=0) for k, v in image.items()} for image in images]
        outputs = [session.run(each) for each in inputs]
        return cls(model, inputs, outputs, sensitivity(session, inputs, outputs))

    def difference(self, trial: ir.Model, results: list[Arrays], shapes: Mapping[str, Dims]) -> str | None:
        """What differs by more than rounding in the results of ``trial`` for the first 1, 2 and 3 images."""
        expected = [
            {name: self._first_images(name, size, shapes[name]) for name in results[0]} for size in _BATCHES
        ]
        return compare_graphs((self.model, trial), expected, results, self.sensitivity)[1]

    def _first_images(self, name: str, count: int, shape: Dims) -> NDArray[Any]:
        arrays = [outputs[name] for outputs in self.outputs[:count]]
        if arrays[0].ndim != len(shape) or (BATCH not in shape and count == 1):
            return arrays[0]
        # An output that does not follow the batch must be the same for each image.
        if BATCH not in shape and all(np.array_equal(arrays[0], array, equal_nan=True) for array in arrays):
            return arrays[0]
        axis = shape.index(BATCH) if BATCH in shape else 0
        return np.concatenate([np.take(array, [0], axis) for array in arrays], axis)


def _outputs(model: ir.Model, images: Sequence[Arrays], size: int) -> Arrays:
    """Outputs for the first ``size`` images as one batch."""
    batch = {k: np.concatenate([i[k] for i in images[:size]]) for k in images[0]}
    return GraphSession(deterministic(model)).run(batch)


def _followed(two: Arrays, three: Arrays) -> dict[str, Dims] | None:
    """Shape of each output, ``N`` where it follows the batch; None where one changes in another way."""
    shapes: dict[str, Dims] = {}
    for name, array in two.items():
        pairs = list(zip(array.shape, three[name].shape, strict=False))
        shapes[name] = tuple(
            BATCH if pair == (2, 3) else pair[0] if len(set(pair)) == 1 else None for pair in pairs
        )
        if array.ndim != three[name].ndim or (None in shapes[name] and BATCH not in shapes[name]):
            return None
    return shapes if any(BATCH in shape for shape in shapes.values()) else None


def _with_shapes(model: ir.Model, shapes: Mapping[str, Dims]) -> ir.Model:
    for output in model.graph.outputs:
        output.shape = ir.Shape(shapes[str(output.name)])
    return model


def set_batch(model: ir.Model, batch: int | str) -> None:
    """Declares the batch of all inputs, and no other shape."""
    for value in model.graph.inputs:
        value.shape = ir.Shape((batch, *(value.shape or ())[1:]))
    for value in (v for node in model.graph.all_nodes() for v in node.outputs):
        value.shape = None
    infer_shapes(model)


def _declared(model: ir.Model) -> ir.Model:
    """A copy whose declared batch is dynamic."""
    trial = model.clone()
    set_batch(trial, BATCH)
    return trial


def _rewritten(model: ir.Model, batch: int) -> tuple[ir.Model, tuple[str, ...]]:
    """A copy whose constants follow a dynamic batch, and the nodes that were changed."""
    trial = model.clone()
    FoldConstants()(trial)
    infer_shapes(trial)
    varying, changed = _varying(trial), []
    for node in list(trial.graph):
        rewrite = _REWRITES.get(node.op_type)
        if rewrite is None or node.domain or not varying.intersection(node.outputs):
            continue
        if rewrite(trial, node, batch, varying):
            changed.append(label(node))
    set_batch(trial, BATCH)
    return trial, tuple(changed)


def _varying(model: ir.Model) -> set[ir.Value]:
    """The values that depend on an input."""
    varying = set(model.graph.inputs)
    for node in model.graph:
        if varying.intersection(v for v in node.inputs if v is not None):
            varying.update(node.outputs)
    return varying


def _reshape(model: ir.Model, node: ir.Node, batch: int, varying: set[ir.Value]) -> bool:
    """Leaves the first size open: 0, the size of the input, where that is the batch; else -1."""
    sizes = constant(node.inputs[1])
    if sizes is None or not sizes.size or sizes[0] < 1:
        return False
    target = [int(size) for size in sizes]
    data, result = dimensions(node.inputs[0]) or (), dimensions(node.outputs[0]) or ()
    if target[0] == batch and data[:1] == (batch,) and not node.attributes.get_int("allowzero", 0):
        target[0] = 0
    elif -1 not in target:
        target[0] = -1
    elif all(isinstance(d, int) for d in result):
        target = [-1, *(int(d) for d in result[1:] if isinstance(d, int))]
    else:
        return False
    node.replace_input_with(
        1, add_weight(model, f"{node.outputs[0].name}_shape", np.array(target), ir.DataType.INT64)
    )
    return True


def _expand(model: ir.Model, node: ir.Node, batch: int, varying: set[ir.Value]) -> bool:
    return _open_size(model, node, 1, batch)


def _resize(model: ir.Model, node: ir.Node, batch: int, varying: set[ir.Value]) -> bool:
    return len(node.inputs) == 4 and "axes" not in node.attributes and _open_size(model, node, 3, batch)


def _open_size(model: ir.Model, node: ir.Node, index: int, batch: int) -> bool:
    """Computes the first of the constant sizes in this input from the batch."""
    sizes = constant(node.inputs[index])
    if sizes is None or not sizes.size or sizes[0] != batch or opset(model) < _SHAPE_START:
        return False
    node.replace_input_with(index, _batch_and(model, node, sizes[1:]))
    return True


def _concat(model: ir.Model, node: ir.Node, batch: int, varying: set[ir.Value]) -> bool:
    """Repeats constants that have a row for each image, such as a class token, as often as the batch says."""
    changed = False
    for index, value in enumerate(node.inputs):
        rows = None if value in varying else constant(value)
        if (
            rows is None
            or value is None
            or opset(model) < _SHAPE_START
            or node.attributes.get_int("axis", 0) == 0
        ):
            continue
        if rows.ndim > 1 and len(rows) == batch and (rows == rows[:1]).all():
            row = add_weight(model, f"{value.name}_row", rows[:1], value.dtype or ir.DataType.FLOAT)
            shape = _batch_and(model, node, np.ones(rows.ndim - 1, np.int64))
            node.replace_input_with(index, _before(node, "Expand", [row, shape]))
            changed = True
    return changed


_REWRITES = {"Reshape": _reshape, "Expand": _expand, "Resize": _resize, "Concat": _concat}


def _batch_and(model: ir.Model, node: ir.Node, sizes: NDArray[np.int64]) -> ir.Value:
    """A shape in front of ``node``: the batch, then ``sizes``."""
    batch = _before(node, "Shape", [model.graph.inputs[0]], {"start": 0, "end": 1})
    rest = add_weight(model, f"{node.outputs[0].name}_sizes", sizes, ir.DataType.INT64)
    return _before(node, "Concat", [batch, rest], {"axis": 0})


def _before(
    node: ir.Node, operator: str, inputs: Sequence[ir.Value], attributes: Mapping[str, int] | None = None
) -> ir.Value:
    """The output of a new node in front of ``node``."""
    new = ir.node(operator, list(inputs), dict(attributes or {}))
    if node.graph is None:
        raise ValueError(f"{node.name}: the node is in no graph")
    node.graph.insert_before(node, new)
    return new.outputs[0]


def _batch_statistics(model: ir.Model) -> str:
    """The node that normalizes over the batch; onnxruntime also changes its statistics from run to run."""
    for node in model.graph.all_nodes():
        if node.op_type == "BatchNormalization" and node.attributes.get_int("training_mode", 0) == 1:
            return f"{label(node)} is in training mode, which normalizes over the batch"
    return ""


def _shapes_text(outputs: Arrays) -> str:
    return ", ".join(f"{name} {list(array.shape)}" for name, array in outputs.items())
