"""The first layer at which two graphs differ, and which of its weights do."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from cnntk.exporters.session import Arrays, GraphSession
from cnntk.exporters.shapes.shape_table import layer_table
from cnntk.runtime.artifact.spec import PREPROCESS_SCOPE, Layer
from cnntk.runtime.errors import InferenceError, UnsupportedArtifact

__all__ = ["Divergence", "GraphPair", "WeightDifference"]

ROUNDINGS = 64
"""Limit of a layer's difference by rounding, in steps (eps) of its type, relative to its largest value."""

_WEIGHT_ROUNDINGS = 4
"""Limit of a weight's difference in steps of its type: passes that fold weights round a few times."""

_CHANNEL_AXIS = {"Gemm": 1, "MatMul": -1, "ConvTranspose": 1}
_MAX_CHANNELS = 8
"""Number of channels that are listed."""


@dataclass(frozen=True)
class WeightDifference:
    """A weight that differs between two files.

    Attributes:
        tensor: Name in the first file.
        channels: Output channels that differ, the first 8.
        count: Number of channels that differ.
        error: Largest absolute difference.
    """

    tensor: str
    channels: tuple[int, ...]
    count: int
    error: float

    def __str__(self) -> str:
        listed = ", ".join(map(str, self.channels)) + (", ..." if self.count > len(self.channels) else "")
        return f"{self.tensor}, channel {listed}, by up to {self.error:.3g}"


@dataclass(frozen=True)
class Divergence:
    """A layer that differs between two graphs.

    Attributes:
        layer: Name of the torch module, or of the node.
        op: ONNX operator.
        error: Largest absolute difference of the outputs; NaN where shapes differ, 0 where only weights do.
        bound: Limit of ``error`` by rounding.
        weights: Weights of the layer that differ.
        attributes: Names of the attributes that differ.
    """

    layer: str
    op: str
    error: float
    bound: float
    weights: tuple[WeightDifference, ...]
    attributes: tuple[str, ...]

    def __str__(self) -> str:
        causes = [*map(str, self.weights), *(f"attribute {name}" for name in self.attributes)]
        return f"{self.layer} ({self.op})" + (f": {'; '.join(causes)}" if causes else "")


class GraphPair:
    """Two graphs, compared node by node.

    Nodes are paired along the sequence of operators and weight shapes, as far as it is the same in both.

    Args:
        first: File of the graph whose layers are named.
        second: File of the graph that it is compared with.
        layers: Layers of the first from its spec; computed from the graph where they do not fit it.

    Attributes:
        alike: Whether every node of both graphs has a pair.
    """

    def __init__(self, first: Path, second: Path, layers: tuple[Layer, ...] = ()) -> None:
        self._models = (ir.load(first), ir.load(second))
        nodes, others = (list(model.graph) for model in self._models)
        self._names = _layer_names(self._models[0], layers)
        self._pairs = dict(_aligned(nodes, others))
        self.alike = len(nodes) == len(others) == len(self._pairs)

    def first_divergence(self, inputs: Sequence[Arrays]) -> Divergence | None:
        """The first layer of a difference that reaches an output; None where no layer stands out.

        Args:
            inputs: Batches by name of the first graph's inputs; the second takes them by position.
        """
        errors = self._errors(inputs)
        diverging = {node: not error <= bound for node, (error, bound) in errors.items()}
        reached = _reached(self._models[0].graph.outputs, diverging)
        for node in self._models[0].graph:
            if node in reached and diverging.get(node) and not _diverges_above(node, diverging):
                return self._divergence(node, *errors[node])
        return None

    def weight_differences(self) -> tuple[Divergence, ...]:
        """Layers with weights that differ by more than rounding."""
        layers = (self._divergence(node, 0.0, 0.0) for node in self._pairs)
        return tuple(layer for layer in layers if layer.weights)

    def _divergence(self, node: ir.Node, error: float, bound: float) -> Divergence:
        other = self._pairs[node]
        return Divergence(
            layer=self._names[node],
            op=node.op_type,
            error=error,
            bound=bound,
            weights=tuple(_weights(node, other)),
            attributes=tuple(_attributes(node, other)),
        )

    def _errors(self, batches: Sequence[Arrays]) -> dict[ir.Node, tuple[float, float]]:
        """Error and bound of the first output of each pair."""
        sides = zip(self._models, (list(self._pairs), list(self._pairs.values())), strict=True)
        actual, expected = (_values(model, nodes, batches) for model, nodes in sides)
        errors: dict[ir.Node, tuple[float, float]] = {}
        for first, second in zip(actual, expected, strict=True):
            for node, other in self._pairs.items():
                error = _difference(first[_value(node)], second[_value(other)])
                errors[node] = _worse(errors.get(node, (0.0, 0.0)), error)
        return errors


def _values(model: ir.Model, nodes: Sequence[ir.Node], batches: Sequence[Arrays]) -> list[Arrays]:
    """The first output of each node, by name, for each batch; ``model``'s inputs are taken by position."""
    inputs = [v.name or "" for v in model.graph.inputs if v.name not in model.graph.initializers]
    try:
        session = GraphSession(model, list(dict.fromkeys(map(_value, nodes))))
        return [session.run(dict(zip(inputs, arrays.values(), strict=True))) for arrays in batches]
    except InferenceError as error:
        raise UnsupportedArtifact(f"its inner values can't be computed: {error}") from error


def _layer_names(model: ir.Model, layers: tuple[Layer, ...]) -> dict[ir.Node, str]:
    """Name of the layer of each node; nodes that preprocess images have their own names."""
    nodes = [node for node in model.graph if not (node.name or "").startswith(f"{PREPROCESS_SCOPE}/")]
    fits = [layer.op for layer in layers] == [node.op_type for node in nodes]
    rows = layers if fits else layer_table(model)
    names = {node: row.name for node, row in zip(nodes, rows, strict=False)}
    return {node: names.get(node) or node.name or node.op_type for node in model.graph}


def _aligned(nodes: list[ir.Node], others: list[ir.Node]) -> Iterator[tuple[ir.Node, ir.Node]]:
    matcher = SequenceMatcher(None, [_key(n) for n in nodes], [_key(n) for n in others], autojunk=False)
    for block in matcher.get_matching_blocks():
        yield from zip(
            nodes[block.a : block.a + block.size], others[block.b : block.b + block.size], strict=True
        )


def _key(node: ir.Node) -> tuple[Any, ...]:
    return node.op_type, len(node.inputs), *(tuple(c.shape) for _, c in _constants(node))


def _constants(node: ir.Node) -> Iterator[tuple[str, ir.TensorProtocol]]:
    for value in node.inputs:
        if value is not None and value.is_initializer() and value.const_value is not None:
            yield value.name or "", value.const_value


def _value(node: ir.Node) -> str:
    return node.outputs[0].name or ""


def _reached(outputs: Sequence[ir.Value], diverging: Mapping[ir.Node, bool]) -> set[ir.Node]:
    """Nodes from which a difference reaches an output; nodes that were not compared pass it on."""
    reached: set[ir.Node] = set()
    waiting = [producer for v in outputs if (producer := v.producer()) is not None]
    while waiting:
        node = waiting.pop()
        if node not in reached and diverging.get(node, True):
            reached.add(node)
            waiting.extend(_above(node))
    return reached


def _diverges_above(node: ir.Node, diverging: Mapping[ir.Node, bool]) -> bool:
    """Whether one of the nearest compared nodes above differs."""
    waiting, seen = list(_above(node)), set()
    while waiting:
        parent = waiting.pop()
        if diverging.get(parent):
            return True
        if parent not in diverging and parent not in seen:
            seen.add(parent)
            waiting.extend(_above(parent))
    return False


def _above(node: ir.Node) -> Iterator[ir.Node]:
    for value in node.inputs:
        if value is not None and (producer := value.producer()) is not None:
            yield producer


def _weights(node: ir.Node, other: ir.Node) -> Iterator[WeightDifference]:
    for (name, a), (_, b) in zip(_constants(node), _constants(other), strict=True):
        actual, expected = a.numpy().astype(np.float64), b.numpy().astype(np.float64)
        error = np.abs(actual - expected)
        eps = _eps(a.numpy().dtype)
        wrong = ~(error <= _WEIGHT_ROUNDINGS * eps * np.maximum(np.abs(actual), np.abs(expected)))
        if wrong.any():
            channels = np.unique(np.nonzero(wrong)[_channel_axis(node, wrong.ndim)]) if wrong.ndim else [0]
            first = tuple(int(c) for c in channels[:_MAX_CHANNELS])
            yield WeightDifference(name, first, len(channels), float(error.max()))


def _channel_axis(node: ir.Node, rank: int) -> int:
    if rank < 2 or (
        node.op_type == "Gemm" and "transB" in node.attributes and node.attributes["transB"].as_int()
    ):
        return 0
    return _CHANNEL_AXIS.get(node.op_type, 0)


def _attributes(node: ir.Node, other: ir.Node) -> Iterator[str]:
    for name in dict.fromkeys((*node.attributes, *other.attributes)):
        a, b = node.attributes.get(name), other.attributes.get(name)
        if (
            a is None
            or b is None
            or (a.type not in (ir.AttributeType.GRAPH, ir.AttributeType.TENSOR) and a.value != b.value)
        ):
            yield name


def _difference(a: NDArray[Any], b: NDArray[Any]) -> tuple[float, float]:
    if a.shape != b.shape or a.dtype != b.dtype:
        return math.nan, 0.0
    actual, expected = a.astype(np.float64), b.astype(np.float64)
    scale = float(np.abs(expected).max(initial=0.0))
    return float(np.abs(actual - expected).max(initial=0.0)), ROUNDINGS * _eps(a.dtype) * scale


def _eps(dtype: np.dtype[Any]) -> float:
    return float(np.finfo(dtype).eps) if dtype.kind == "f" else 0.0


def _worse(a: tuple[float, float], b: tuple[float, float]) -> tuple[float, float]:
    """The pair whose error is further above its bound."""
    return a if math.isnan(a[0]) or a[0] - a[1] > b[0] - b[1] else b
