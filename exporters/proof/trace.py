"""Every inner value of a graph, from onnxruntime, with nothing fused away."""

from __future__ import annotations

import onnx_ir as ir

from cnntk.exporters.proof.reference import Arrays
from cnntk.exporters.session import session_of

__all__ = ["Trace"]


class Trace:
    """A graph whose inner values can be seen.

    Attributes:
        nodes: by the name of the value that they answer, in the order of the data.
    """

    def __init__(self, model: ir.Model) -> None:
        visible = model.clone()
        self.nodes = {
            value.name: node for node in model.graph for value in node.outputs if value.name and value.uses()
        }
        already = {v.name for v in visible.graph.outputs}
        inner = [v for node in visible.graph for v in node.outputs if v.name in self.nodes.keys() - already]
        visible.graph.outputs.extend(v for v in inner if v.type is not None)
        self.nodes |= {v.name: p for v in model.graph.outputs if v.name and (p := v.producer()) is not None}
        self._names = [v.name or "" for v in visible.graph.outputs]
        self._session = session_of(visible)

    def __call__(self, inputs: Arrays) -> Arrays:
        """Each value by name."""
        return dict(zip(self._names, self._session.run(self._names, inputs), strict=True))
