"""The layers of a graph and the shapes of their outputs, in topological order.

Four independent sources say which shape a layer's output has, and `shape_table` compares them: formulas,
torch, ONNX's shape inference, and what onnxruntime computed at several batch sizes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import onnx
import onnx_ir as ir

from cnntk.exporters.shapes._dims import (
    BATCH,
    Shape,
    at_batch,
    batch_symbols,
    fold_runs,
    recorded_shape,
    same,
    shape_text,
    with_batch_symbol,
)
from cnntk.exporters.shapes._receptive import receptive_fields
from cnntk.exporters.shapes._shape_formulas import ShapeFormula, shape_formulas
from cnntk.exporters.shapes.dataflow import data_inputs, layer_name, layer_nodes, parameters
from cnntk.runtime.artifact.spec import Layer

__all__ = ["ShapeRow", "activation_bytes", "layer_table", "shape_table", "value_shapes"]

_MAX_READ = 64
"""Largest number of elements of an initializer that shape inference may need; larger ones are weights."""


@dataclass(frozen=True)
class ShapeRow:
    """Shape of one layer's output according to four sources; None where a source does not know it.

    A dimension is a number, ``"N"`` for the batch, a multiple like ``"2*N"``, or None where it is not known.

    Attributes:
        layer: Name of the torch module, or of the node.
        op: ONNX operator.
        value: Name of the layer's output in the graph.
        formula: Shape by arithmetic.
        torch: Shape during torch's capture.
        onnx: Shape by ONNX's inference.
        run: Shape that onnxruntime computed at all batch sizes; ``"1|3"`` where a size follows no batch.
        text: Arithmetic of ``formula``.
        agree: Whether no two of the sources contradict each other; ONNX's inference alone may be wrong, where
            the formula and onnxruntime agree.
    """

    layer: str
    op: str
    value: str
    formula: Shape | None
    torch: Shape | None
    onnx: Shape | None
    run: Shape | None
    text: str
    agree: bool

    @property
    def only_onnx_differs(self) -> bool:
        """Whether ONNX's inference contradicts the others, as for pools with ``ceil_mode`` and padding."""
        known = self.agree and self.formula is not None and self.onnx is not None
        return known and not _agree(self.formula or (), self.onnx or ())

    @property
    def message(self) -> str:
        """Layer and shapes, for an error message."""
        return (
            f"{self.layer} ({self.op}): formula {shape_text(self.formula)}, "
            f"torch {shape_text(self.torch)}, ONNX {shape_text(self.onnx)}, "
            f"onnxruntime {shape_text(self.run)}"
        )


def layer_table(model: ir.Model) -> tuple[Layer, ...]:
    """The layers of a graph: the nodes that data passes through. A shared weight counts once."""
    shapes = value_shapes(model)
    fields = receptive_fields(model, shapes)
    nodes = layer_nodes(model)
    layers = frozenset(nodes)
    counted: set[ir.Value] = set()
    rows = []
    for node in nodes:
        weights = tuple(parameters(node, layers))
        new = [v for v in dict.fromkeys(weights) if v not in counted]
        counted.update(new)
        output = node.outputs[0]
        field = fields.get(output)
        row = Layer(
            name=layer_name(node),
            op=node.op_type,
            shape=tuple("?" if d is None else d for d in shapes.get(output, ())),
            parameters=sum(v.const_value.size for v in new if v.const_value is not None),
            multiply_adds=_multiply_adds(node, shapes),
            weights=tuple(v.name or "" for v in weights),
            output=output.name or "",
            inputs=tuple(v.name or "" for v in data_inputs(node, layers)),
            activation_bytes=sum(activation_bytes(v, shapes) for v in node.outputs),
            receptive_field=None if field is None else field.pixels,
            jump=None if field is None else field.step,
        )
        rows.append(row)
    return tuple(rows)


def shape_table(
    model: ir.Model,
    torch_shapes: Mapping[str, Sequence[Any]],
    run_shapes: Mapping[int, Mapping[str, Sequence[int]]],
) -> tuple[ShapeRow, ...]:
    """A row for each layer.

    Args:
        model: Graph.
        torch_shapes: Shapes in torch's program by name of the value; dimensions are numbers, or ``s77`` or
            ``2*s77`` as text. Where there is only one symbol, it is the batch.
        run_shapes: Shapes that onnxruntime computed, by batch size and name of the value.
    """
    inferred = inferred_shapes(model)
    symbols = batch_symbols(model) | _only_symbol(torch_shapes)
    rows = []
    for formula in shape_formulas(model):
        name = formula.value
        torch = with_batch_symbol(torch_shapes[name], symbols) if name in torch_shapes else None
        runs = {batch: tuple(shapes[name]) for batch, shapes in run_shapes.items() if name in shapes}
        rows.append(_compare(formula, torch, inferred.get(name), runs))
    return tuple(rows)


def inferred_shapes(model: ir.Model) -> dict[str, Shape]:
    """Shape of each value by ONNX's own inference from the graph's inputs; no weight is copied.

    Empty where the inference fails, as it does behind a shape that it infers wrongly.
    """
    symbols = batch_symbols(model)
    try:
        proto = onnx.shape_inference.infer_shapes(_without_weights(model), data_prop=True)
    except onnx.shape_inference.InferenceError:
        return {}
    values = (*proto.graph.value_info, *proto.graph.output)
    return {v.name: _proto_shape(v, symbols) for v in values if v.type.tensor_type.HasField("shape")}


def value_shapes(model: ir.Model) -> dict[ir.Value, Shape]:
    """Shape of each value: as recorded in the graph, else by formula, else as ONNX infers it."""
    symbols = batch_symbols(model)
    values = [
        *model.graph.inputs,
        *model.graph.initializers.values(),
        *(v for n in model.graph for v in n.outputs),
    ]
    shapes = {v: recorded for v in values if (recorded := recorded_shape(v, symbols)) is not None}
    if missing := [v for n in layer_nodes(model) for v in n.outputs if _unknown(shapes.get(v))]:
        formulas = {formula.value: formula.shape for formula in shape_formulas(model)}
        inferred = inferred_shapes(model)
        for value in missing:
            candidates = (formulas.get(value.name or ""), inferred.get(value.name or ""), shapes.get(value))
            best = next((c for c in candidates if not _unknown(c)), next((c for c in candidates if c), None))
            shapes |= {} if best is None else {value: best}
    return shapes


def _unknown(shape: Shape | None) -> bool:
    return shape is None or None in shape


def activation_bytes(value: ir.Value, shapes: Mapping[ir.Value, Shape]) -> int:
    """Memory of a value for one image in bytes; 0 where its shape is not known."""
    if value.dtype is ir.DataType.STRING:
        return 0
    size = value.dtype.bitwidth / 8 if value.dtype is not None else 4
    return math.ceil(_per_image(shapes.get(value, (None,))) * size)


def _per_image(shape: Shape) -> int:
    dims = [at_batch(d, 1) for d in shape]
    return math.prod(d or 0 for d in dims)


def _multiply_adds(node: ir.Node, shapes: Mapping[ir.Value, Shape]) -> int:
    """Multiply-adds of one image: output elements times the length of the dot product of each.

    Of a transposed convolution: input elements times the elements of the window.
    """
    if node.op_type not in ("Conv", "ConvTranspose", "Gemm", "MatMul"):
        return 0
    before, weight, after = (
        shapes.get(v, (None,)) for v in (node.inputs[0], node.inputs[1], node.outputs[0]) if v
    )
    if node.op_type == "Conv":
        return _per_image(after) * _per_image(weight[1:])
    if node.op_type == "ConvTranspose":
        return _per_image(before) * _per_image(weight[1:])
    flipped = node.op_type == "Gemm" and node.attributes.get_int("transA", 0) == 1
    return _per_image(after) * _per_image(before[:1] if flipped else before[-1:])


def _compare(
    formula: ShapeFormula, torch: Shape | None, inferred: Shape | None, runs: Mapping[int, tuple[int, ...]]
) -> ShapeRow:
    columns = [shape for shape in (formula.shape, torch) if shape is not None]
    if inferred is not None and (_unknown(formula.shape) or not runs):
        columns.append(inferred)
    pairs = [(a, b) for i, a in enumerate(columns) for b in columns[i + 1 :]]
    agree = all(_agree(a, b) for a, b in pairs) and all(
        _agrees_with_run(shape, sizes, batch) for shape in columns for batch, sizes in runs.items()
    )
    run, same_rank = _fold(runs)
    return ShapeRow(
        layer=formula.layer,
        op=formula.op,
        value=formula.value,
        formula=formula.shape,
        torch=torch,
        onnx=inferred,
        run=run,
        text=formula.text,
        agree=agree and same_rank,
    )


def _agree(one: Shape, other: Shape) -> bool:
    return len(one) == len(other) and all(same(a, b) is not False for a, b in zip(one, other, strict=True))


def _agrees_with_run(shape: Shape, sizes: tuple[int, ...], batch: int) -> bool:
    if len(shape) != len(sizes):
        return False
    return all(at_batch(d, batch) in (None, size) for d, size in zip(shape, sizes, strict=True))


def _fold(runs: Mapping[int, tuple[int, ...]]) -> tuple[Shape | None, bool]:
    """The shapes at all batch sizes as one, and whether their ranks are the same."""
    if not runs:
        return None, True
    if len({len(sizes) for sizes in runs.values()}) > 1:
        return ("|".join(shape_text(sizes) for sizes in runs.values()),), False
    return tuple(
        fold_runs(dict(zip(runs, sizes, strict=True))) for sizes in zip(*runs.values(), strict=True)
    ), True


def _only_symbol(torch_shapes: Mapping[str, Sequence[Any]]) -> frozenset[str]:
    """The symbol of torch's shapes, where there is only one."""
    words = {str(d) for shape in torch_shapes.values() for d in shape if not isinstance(d, int)}
    plain = frozenset(word for word in words if word.isidentifier())
    return plain if len(plain) == 1 else frozenset()


def _without_weights(model: ir.Model) -> onnx.ModelProto:
    """The graph with its large initializers as inputs, and without recorded shapes."""
    copy = model.clone()  # which shares the weights; other threads may read the model
    weights = list(copy.graph.initializers.values())
    large = [v for v in weights if v.const_value is not None and v.const_value.size > _MAX_READ]
    for value in large:
        del copy.graph.initializers[str(value.name)]
    proto = ir.to_proto(copy)
    del proto.graph.value_info[:]
    for output in proto.graph.output:
        output.type.tensor_type.ClearField("shape")
    declared = {v.name for v in proto.graph.input}
    proto.graph.input.extend(_declaration(v) for v in large if v.name not in declared)
    return proto


def _declaration(value: ir.Value) -> onnx.ValueInfoProto:
    tensor = value.const_value
    dims = [] if tensor is None else [int(d) for d in tensor.shape.numpy()]
    dtype = int(tensor.dtype) if tensor is not None else onnx.TensorProto.FLOAT
    return onnx.helper.make_tensor_value_info(value.name or "", dtype, dims)


def _proto_shape(value: onnx.ValueInfoProto, symbols: frozenset[str]) -> Shape:
    """The inferred shape; symbols other than the batch, which ONNX invents, and -1 as None."""
    dims = value.type.tensor_type.shape.dim
    sizes = (
        d.dim_value if d.HasField("dim_value") else BATCH if d.dim_param in symbols else None for d in dims
    )
    return tuple(None if isinstance(size, int) and size < 0 else size for size in sizes)
