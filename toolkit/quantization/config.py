"""Which layer is computed how: what a quantized model is made by, and what is written down of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import onnx_ir as ir

from cnntk.exporters.shapes.dataflow import weight_of
from cnntk.runtime.errors import UsageError

__all__ = ["KINDS", "Kind", "LayerPlan", "Recipe", "Target", "linear_layers", "plan"]

Kind = Literal["float32", "float16", "bfloat16", "int8", "int4"]
Target = Literal["any", "vnni"]

KINDS: tuple[Kind, ...] = ("float32", "float16", "bfloat16", "int8", "int4")

_LARGE = 1 << 17
"""Weights of a fully connected layer from which its time is that of reading them."""

_FOUR_BITS = 1 << 20
"""Weights from which halving them once more is worth what it costs in accuracy."""

_SMALL_CONV = 1 << 10
"""Weights of a convolution below which converting its input costs more than integers win."""


@dataclass(frozen=True)
class LayerPlan:
    """How one layer is computed.

    Attributes:
        kind: ``int8``: a convolution in 8-bit integers, or a fully connected layer with 8-bit weights;
            ``int4``: a fully connected layer with 4-bit weights in blocks; ``float16`` and ``bfloat16``: its
            weights are stored so, and become float32 when the model is loaded; ``float32``: as it was.
        reason: why; for a person.
    """

    kind: Kind
    reason: str = ""


@dataclass(frozen=True)
class Recipe:
    """How each linear layer is computed.

    Attributes:
        layers: by the name of the graph's node, in the order of the graph.
        target: ``any``: no 16-bit sum can saturate, so that every CPU gives the same answers; ``vnni``: all
            8 bits of the weights are used, which CPUs without VNNI get wrong.
        corrected: whether biases make good what rounding the weights shifts on average.
        equalized: whether channels between layers are brought to like size first.
    """

    layers: Mapping[str, LayerPlan]
    target: Target = "any"
    corrected: bool = False
    equalized: bool = False

    def with_kind(self, name: str, kind: Kind, reason: str) -> Recipe:
        """The recipe with one layer computed otherwise.

        Raises:
            UsageError: there is no such layer or kind.
        """
        if name not in self.layers or kind not in KINDS:
            raise UsageError(
                f"layer {name!r} as {kind!r}: expected one of {', '.join(self.layers)}, as {KINDS}"
            )
        return replace(self, layers={**self.layers, name: LayerPlan(kind, reason)})

    @property
    def is_float(self) -> bool:
        """Whether nothing is quantized."""
        return all(layer.kind == "float32" for layer in self.layers.values())

    def to_json(self) -> dict[str, Any]:
        """As JSON data."""
        return {
            "target": self.target,
            "corrected": self.corrected,
            "equalized": self.equalized,
            "layers": {name: asdict(layer) for name, layer in self.layers.items()},
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Recipe:
        """From what `to_json` gave."""
        layers = {name: LayerPlan(**layer) for name, layer in data["layers"].items()}
        return cls(layers, data["target"], data["corrected"], data["equalized"])


def linear_layers(model: ir.Model) -> tuple[ir.Node, ...]:
    """The convolutions and fully connected layers with constant weights, in the graph's order."""
    return tuple(
        node
        for node in model.graph
        if not node.domain
        and node.op_type in ("Conv", "Gemm", "MatMul")
        and weight_of(node) is not None
        and node.name
    )


def plan(model: ir.Model, target: Target = "any") -> Recipe:
    """What to try first: convolutions in int8, large fully connected layers in int4, the last layer in float.

    The last layer's errors go straight into the answers, and it is seldom large.
    """
    layers = linear_layers(model)
    return Recipe({str(n.name): _planned(n, last=n is layers[-1]) for n in layers}, target)


def _planned(node: ir.Node, *, last: bool) -> LayerPlan:
    weight = weight_of(node)
    size = 0 if weight is None else int(weight.size)
    if node.op_type == "Conv":
        if size < _SMALL_CONV:
            return LayerPlan("float32", f"only {size} weights: converting its input would cost more")
        return LayerPlan("int8", "a convolution")
    if size < _LARGE:
        return LayerPlan("float32", f"only {size} weights")
    if last or size < _FOUR_BITS:
        return LayerPlan("int8", "the last layer" if last else f"{size} weights")
    return LayerPlan("int4", f"{size} weights: its time is that of reading them")
