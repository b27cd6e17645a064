"""Merges common subexpressions: the same operator on the same values is computed once.

Two nodes are merged where operator, attributes and inputs are equal. Small weights of equal type, shape and
bits count as one value. Random nodes are never merged: two draws are not one draw. (onnx_ir has a pass of
this kind, whose list of random operators lacks Bernoulli and Dropout.)
"""

from __future__ import annotations

from collections.abc import Hashable

import onnx_ir as ir
from onnx_ir.passes.common import DeduplicateInitializersPass

from cnntk.exporters.passes.graph import is_random, label, remove_unused
from cnntk.exporters.passes.infra import Rewrites

_SMALL = 64
"""Largest number of elements of weights that are compared: axes, shapes and numbers."""


class MergeSubexpressions:
    """Computes each expression once."""

    name = "common subexpressions"
    reason = "the same expression is computed once"

    def __call__(self, model: ir.Model) -> Rewrites:
        DeduplicateInitializersPass(size_limit=_SMALL)(model)
        first: dict[Hashable, ir.Node] = {}
        applied = []
        for node in list(model.graph):
            key = _key(node)
            if key is None:
                continue
            same = first.setdefault(key, node)
            if same is not node and not any(v.is_graph_output() for v in node.outputs):
                applied.append(f"{label(node)}: the same as {same.outputs[0].name}, merged")
                _merge(model, node, same)
        return Rewrites(tuple(applied))


def _merge(model: ir.Model, node: ir.Node, same: ir.Node) -> None:
    for old, new in zip(node.outputs, same.outputs, strict=True):
        old.replace_all_uses_with(new)
    remove_unused(model, node.outputs[0])


def _key(node: ir.Node) -> Hashable | None:
    """Returns a key that is equal for nodes that compute the same; None for nodes that must not be merged."""
    if is_random(node):
        return None
    attributes = []
    for name, attribute in sorted(node.attributes.items()):
        value = _hashable(attribute)
        if value is None:
            return None
        attributes.append((name, value))
    return node.op_identifier(), tuple(map(id, node.inputs)), tuple(attributes), len(node.outputs)


def _hashable(attribute: ir.Attr) -> Hashable | None:
    kind = attribute.type
    if attribute.is_ref() or kind in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS):
        return None
    if kind == ir.AttributeType.TENSOR:
        tensor = attribute.as_tensor()
        return None if tensor.size > _SMALL else (tuple(tensor.numpy().shape), tensor.dtype, tensor.tobytes())
    if kind in (ir.AttributeType.INTS, ir.AttributeType.FLOATS, ir.AttributeType.STRINGS):
        return tuple(attribute.value)
    return str(attribute.value) if kind in _SCALARS else None


_SCALARS = (ir.AttributeType.INT, ir.AttributeType.FLOAT, ir.AttributeType.STRING)
