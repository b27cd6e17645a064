"""Every inner value of a graph, or its shape, from onnxruntime, with nothing fused away."""

from __future__ import annotations

import onnx_ir as ir

from cnntk.exporters.checks.reference import Arrays
from cnntk.exporters.session import session_of

__all__ = ["ShapeTrace", "Trace"]


class Trace:
    """A graph whose inner values can be seen.

    Attributes:
        nodes: by the name of the value that they answer, in the order of the data.
    """

    def __init__(self, model: ir.Model) -> None:
        visible = model.clone()
        producers = _producers(model)
        answered = {v.name for v in visible.graph.outputs}
        visible.graph.outputs.extend(v for v in _values(visible, producers) if v.name not in answered)
        self._names = [v.name or "" for v in visible.graph.outputs]
        self.nodes = {name: node for name, node in producers.items() if name in self._names}
        self._session = session_of(visible)

    def __call__(self, inputs: Arrays) -> Arrays:
        """Each value by name."""
        return dict(zip(self._names, self._session.run(self._names, inputs), strict=True))


class ShapeTrace:
    """A graph that answers the shapes of its inner values, and keeps none of them longer than it must."""

    def __init__(self, model: ir.Model) -> None:
        measured = model.clone()
        values = [*_values(measured, _producers(model)), *measured.graph.inputs]
        self._names = [v.name or "" for v in values]
        shapes = [ir.node("Shape", [v]) for v in values]
        for i, node in enumerate(shapes):
            node.outputs[0].name = f"shape of {i}"
            node.outputs[0].type = ir.TensorType(ir.DataType.INT64)
        measured.graph.extend(shapes)
        measured.graph.outputs[:] = [node.outputs[0] for node in shapes]
        self._session = session_of(measured, shapes_first=True)

    def __call__(self, inputs: Arrays) -> dict[str, tuple[int, ...]]:
        """The shape of each value by name."""
        found = self._session.run(None, inputs)
        return {name: tuple(shape.tolist()) for name, shape in zip(self._names, found, strict=True)}


def _producers(model: ir.Model) -> dict[str, ir.Node]:
    """The node behind each value that something reads, or that is answered."""
    inner = {v.name: node for node in model.graph for v in node.outputs if v.name and v.uses()}
    return inner | {v.name: p for v in model.graph.outputs if v.name and (p := v.producer()) is not None}


def _values(model: ir.Model, names: dict[str, ir.Node]) -> list[ir.Value]:
    """Those whose type is known: onnxruntime takes no others as outputs."""
    return [v for node in model.graph for v in node.outputs if v.name in names and v.type is not None]
