"""The ledger: one row for each layer of the graph, in the order of the data."""

from __future__ import annotations

import math

import onnx_ir as ir

from cnntk.runtime.spec import Layer

__all__ = ["ledger"]

_LINEAR = {"Conv", "ConvTranspose", "Gemm", "MatMul"}
_SCOPES = "pkg.torch.onnx.name_scopes"


def ledger(model: ir.Model) -> tuple[Layer, ...]:
    """A row for each node of ``model``'s graph."""
    return tuple(_row(node) for node in model.graph)


def _row(node: ir.Node) -> Layer:
    output = node.outputs[0]
    shape = tuple(d if isinstance(d, int) else str(d) for d in output.shape or ())
    return Layer(_name(node), node.op_type, shape, _parameters(node), _multiply_adds(node, shape))


def _name(node: ir.Node) -> str:
    """The torch module that a node came from; the node's own name where it came from none."""
    scopes = node.metadata_props.get(_SCOPES, "")
    names = [part.strip(" '\"") for part in scopes.strip("[]").split(",")]
    module = names[-2] if len(names) > 1 else ""
    return module or node.name or node.op_type


def _parameters(node: ir.Node) -> int:
    """Numbers that were learnt; shapes and indices are integers."""
    constants = (v.const_value for v in node.inputs if v is not None and v.is_initializer())
    return sum(c.size for c in constants if c is not None and c.dtype.is_floating_point())


def _multiply_adds(node: ir.Node, shape: tuple[int | str, ...]) -> int:
    """Of one image: output elements times the length of the dot product behind each."""
    if node.op_type not in _LINEAR or not all(isinstance(d, int) for d in shape[1:]):
        return 0
    weight = node.inputs[1]
    if weight is None or weight.shape is None or not all(isinstance(d, int) for d in weight.shape):
        return 0
    elements = math.prod(int(d) for d in shape[1:])
    length = math.prod(weight.shape.numpy())
    outputs = int(shape[1 if node.op_type in ("Conv", "ConvTranspose") else -1])
    return elements * length // outputs
