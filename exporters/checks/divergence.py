"""The first node at which a graph leaves its reference."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from cnntk.exporters.checks.check import blame, module_of
from cnntk.exporters.checks.inputs import Trials
from cnntk.exporters.checks.reference import Arrays, Reference
from cnntk.exporters.session import GraphSession, inner_nodes

__all__ = ["LayerError", "first_batch_dependent", "first_divergence", "layer_errors"]

FACTOR = 16.0
"""How many times torch's own error a layer's may be before it is named: wider than the bound on the answers,
because it only points, and errors of single layers scatter more."""


@dataclass(frozen=True)
class LayerError:
    """How far one layer's answer is from float64.

    Attributes:
        layer: torch module or, for what has none, node.
        op: ONNX operator.
        scale: largest absolute value of the reference.
        torch_error: of the source in its own precision.
        onnx_error: of the exported graph, nothing fused.
    """

    layer: str
    op: str
    scale: float
    torch_error: float
    onnx_error: float


def layer_errors(model: ir.Model, reference: Reference, inputs: Arrays) -> tuple[LayerError, ...]:
    """The error of each value that graph and program both name, in the order of the data."""
    return tuple(error for _, error in _compare(model, reference, inputs))


def first_divergence(model: ir.Model, reference: Reference, trials: Trials, eps: float) -> str:
    """``; first at Relu 'relu_1' (module ..., line ...)``; empty where no single node stands out.

    Nodes run as they stand, so that what onnxruntime's fused kernels add is not among them.
    """
    for node, error in _compare(model, reference, trials.batch(2)):
        allowed = FACTOR * max(error.torch_error, 8 * eps * error.scale)
        if not error.onnx_error <= allowed:
            return f"; first at {blame(node)}"
    return ""


def first_batch_dependent(model: ir.Model, trials: Trials, eps: float) -> str:
    """``, first at ...``: the first node whose answer for the first image moves with the batch's others."""
    nodes = inner_nodes(model)
    session = GraphSession(model, list(nodes))
    alone, among = session.run(trials.batch(1)), session.run(trials.batch(3))
    for name, node in nodes.items():
        a, b = alone[name], among[name]
        if a.dtype.kind != "f" or len(a.shape) != len(b.shape) or not len(a.shape):
            continue
        if a.shape[1:] == b.shape[1:] and not _largest(a[:1], b[:1]) <= 1000 * eps * _largest(a):
            return f", first at {blame(node)}"
    return ""


def _compare(model: ir.Model, reference: Reference, inputs: Arrays) -> Iterator[tuple[ir.Node, LayerError]]:
    nodes = inner_nodes(model)
    found, exact, single = GraphSession(model, list(nodes)).run(inputs), Arrays(), Arrays()
    reference.exact(inputs, lambda name, array: _keep(exact, found, name, array))
    reference.single(inputs, lambda name, array: _keep(single, found, name, array))
    for name, node in nodes.items():
        if name in exact and name in single:
            yield (
                node,
                LayerError(
                    layer=module_of(node) or node.name or name,
                    op=node.op_type,
                    scale=_largest(exact[name]),
                    torch_error=_largest(single[name], exact[name]),
                    onnx_error=_largest(found[name], exact[name]),
                ),
            )


def _keep(kept: Arrays, wanted: Arrays, name: str, array: NDArray[Any]) -> None:
    if name in wanted:
        kept[name] = array


def _largest(a: NDArray[Any], b: NDArray[Any] | None = None) -> float:
    """Largest absolute value, or difference; NaN where shapes differ."""
    if b is not None and a.shape != b.shape:
        return float("nan")
    other = np.float64(0) if b is None else b.astype(np.float64)
    return float(np.abs(a.astype(np.float64) - other).max(initial=0.0))
