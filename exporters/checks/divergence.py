"""Errors of inner values: the first node at which a graph differs from its reference."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from cnntk.exporters.checks._candidate import Candidate
from cnntk.exporters.checks.reference import Visitor
from cnntk.exporters.session import Arrays, GraphSession, inner_nodes
from cnntk.exporters.shapes.dataflow import module_of, node_origin

__all__ = ["LayerError", "first_batch_dependent", "first_divergence", "layer_errors"]

FACTOR = 16.0
"""Limit of a layer's error in errors of torch before the layer is named: wider than the limit of the outputs,
because errors of single layers scatter more, and it only points at a cause."""


@dataclass(frozen=True)
class LayerError:
    """Error of one layer's output against the reference in float64.

    Attributes:
        layer: Name of the torch module; of the node, where it comes from no module.
        op: ONNX operator.
        scale: Largest absolute value of the reference.
        torch_error: Largest absolute error of the source in its own precision.
        onnx_error: Largest absolute error of the exported graph, run node by node.
    """

    layer: str
    op: str
    scale: float
    torch_error: float
    onnx_error: float


def layer_errors(candidate: Candidate) -> tuple[LayerError, ...]:
    """Error of each value that is in the graph and in the reference, in topological order, on one image."""
    return tuple(error for _, error in _compare(candidate, candidate.inputs.batch(1)))


def first_divergence(candidate: Candidate) -> str:
    """``; first at Relu 'relu_1' (module ..., line ...)``; empty where no single node stands out.

    Nodes run one by one, so that the rounding of onnxruntime's fused kernels is not included.
    """
    for node, error in _compare(candidate, candidate.inputs.batch(2)):
        bound = FACTOR * max(error.torch_error, 8 * candidate.eps * error.scale)
        if not error.onnx_error <= bound:
            return f"; first at {node_origin(node)}"
    return ""


def first_batch_dependent(candidate: Candidate) -> str:
    """``, first at ...``: the first node whose value for the first image changes with the rest of the batch;
    empty where no single node stands out.
    """
    nodes = inner_nodes(candidate.model)
    session = GraphSession(candidate.model, list(nodes))
    alone, in_batch = (session.run(candidate.inputs.batch(size)) for size in (1, 3))
    for name, node in nodes.items():
        a, b = alone[name], in_batch[name]
        if a.dtype.kind != "f" or len(a.shape) != len(b.shape) or not len(a.shape):
            continue
        if a.shape[1:] == b.shape[1:] and not _largest(a[:1], b[:1]) <= 1000 * candidate.eps * _largest(a):
            return f", first at {node_origin(node)}"
    return ""


def _compare(candidate: Candidate, inputs: Arrays) -> Iterator[tuple[ir.Node, LayerError]]:
    nodes = inner_nodes(candidate.model)
    actual = GraphSession(candidate.model, list(nodes)).run(inputs)
    exact, native = Arrays(), Arrays()
    candidate.reference.run_float64(inputs, _collect(exact, actual))
    candidate.reference.run_native(inputs, _collect(native, actual))
    for name, node in nodes.items():
        if name in exact and name in native:
            error = LayerError(
                layer=module_of(node) or node.name or name,
                op=node.op_type,
                scale=_largest(exact[name]),
                torch_error=_largest(native[name], exact[name]),
                onnx_error=_largest(actual[name], exact[name]),
            )
            yield node, error


def _collect(values: Arrays, names: Arrays) -> Visitor:
    """A visitor that stores in ``values`` what has one of the names."""

    def visit(name: str, array: NDArray[Any]) -> None:
        if name in names:
            values[name] = array

    return visit


def _largest(a: NDArray[Any], b: NDArray[Any] | None = None) -> float:
    """Largest absolute value, or absolute difference; NaN where shapes differ."""
    if b is not None and a.shape != b.shape:
        return float("nan")
    other = np.float64(0) if b is None else b.astype(np.float64)
    return float(np.abs(a.astype(np.float64) - other).max(initial=0.0))
