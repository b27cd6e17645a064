"""Levels to the network's range, ``(value - shift) * factor``, and what of it the first layer can take over.

A convolution's weights can always take the factor. Its bias can take the shift only where the convolution
does not pad: its zeros mean "0 after normalization", which no bias can make of them. There ``value - shift``
stays a node, a subtraction of the mean in levels, and the zeros stay right.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from cnntk.exporters.passes.affine import fold
from cnntk.exporters.passes.graph import dimensions, label
from cnntk.exporters.passes.infra import Rewrites
from cnntk.exporters.passes.linear import Affine
from cnntk.exporters.preprocessing.inversion import MIDDLE
from cnntk.exporters.preprocessing.node_builder import FLOAT, Dims, NodeBuilder
from cnntk.runtime.artifact.spec import Preprocessing

__all__ = ["FoldNormalization", "Normalization", "normalization_of", "normalize"]

Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class Normalization:
    """``(value - shift) * factor``, where the value is what the graph has of a level.

    Attributes:
        shift: one a channel.
        factor: one a channel.
        black: the value of level 0.
        axis: of the channels.
    """

    shift: Float64
    factor: Float64
    black: float
    axis: int


def normalization_of(p: Preprocessing) -> Normalization:
    """``((level * scale) - mean) / std`` for the values that stand for levels in the graph.

    Inverted levels are ``255 - value``, which costs nothing here; those of `inversion` are less `MIDDLE`.
    """
    levels, factor = np.array(p.mean) / p.scale, p.scale / np.array(p.std)
    axis = 1 if p.layout == "NCHW" else 3
    if p.invert == "always":
        return Normalization(255 - levels, -factor, 255.0, axis)
    if p.invert == "light-background":
        return Normalization(levels - MIDDLE, factor, -MIDDLE, axis)
    return Normalization(levels, factor, 0.0, axis)


def normalize(builder: NodeBuilder, value: ir.Value, n: Normalization) -> ir.Value:
    """Sub and Mul, each where it does something."""
    dims: Dims = tuple(d if isinstance(d, int) else str(d) for d in dimensions(value) or ())
    steps: tuple[tuple[Literal["Sub", "Mul"], Float64, float, str], ...] = (
        ("Sub", n.shift, 0.0, "less_mean"),
        ("Mul", n.factor, 1.0, "normalized"),
    )
    for operator, numbers, nothing, name in steps:
        if (numbers != nothing).any():
            constant = builder.constant(f"{name}_by", _broadcast(numbers, n.axis), FLOAT)
            value = builder.add(operator, [value, constant], name=name, dtype=FLOAT, shape=dims)
    return value


def _broadcast(numbers: Float64, axis: int) -> Float64:
    """One number for all channels where they agree: on the last axis that is much faster."""
    if (numbers == numbers[0]).all():
        return numbers[:1].reshape(())
    return numbers.reshape(-1, 1, 1) if axis == 1 else numbers


class FoldNormalization:
    """Moves the nodes of `normalize` into the layer behind them: the factor, then the shift.

    Args:
        nodes: of `normalize`.
        n: what they do.
    """

    name = "normalization into the first layer"
    reason = "its weights can scale and shift at no cost"

    def __init__(self, nodes: list[ir.Node], n: Normalization) -> None:
        self._nodes = [node.name for node in reversed(nodes)]
        self._n = n

    def __call__(self, model: ir.Model) -> Rewrites:
        applied: list[str] = []
        skipped: list[str] = []
        for name in self._nodes:
            node = next(node for node in model.graph if node.name == name)
            known = len(applied) + len(skipped)
            fold(model, node, self._read, applied, skipped)
            if len(applied) + len(skipped) == known:
                users = ", ".join(sorted({u.node.op_type for u in node.outputs[0].uses()})) or "nothing"
                skipped.append(f"{label(node)}: the network begins with {users}, no linear layer")
            if skipped:
                break
        return Rewrites(tuple(applied), tuple(skipped))

    def _read(self, node: ir.Node, axis: int, channels: int) -> tuple[ir.Value, Affine] | None:
        given, n = node.inputs[0], self._n
        if given is None or axis % 4 != n.axis or channels != len(n.shift):
            return None
        one, zero = np.ones(1), np.zeros(1)
        return given, Affine(one, -n.shift) if node.op_type == "Sub" else Affine(n.factor, zero)
