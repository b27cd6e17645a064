"""A graph that runs in onnxruntime as it stands: without onnxruntime's own rewrites."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import onnx_ir as ir
from numpy.typing import NDArray

from cnntk.exporters.session import session_of
from cnntk.runtime.errors import InferenceError
from cnntk.runtime.session.opening import failures

__all__ = ["Arrays", "GraphSession"]

Arrays = dict[str, NDArray[Any]]


class GraphSession:
    """Arrays in, arrays out, for any values of a graph.

    Args:
        model: left as it is.
        outputs: names of values to answer; by default those of the graph.

    Raises:
        InferenceError: onnxruntime refuses the graph.
    """

    def __init__(self, model: ir.Model, outputs: Sequence[str] | None = None) -> None:
        try:
            self._session = session_of(_answering(model, outputs))
        except failures() as error:
            raise InferenceError(f"onnxruntime can't run the graph: {_line(error)}") from error
        self.names: list[str] = [o.name for o in self._session.get_outputs()]
        self._wanted = {i.name for i in self._session.get_inputs()}

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> Arrays:
        """One run; inputs that the graph does not have are left out."""
        fed = {k: v for k, v in inputs.items() if k in self._wanted}
        try:
            return dict(zip(self.names, self._session.run(self.names, fed), strict=True))
        except failures() as error:
            raise InferenceError(f"onnxruntime failed in the graph: {_line(error)}") from error


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def _answering(model: ir.Model, names: Sequence[str] | None) -> ir.Model:
    copy = model.clone()
    if names is None:
        return copy
    values = {v.name: v for node in copy.graph for v in node.outputs}
    values |= {v.name: v for v in copy.graph.inputs}
    copy.graph.outputs[:] = [values[n] for n in names]
    return copy
