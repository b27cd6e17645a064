"""Normalizes pixel values, ``(value - shift) * factor``, and folds what it can into the first layer.

A convolution's weights can always take the factor. Its bias can take the shift only where the convolution
does not pad: its zeros mean "0 after normalization", which no bias can produce. There ``value - shift`` stays
a node, a subtraction of the mean in pixel values, and the zeros stay correct.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from cnntk.exporters.passes.affine import Affine, fold
from cnntk.exporters.passes.graph import label
from cnntk.exporters.passes.infra import Rewrites
from cnntk.exporters.passes.origins import Origin
from cnntk.exporters.preprocessing._inversion import MIDDLE
from cnntk.exporters.preprocessing._node_builder import FLOAT, NodeBuilder
from cnntk.runtime.artifact.spec import Preprocessing

Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class Normalization:
    """The map ``(value - shift) * factor`` of the values that represent pixels in the graph.

    Shift and factor have one number per channel, along ``axis``; ``black`` is the value of black.
    """

    shift: Float64
    factor: Float64
    black: float
    axis: int


def normalization_of(p: Preprocessing) -> Normalization:
    """Returns ``((pixel * scale) - mean) / std`` as a map of the values that represent pixels in the graph.

    Inverted pixels are ``255 - value``, which adds no node here; those of `inversion` are less `MIDDLE`.
    """
    mean, factor = np.array(p.mean) / p.scale, p.scale / np.array(p.std)
    axis = 1 if p.layout == "NCHW" else 3
    if p.invert == "always":
        return Normalization(255 - mean, -factor, 255.0, axis)
    if p.invert == "light-background":
        return Normalization(mean - MIDDLE, factor, -MIDDLE, axis)
    return Normalization(mean, factor, 0.0, axis)


def normalize(builder: NodeBuilder, value: ir.Value, n: Normalization) -> ir.Value:
    """Adds Sub and Mul, each where it changes something."""
    steps: tuple[tuple[Literal["Sub", "Mul"], Float64, float, str], ...] = (
        ("Sub", n.shift, 0.0, "less_mean"),
        ("Mul", n.factor, 1.0, "normalized"),
    )
    for operator, numbers, neutral, name in steps:
        if (numbers != neutral).any():
            constant = builder.constant(f"{name}_by", _broadcast(numbers, n.axis), FLOAT)
            value = builder.add(operator, [value, constant], name=name)
    return value


def _broadcast(numbers: Float64, axis: int) -> Float64:
    """Returns one number for all channels where they agree, which is much faster on the last axis."""
    if (numbers == numbers[0]).all():
        return numbers[:1].reshape(())
    return numbers.reshape(-1, 1, 1) if axis == 1 else numbers


class FoldNormalization:
    """Moves the nodes of `normalize` into the layer after them: the factor, then the shift."""

    name = "normalization into the first layer"
    reason = "its weights can scale and shift without extra cost"

    def __init__(self, nodes: list[ir.Node], n: Normalization) -> None:
        self._nodes = [node.name for node in reversed(nodes)]
        self._n = n

    def __call__(self, model: ir.Model) -> Rewrites:
        applied: list[str] = []
        skipped: list[str] = []
        for name in self._nodes:
            node = next(node for node in model.graph if node.name == name)
            line_count = len(applied) + len(skipped)
            fold(model, node, self._read, applied, skipped)
            if len(applied) + len(skipped) == line_count:
                users = ", ".join(sorted({u.node.op_type for u in node.outputs[0].uses()})) or "nothing"
                skipped.append(f"{label(node)}: the network begins with {users}, not a linear layer")
            if skipped:
                break
        return Rewrites(tuple(applied), tuple(skipped))

    def _read(self, node: ir.Node, axis: int, channels: int) -> tuple[ir.Value, Affine] | None:
        value, n = node.inputs[0], self._n
        if value is None or axis % 4 != n.axis or channels != len(n.shift):
            return None
        one, zero = np.ones(1), np.zeros(1)
        if node.op_type == "Sub":
            return value, Affine(one, -n.shift, Origin("normalization", "shift"))
        return value, Affine(n.factor, zero, Origin("normalization", "factor"))
