"""The ledger: one row for each layer of the graph, in the order of the data.

Four sources, none of which looks at another, say which shape a layer puts out, and `four_way` lays them side
by side: the closed form, torch, ONNX's shape inference, and what onnxruntime returned at several batches.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import onnx
import onnx_ir as ir

from cnntk.exporters.shapes.closed_forms import ClosedForm, closed_forms
from cnntk.exporters.shapes.dataflow import data_inputs, layer_name, layer_nodes, learned
from cnntk.exporters.shapes.dims import (
    BATCH,
    Shape,
    at_batch,
    batch_symbols,
    fold_runs,
    named,
    recorded_shape,
    same,
    shape_text,
)
from cnntk.exporters.shapes.receptive import Field, receptive_fields
from cnntk.runtime.artifact.spec import Layer

__all__ = [
    "ClosedForm",
    "LedgerRow",
    "activation_bytes",
    "closed_forms",
    "four_way",
    "inferred_shapes",
    "known_shapes",
    "ledger",
]

_LARGEST_KEPT = 64
"""Elements of an initializer that shape inference may want to read; larger ones are weights."""


@dataclass(frozen=True)
class LedgerRow:
    """One layer's output shape from four sources; None where a source does not say, or not in one dimension.

    Attributes:
        layer: the torch module, or the node's own name.
        op: ONNX operator.
        value: name of the layer's output in the graph.
        closed_form: by arithmetic.
        torch: as torch noted it.
        onnx: as ONNX infers it.
        run: as onnxruntime returned it, folded over the batches; ``"1|3"`` where it follows no batch.
        text: the arithmetic.
        agree: whether no two that are known contradict each other.
    """

    layer: str
    op: str
    value: str
    closed_form: Shape | None
    torch: Shape | None
    onnx: Shape | None
    run: Shape | None
    text: str
    agree: bool

    @property
    def message(self) -> str:
        """The layer and its four shapes, for an error."""
        return (
            f"{self.layer} ({self.op}): closed form {shape_text(self.closed_form)}, "
            f"torch {shape_text(self.torch)}, ONNX {shape_text(self.onnx)}, "
            f"onnxruntime {shape_text(self.run)}"
        )

    def to_json(self) -> dict[str, Any]:
        """As JSON data."""
        return asdict(self)


def ledger(model: ir.Model) -> tuple[Layer, ...]:
    """A row for each node of ``model``'s graph that data passes through. A shared weight counts once."""
    shapes = known_shapes(model)
    fields = receptive_fields(model, shapes)
    nodes = layer_nodes(model)
    layers = frozenset(nodes)
    counted: set[ir.Value] = set()
    rows = []
    for node in nodes:
        weights = tuple(learned(node, layers))
        new = [v for v in dict.fromkeys(weights) if v not in counted]
        counted.update(new)
        rows.append(_row(node, layers, shapes, fields, weights, new))
    return tuple(rows)


def four_way(
    model: ir.Model,
    torch_shapes: Mapping[str, Sequence[Any]],
    run_shapes: Mapping[int, Mapping[str, Sequence[int]]],
) -> tuple[LedgerRow, ...]:
    """The ledger's four columns, a row a layer.

    Args:
        model: the graph.
        torch_shapes: of each value of that name in torch's program; dimensions are numbers, or whatever turns
            into ``s77`` or ``2*s77`` as text. Where it has one symbol, that is the batch.
        run_shapes: of each value of that name, as onnxruntime returned it, at each batch.
    """
    inferred = inferred_shapes(model)
    symbols = batch_symbols(model) | _only_symbol(torch_shapes)
    rows = []
    for form in closed_forms(model):
        torch = named(torch_shapes[form.value], symbols) if form.value in torch_shapes else None
        runs = {batch: tuple(found[form.value]) for batch, found in run_shapes.items() if form.value in found}
        rows.append(_compared(form, torch, inferred.get(form.value), runs))
    return tuple(rows)


def inferred_shapes(model: ir.Model) -> dict[str, Shape]:
    """What ONNX's own shape inference says of each value, from the graph's inputs alone; copies no weight."""
    symbols = batch_symbols(model)
    proto = onnx.shape_inference.infer_shapes(_without_weights(model), data_prop=True)
    values = (*proto.graph.value_info, *proto.graph.output)
    return {v.name: _proto_shape(v, symbols) for v in values if v.type.tensor_type.HasField("shape")}


def known_shapes(model: ir.Model) -> dict[ir.Value, Shape]:
    """Each value's shape: as the graph notes it, else by closed form, else as ONNX infers it."""
    symbols = batch_symbols(model)
    values = [
        *model.graph.inputs,
        *model.graph.initializers.values(),
        *(v for n in model.graph for v in n.outputs),
    ]
    shapes = {v: recorded for v in values if (recorded := recorded_shape(v, symbols)) is not None}
    if missing := [v for n in layer_nodes(model) for v in n.outputs if _unknown(shapes.get(v))]:
        forms = {form.value: form.shape for form in closed_forms(model)}
        inferred = inferred_shapes(model)
        for value in missing:
            candidates = (forms.get(value.name or ""), inferred.get(value.name or ""), shapes.get(value))
            best = next((c for c in candidates if not _unknown(c)), next((c for c in candidates if c), None))
            shapes |= {} if best is None else {value: best}
    return shapes


def _unknown(shape: Shape | None) -> bool:
    return shape is None or None in shape


def _row(
    node: ir.Node,
    layers: frozenset[ir.Node],
    shapes: Mapping[ir.Value, Shape],
    fields: Mapping[ir.Value, Field],
    weights: Sequence[ir.Value],
    new: Sequence[ir.Value],
) -> Layer:
    output = node.outputs[0]
    field = fields.get(output)
    return Layer(
        name=layer_name(node),
        op=node.op_type,
        shape=tuple("?" if d is None else d for d in shapes.get(output, ())),
        parameters=sum(_elements(v) for v in new),
        multiply_adds=_multiply_adds(node, shapes),
        weights=tuple(v.name or "" for v in weights),
        output=output.name or "",
        inputs=tuple(v.name or "" for v in data_inputs(node, layers)),
        activation_bytes=sum(activation_bytes(v, shapes) for v in node.outputs),
        receptive_field=None if field is None else field.pixels,
        jump=None if field is None else field.step,
    )


def activation_bytes(value: ir.Value, shapes: Mapping[ir.Value, Shape]) -> int:
    """What a value takes in memory for one image; 0 where its shape is not known."""
    size = value.dtype.bitwidth / 8 if value.dtype is not None else 4
    return math.ceil(_per_image(shapes.get(value, (None,))) * size)


def _per_image(shape: Shape) -> int:
    dims = [at_batch(d, 1) for d in shape]
    return math.prod(d or 0 for d in dims)


def _elements(value: ir.Value) -> int:
    return value.const_value.size if value.const_value is not None else 0


def _multiply_adds(node: ir.Node, shapes: Mapping[ir.Value, Shape]) -> int:
    """Of one image: output elements times the length of the dot product behind each.

    A transposed convolution spreads instead: input elements times the window behind each.
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


def _compared(
    form: ClosedForm, torch: Shape | None, inferred: Shape | None, runs: Mapping[int, tuple[int, ...]]
) -> LedgerRow:
    columns = [shape for shape in (form.shape, torch, inferred) if shape is not None]
    pairs = [(a, b) for i, a in enumerate(columns) for b in columns[i + 1 :]]
    agree = all(_agree(a, b) for a, b in pairs) and all(
        _agrees_with_run(shape, sizes, batch) for shape in columns for batch, sizes in runs.items()
    )
    run, regular = _folded(runs)
    return LedgerRow(
        form.layer, form.op, form.value, form.shape, torch, inferred, run, form.text, agree and regular
    )


def _agree(one: Shape, other: Shape) -> bool:
    return len(one) == len(other) and all(same(a, b) is not False for a, b in zip(one, other, strict=True))


def _agrees_with_run(shape: Shape, sizes: tuple[int, ...], batch: int) -> bool:
    if len(shape) != len(sizes):
        return False
    return all(at_batch(d, batch) in (None, size) for d, size in zip(shape, sizes, strict=True))


def _folded(runs: Mapping[int, tuple[int, ...]]) -> tuple[Shape | None, bool]:
    """What was seen at all batches as one shape, and whether the ranks are the same."""
    if not runs:
        return None, True
    if len({len(sizes) for sizes in runs.values()}) > 1:
        return ("|".join(shape_text(sizes) for sizes in runs.values()),), False
    return tuple(
        fold_runs(dict(zip(runs, sizes, strict=True))) for sizes in zip(*runs.values(), strict=True)
    ), True


def _only_symbol(torch_shapes: Mapping[str, Sequence[Any]]) -> frozenset[str]:
    """The symbol of torch's shapes, where there is but one."""
    words = {str(d) for shape in torch_shapes.values() for d in shape if not isinstance(d, int)}
    plain = frozenset(word for word in words if word.isidentifier())
    return plain if len(plain) == 1 else frozenset()


def _without_weights(model: ir.Model) -> onnx.ModelProto:
    """The graph with its large initializers turned into inputs, and without the shapes that others noted."""
    initializers = model.graph.initializers
    kept = dict(initializers)
    large = [v for v in kept.values() if v.const_value is not None and v.const_value.size > _LARGEST_KEPT]
    for value in large:
        del initializers[str(value.name)]
    try:
        proto = ir.to_proto(model)
    finally:
        initializers.clear()
        initializers.update(kept)
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
    """ONNX invents names for what it does not know; of its symbols only the batch is kept."""
    dims = value.type.tensor_type.shape.dim
    return tuple(
        d.dim_value if d.HasField("dim_value") else BATCH if d.dim_param in symbols else None for d in dims
    )
