"""Another opset than the one in which graphs are captured: each node is written as it is there, or refused.

Devices whose runtimes are old take opsets from 11 on, and some of the newest ones want a newer one. What an
operator computes has changed little since opset 11; what has moved between inputs and attributes is moved
here. An operator, attribute or type that does not exist in the opset is refused by name. The checks of the
export run the converted graph.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from onnx import defs, helper

from cnntk.exporters.passes.graph import (
    constant,
    dimensions,
    fresh_name,
    label,
    opset,
    remove_unused,
    remove_unused_nodes,
    replace_node,
)
from cnntk.runtime.artifact.spec import PREPROCESS_SCOPE
from cnntk.runtime.errors import CaptureError

__all__ = ["change_opset", "ir_version_of"]

_END = 2**31
"""Axis beyond all others."""


def ir_version_of(version: int) -> int:
    """Returns the version of the ONNX file format in whose release an opset appeared."""
    return next(row[1] for row in helper.VERSION_TABLE if row[2] == version)


def change_opset(model: ir.Model, target: int) -> None:
    """Writes the graph in the opset ``target``, in place.

    Args:
        model: Graph of a newer or older opset.
        target: Version of the standard operators, 11 to 25.

    Raises:
        CaptureError: An operator, or one of its attributes, inputs or types, does not exist there, or it
            computes something else; the message names the node.
    """
    current = opset(model)
    if current == target:
        return
    for node in list(model.graph.all_nodes()):
        if node.domain == "" and node.op_type != "Constant":
            _Conversion(model, node, current, target).run()
    remove_unused_nodes(model)
    for value in [v for v in model.graph.initializers.values() if not v.uses() and not v.is_graph_output()]:
        del model.graph.initializers[str(value.name)]
    model.graph.opset_imports[""] = target
    model.ir_version = ir_version_of(target)


class _Conversion:
    """One node on its way to another opset."""

    def __init__(self, model: ir.Model, node: ir.Node, current: int, target: int) -> None:
        self.model, self.node, self.target = model, node, target
        self.before = defs.get_schema(node.op_type, max_inclusive_version=current)
        self._versions = sorted(
            schema.since_version
            for schema in defs.get_all_schemas_with_history()
            if schema.name == node.op_type and not schema.domain
        )

    def run(self) -> None:
        """Changes the node, or refuses it."""
        name = self.node.op_type
        if self._versions[0] > self.target and name in _REPLACEMENTS:
            _REPLACEMENTS[name](self)
            return
        if self._versions[0] > self.target:
            raise self.refusal(name, self._versions[0])
        after = defs.get_schema(name, max_inclusive_version=self.target)
        if after.deprecated:
            raise self.refusal(f"{name}, which opset {after.since_version} removed", None)
        if after.since_version == self.before.since_version:
            return
        if name in _ADAPTERS:
            _ADAPTERS[name](self, after)
        if self.node.graph is None:  # others took its place
            return
        self._drop_defaults(after)
        self._check_inputs(after)

    def refusal(self, what: str, since: int | None) -> CaptureError:
        """The error about something that the opset does not have."""
        lowest = f", which exists from opset {since} on" if since else ""
        advice = f"use --opset {since} or newer" if since else "use another opset"
        if (self.node.name or "").startswith(f"{PREPROCESS_SCOPE}/"):
            advice += ", or --static-size or --preprocess host, by which images are resized before the graph"
        return CaptureError(
            f"--opset {self.target}: {label(self.node)} needs {what}{lowest}; {advice}. Nothing was written"
        )

    def since(self, has: Callable[[defs.OpSchema], bool]) -> int | None:
        """The first version of the operator from which on ``has`` is true."""
        schemas = [defs.get_schema(self.node.op_type, version) for version in self._versions]
        return next((schema.since_version for schema in schemas if has(schema)), None)

    def constant(self, numbers: Sequence[float], dtype: Any, name: str) -> ir.Value:
        """The output of a new Constant node before the node."""
        node = ir.node("Constant", [], {"value": ir.tensor(np.array(numbers, dtype))})
        self.insert(node, name)
        return node.outputs[0]

    def insert(self, node: ir.Node, name: str) -> None:
        """Puts a new node before the node, in the same graph."""
        node.outputs[0].name = node.name = fresh_name(self.model.graph, f"{self.node.outputs[0].name}_{name}")
        if self.node.graph is None:
            raise ValueError(f"{label(self.node)}: the node is in no graph")
        self.node.graph.insert_before(self.node, node)

    def _drop_defaults(self, after: defs.OpSchema) -> None:
        """Removes attributes that the other version does not have, where they have no effect."""
        for name, attribute in list(self.node.attributes.items()):
            if name in after.attributes:
                continue
            declared = self.before.attributes.get(name)
            value = attribute.value
            default = helper.get_attribute_value(declared.default_value) if declared else None
            if value != (default.decode() if isinstance(default, bytes) else default):
                text = f"{self.node.op_type} with {name}={value}"
                raise self.refusal(text, self.since(functools.partial(_has_attribute, name=name)))
            del self.node.attributes[name]

    def _check_inputs(self, after: defs.OpSchema) -> None:
        inputs, operator = self.node.inputs, self.node.op_type
        if len(inputs) > after.max_input:

            def has_inputs(schema: defs.OpSchema) -> bool:
                return int(schema.max_input) >= len(inputs)

            raise self.refusal(f"{operator} with {len(inputs)} inputs", self.since(has_inputs))
        for index, value in enumerate(inputs):
            if value is None or value.dtype is None:
                continue
            dtype = value.dtype.name.lower()
            takes = functools.partial(_takes_type, index=index, dtype=dtype)
            if not takes(after):
                raise self.refusal(f"{operator} of {dtype}", self.since(takes))


def _has_attribute(schema: defs.OpSchema, name: str) -> bool:
    return name in schema.attributes


def _takes_type(schema: defs.OpSchema, index: int, dtype: str) -> bool:
    """Whether an operator's input, or the last of a variable number, may have a type."""
    types = schema.inputs[min(index, len(schema.inputs) - 1)].types
    return f"tensor({dtype})" in types


def _axes_to_attribute(conversion: _Conversion, after: defs.OpSchema) -> None:
    """Axes of reductions, Squeeze and Unsqueeze were an attribute."""
    node = conversion.node
    if "axes" not in after.attributes or len(node.inputs) < 2:
        return
    axes = None if node.inputs[1] is None else constant(node.inputs[1])
    if node.inputs[1] is not None and axes is None:
        raise conversion.refusal(f"{node.op_type} with computed axes", conversion.since(_takes_axes))
    is_empty = axes is None or not axes.size
    if is_empty and node.attributes.get_int("noop_with_empty_axes", 0) != 0:
        raise conversion.refusal(f"{node.op_type} without axes", conversion.since(_takes_axes))
    node.resize_inputs(1)
    if axes is not None and axes.size:
        node.attributes["axes"] = ir.AttrInt64s("axes", [int(axis) for axis in axes])


def _takes_axes(schema: defs.OpSchema) -> bool:
    return "axes" not in schema.attributes


def _split(conversion: _Conversion, after: defs.OpSchema) -> None:
    """The sizes of a Split: from their number, and from an input to an attribute."""
    node = conversion.node
    sizes = constant(node.inputs[1]) if len(node.inputs) > 1 and node.inputs[1] is not None else None
    if sizes is None and "num_outputs" not in after.attributes and "num_outputs" in node.attributes:
        shape, count = dimensions(node.inputs[0]) or (), len(node.outputs)
        length = shape[node.attributes.get_int("axis", 0)] if shape else None
        if not isinstance(length, int):
            raise conversion.refusal("Split of an unknown size", conversion.since(_has_num_outputs))
        each = -(-length // count)
        sizes = np.array([min(each, length - each * i) for i in range(count)], np.int64)
        if "split" not in after.attributes:
            node.resize_inputs(2)
            node.replace_input_with(1, conversion.constant(sizes.tolist(), np.int64, "sizes"))
    node.attributes.pop("num_outputs", None)
    if "split" in after.attributes and sizes is not None:
        node.resize_inputs(1)
        node.attributes["split"] = ir.AttrInt64s("split", [int(size) for size in sizes])


def _has_num_outputs(schema: defs.OpSchema) -> bool:
    return "num_outputs" in schema.attributes


def _last_axis(conversion: _Conversion, after: defs.OpSchema) -> None:
    """Softmax before opset 13 was over all axes from ``axis`` on: the same only for the last."""
    node = conversion.node
    rank, axis = len(node.inputs[0].shape or ()) if node.inputs[0] else 0, node.attributes.get_int("axis", -1)
    if after.since_version < 13 <= conversion.before.since_version:
        if axis not in (-1, rank - 1):
            raise conversion.refusal(f"{node.op_type} over another axis than the last", 13)
        node.attributes["axis"] = ir.AttrInt64("axis", -1 if not rank else rank - 1)


def _pad_axes(conversion: _Conversion, after: defs.OpSchema) -> None:
    """Pads of some axes become pads of all."""
    node = conversion.node
    if len(node.inputs) < 4 or after.max_input >= 4:
        return
    pads, axes = constant(node.inputs[1]), None if node.inputs[3] is None else constant(node.inputs[3])
    rank = len(node.inputs[0].shape) if node.inputs[0] and node.inputs[0].shape is not None else None
    if node.inputs[3] is not None:
        if pads is None or axes is None or rank is None:
            raise conversion.refusal("Pad with computed axes", 18)
        all_pads = np.zeros(2 * rank, np.int64)
        for index, axis in enumerate(axes):
            all_pads[axis % rank], all_pads[rank + axis % rank] = pads[index], pads[len(axes) + index]
        node.replace_input_with(1, conversion.constant(all_pads.tolist(), np.int64, "pads"))
    node.resize_inputs(3)


def _resize(conversion: _Conversion, after: defs.OpSchema) -> None:
    """A Resize before opset 13 needs its inputs ``roi`` and ``scales``, which may be empty."""
    node = conversion.node
    if after.since_version < 13:
        for index, name in ((1, "roi"), (2, "scales")):
            if len(node.inputs) > index and node.inputs[index] is None:
                node.replace_input_with(index, conversion.constant([], np.float32, name))


def _shape_of_part(conversion: _Conversion, after: defs.OpSchema) -> None:
    """A Shape of some axes becomes a Slice of the whole."""
    node = conversion.node
    start = node.attributes.get_int("start", 0)
    end = node.attributes.get_int("end", _END)
    if "start" in after.attributes:
        return
    for name in ("start", "end"):
        node.attributes.pop(name, None)
    if (start, end) == (0, _END):
        return
    shape = ir.node("Shape", [node.inputs[0]])
    conversion.insert(shape, "shape")
    limits = [conversion.constant([n], np.int64, name) for n, name in ((start, "start"), (end, "end"))]
    replace_node(node.outputs[0], "Slice", [shape.outputs[0], *limits])
    remove_unused(conversion.model, node.outputs[0])


def _hard_swish(conversion: _Conversion) -> None:
    """``x * HardSigmoid(x)`` with a slope of 1/6, which is how ONNX defines it."""
    node = conversion.node
    gate = ir.node("HardSigmoid", [node.inputs[0]], {"alpha": 1 / 6, "beta": 0.5})
    conversion.insert(gate, "gate")
    replace_node(node.outputs[0], "Mul", [node.inputs[0], gate.outputs[0]])
    remove_unused(conversion.model, node.outputs[0])


def _reshape(conversion: _Conversion, after: defs.OpSchema) -> None:
    """``allowzero`` has no effect on a shape without zeros."""
    node = conversion.node
    shape = constant(node.inputs[1])
    if "allowzero" not in after.attributes and shape is not None and shape.all():
        node.attributes.pop("allowzero", None)


def _no_group_norm(conversion: _Conversion, after: defs.OpSchema) -> None:
    raise conversion.refusal("GroupNormalization, whose scale has another size there", None)


_Adapter = Callable[[_Conversion, defs.OpSchema], None]

_REDUCTIONS = ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare")

_ADAPTERS: dict[str, _Adapter] = {
    **{f"Reduce{name}": _axes_to_attribute for name in _REDUCTIONS},
    "Squeeze": _axes_to_attribute,
    "Unsqueeze": _axes_to_attribute,
    "Split": _split,
    "Softmax": _last_axis,
    "LogSoftmax": _last_axis,
    "Pad": _pad_axes,
    "Resize": _resize,
    "Shape": _shape_of_part,
    "Reshape": _reshape,
    "GroupNormalization": _no_group_norm,
}

_REPLACEMENTS: dict[str, Callable[[_Conversion], None]] = {"HardSwish": _hard_swish}
