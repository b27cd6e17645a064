"""Changes of an exported graph that a check must find: of its weights, its nodes and its preprocessing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx_ir as ir

from cnntk.runtime.artifact.spec import Preprocessing

__all__ = ["WEIGHT_EDITS", "Mutation", "node_mutations", "weight_mutations"]

Change = Callable[[ir.Model], bool]
"""Changes a graph in place; False where the graph has nothing to change."""


@dataclass(frozen=True)
class Mutation:
    """A change, of the graph or of the preprocessing in the spec."""

    name: str
    kind: str
    change: Change = lambda _: True
    spec: Callable[[Preprocessing], Preprocessing] | None = None


def weight_mutations(model: ir.Model) -> Iterator[Mutation]:
    """Changes of each weight tensor of the network."""
    for name, value in model.graph.initializers.items():
        tensor = value.const_value
        if tensor is None or tensor.dtype is not ir.DataType.FLOAT or name.startswith("preprocess/"):
            continue
        for label, edit in WEIGHT_EDITS.items():
            if len(tensor.shape) < MIN_AXES.get(label, 0):
                continue
            yield Mutation(f"{name}: {label}", label, _edit(name, edit))


def _edit(name: str, edit: Callable[[np.ndarray], None]) -> Change:
    def change(model: ir.Model) -> bool:
        value = model.graph.initializers.get(name)
        if value is None or value.const_value is None:
            return False
        before = value.const_value.numpy()
        after = before.copy()
        edit(after)
        value.const_value = ir.Tensor(after, name=name)
        return not np.array_equal(before.view(np.uint32), after.view(np.uint32))

    return change


def _off_by_one_percent(array: np.ndarray) -> None:
    array *= np.float32(1.01)


def _smallest_off(array: np.ndarray) -> None:
    array.reshape(-1)[np.argmin(np.abs(array))] *= np.float32(1.01)


def _one_bit(array: np.ndarray) -> None:
    array.reshape(-1).view(np.uint32)[array.size * 2 // 3] ^= 1


def _high_bit(array: np.ndarray) -> None:
    array.reshape(-1).view(np.uint32)[array.size // 3] ^= 1 << 20


def _swapped(array: np.ndarray) -> None:
    array[[0, -1]] = array[[-1, 0]]


def _pruned(array: np.ndarray) -> None:
    array[len(array) // 2] = 0


def _transposed(array: np.ndarray) -> None:
    if array.shape[-1] == array.shape[-2]:
        array[:] = array.swapaxes(-1, -2).copy()


WEIGHT_EDITS = {
    "1 % off": _off_by_one_percent,
    "its smallest number 1 % off": _smallest_off,
    "the lowest bit of one number": _one_bit,
    "a high bit of one number": _high_bit,
    "two channels swapped": _swapped,
    "a channel pruned": _pruned,
    "transposed": _transposed,
}
MIN_AXES = {"two channels swapped": 1, "a channel pruned": 1, "transposed": 2}


def _nodes(model: ir.Model, operator: str) -> list[ir.Node]:
    return [node for node in model.graph if node.op_type == operator and not node.domain]


def attribute(operator: str, name: str, new: Callable[[Any], Any], default: Any, number: int = 0) -> Mutation:
    """A change of an attribute of the ``number``-th node of an operator."""

    def change(model: ir.Model) -> bool:
        nodes = _nodes(model, operator)
        if len(nodes) <= number:
            return False
        node = nodes[number]
        old = node.attributes[name].value if name in node.attributes else default
        wrong = new(list(old) if isinstance(old, list | tuple) else old)
        if wrong == (list(old) if isinstance(old, list | tuple) else old):
            return False
        node.attributes[name] = ir.convenience.convert_attribute(name, wrong)
        return True

    return Mutation(f"{operator} {number}: another {name}", f"{operator}: {name}", change)


def operator(before: str, after: str, number: int = 0, **attributes: Any) -> Mutation:
    """Another operator in place of the ``number``-th node of one; its own attributes stay."""

    def change(model: ir.Model) -> bool:
        nodes = _nodes(model, before)
        if len(nodes) <= number:
            return False
        nodes[number].op_type = after
        for name, value in attributes.items():
            nodes[number].attributes.pop(name, None)
            if value is not None:
                nodes[number].attributes[name] = ir.convenience.convert_attribute(name, value)
        return True

    return Mutation(f"{before} {number}: {after} instead", f"{before} as {after}", change)


def inserted(kind: str, find: Callable[[ir.Model], ir.Value | None], new: str, **attributes: Any) -> Mutation:
    """A node more behind a value."""

    def change(model: ir.Model) -> bool:
        value = find(model)
        if value is None:
            return False
        uses = list(value.uses())  # before the new node is one
        node = ir.node(new, [value], attributes)
        node.outputs[0].type, node.outputs[0].shape = value.type, value.shape
        for use in uses:
            use.node.replace_input_with(use.idx, node.outputs[0])
        producer = value.producer()
        if producer is None:
            model.graph.insert_before(next(iter(model.graph)), node)
        else:
            model.graph.insert_after(producer, node)
        if value.is_graph_output():
            name = value.name
            model.graph.outputs[list(model.graph.outputs).index(value)] = node.outputs[0]
            value.name, node.outputs[0].name = f"{name}_before", name
        return True

    return Mutation(kind, kind, change)


def _pixels(model: ir.Model) -> ir.Value | None:
    """The network's input."""
    casts = [n for n in _nodes(model, "Cast") if str(n.name).startswith("preprocess/")]
    if casts:
        return casts[-1].outputs[0]
    first = model.graph.inputs[0]
    return first if first.dtype is ir.DataType.FLOAT else None


def _output(name: str) -> Callable[[ir.Model], ir.Value | None]:
    return lambda model: next((v for v in model.graph.outputs if v.name == name), None)


def _first(operator_name: str) -> Callable[[ir.Model], ir.Value | None]:
    return lambda model: next((n.outputs[0] for n in _nodes(model, operator_name)), None)


def constant(prefix: str, factor: float, offset: float = 0) -> Mutation:
    """Another number in a constant of the preprocessing."""

    def change(model: ir.Model) -> bool:
        for name, value in model.graph.initializers.items():
            if name.startswith(prefix) and value.const_value is not None:
                array = value.const_value.numpy()
                value.const_value = ir.Tensor((array * factor + offset).astype(array.dtype), name=name)
                return True
        return False

    return Mutation(f"{prefix} * {factor} + {offset}", "a constant of the preprocessing", change)


def _shifted(pads: list[int]) -> list[int]:
    """One pixel less before and one more after: the output has the same size."""
    half = len(pads) // 2
    return [pads[0] - 1, *pads[1:half], pads[half] + 1, *pads[half + 1 :]] if pads and pads[0] else pads


def node_mutations() -> Iterator[Mutation]:
    """Changes of nodes; networks have some of them."""
    for i in range(4):
        yield attribute("Conv", "pads", _shifted, [], i)
        yield attribute("Conv", "strides", lambda s: [3 - n for n in s] if max(s) < 3 else s, [1, 1], i)
        yield attribute("Conv", "dilations", lambda d: [n + 1 for n in d], [1, 1], i)
        yield operator("Relu", "Identity", i)
        yield operator("Relu", "LeakyRelu", i)
        yield operator("Sigmoid", "HardSigmoid", i)
        yield attribute("Gemm", "alpha", lambda a: a * 1.001, 1.0, i)
        yield attribute("Gemm", "transB", lambda t: 1 - t, 0, i)
        yield operator("Add", "Sub", i)
        yield operator("Mul", "Add", i)
    for pool in ("MaxPool", "AveragePool"):
        yield attribute(pool, "pads", _shifted, [])
        yield attribute(pool, "strides", lambda s: [n + 1 for n in s], [1, 1])
        yield attribute(pool, "ceil_mode", lambda c: 1 - c, 0)
    yield attribute("AveragePool", "count_include_pad", lambda c: 1 - c, 0)
    yield operator("MaxPool", "AveragePool", dilations=None, storage_order=None)
    yield operator("AveragePool", "MaxPool", count_include_pad=None)
    yield operator("ReduceMean", "ReduceMax")
    yield attribute("LeakyRelu", "alpha", lambda a: a * 1.01, 0.01)
    yield attribute("Gelu", "approximate", lambda _: "tanh", "none")
    yield attribute("LayerNormalization", "epsilon", lambda e: e * 100, 1e-5)
    yield attribute("ConvTranspose", "strides", lambda s: [n + 1 for n in s], [1, 1])
    yield attribute("Softmax", "axis", lambda _: 0, -1)
    yield attribute("Flatten", "axis", lambda _: 2, 1)
    yield inserted("a second softmax", _output("probabilities"), "Softmax", axis=-1)
    yield inserted("a softmax as logits", _output("logits"), "Softmax", axis=-1)
    yield inserted("transposed inputs", _pixels, "Transpose", perm=[0, 1, 3, 2])
    yield inserted("a feature map transposed", _first("Conv"), "Transpose", perm=[0, 1, 3, 2])
    yield inserted("a ReLU more", _first("Gemm"), "Relu")
    yield from preprocessing_mutations()


def preprocessing_mutations() -> Iterator[Mutation]:
    """Changes of the nodes that prepare images, and of the preprocessing in the spec."""
    yield attribute("Resize", "exclude_outside", lambda e: 1 - e, 0)
    yield attribute("Resize", "antialias", lambda a: 1 - a, 0)
    yield attribute("Resize", "mode", lambda m: "linear" if m == "cubic" else "cubic", "nearest")
    yield attribute("Resize", "cubic_coeff_a", lambda _: -0.75, -0.75)
    for mode in ("align_corners", "asymmetric"):
        yield attribute("Resize", "coordinate_transformation_mode", lambda _, m=mode: m, "half_pixel")
    for name in ("less_mean_by", "normalized_by", "middle", "light", "border", "bgr"):
        yield constant(f"preprocess/{name}", 1, 1) if name == "bgr" else constant(f"preprocess/{name}", 1.01)
    yield constant("preprocess/resized_size", 1, 1)
    yield constant("preprocess/cropped_size", 1, 2)
    yield constant("preprocess/area", 1, 1)
    for fields in ("mean", "std"):
        yield Mutation(
            f"spec: {fields} 1 % off",
            f"spec: {fields}",
            spec=lambda p, f=fields: replace(p, **{f: tuple(1.01 * v + 1e-4 for v in getattr(p, f))}),
        )
    yield Mutation("spec: scale", "spec: scale", spec=lambda p: replace(p, scale=p.scale * 1.01))
    yield Mutation(
        "spec: another filter",
        "spec: filter",
        spec=lambda p: replace(p, interpolation="bilinear" if p.interpolation == "bicubic" else "bicubic"),
    )
    yield Mutation("spec: inverted", "spec: inversion", spec=lambda p: replace(p, invert="always"))
