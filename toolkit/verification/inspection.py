"""What a model file holds."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cnntk.runtime.artifact.spec import Layer, ModelSpec, TensorSpec
from cnntk.runtime.engine import Engine

__all__ = ["Inspection", "inspect"]


@dataclass(frozen=True)
class Inspection:
    """What a model file holds.

    Attributes:
        path: of the file.
        size_bytes: of the file.
        inputs: of the graph.
        outputs: of the graph.
        layers: in the order of the data; empty where they can't be told.
        anatomy: ``warnings``, a line each; ``peak_activation_bytes``, the most that is alive at one moment of
            a run with one image; ``peak_layer``, where that is. Empty where it can't be told.
        spec: what the file says of itself; None for a file that cnntk did not make.
        notes: what could not be told, and why.
    """

    path: str
    size_bytes: int
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    layers: tuple[Layer, ...]
    anatomy: dict[str, Any]
    spec: ModelSpec | None
    notes: tuple[str, ...]

    @property
    def parameters(self) -> int:
        """How many weights the graph holds."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def multiply_adds(self) -> int:
        """Of one image."""
        return sum(layer.multiply_adds for layer in self.layers)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is odd about the network, the layer's name in front."""
        return tuple(self.anatomy.get("warnings", ()))

    @property
    def peak_activation_bytes(self) -> int | None:
        """Most that is alive at one moment of a run with one image; None where it can't be told."""
        peak: int | None = self.anatomy.get("peak_activation_bytes")
        return peak

    def to_json(self) -> dict[str, Any]:
        """As JSON data; the layers stand once, outside of the spec."""
        data = asdict(self)
        if data["spec"] is not None:
            del data["spec"]["layers"]
        return {**data, "parameters": self.parameters, "multiply_adds": self.multiply_adds}


def inspect(model: str | os.PathLike[str]) -> Inspection:
    """Reads a model file.

    Raises:
        UsageError: there is no such file.
        ArtifactError: it is damaged or unsupported.
    """
    engine = Engine(model)
    layers, anatomy, notes = _own(engine.spec) if engine.spec is not None else _foreign(Path(model))
    return Inspection(
        path=os.fspath(model),
        size_bytes=Path(model).stat().st_size,
        inputs=engine.inputs,
        outputs=engine.outputs,
        layers=layers,
        anatomy=anatomy,
        spec=engine.spec,
        notes=notes,
    )


_Found = tuple[tuple[Layer, ...], dict[str, Any], tuple[str, ...]]


def _own(spec: ModelSpec) -> _Found:
    """What an artifact says of itself; neither torch nor onnx is needed."""
    return spec.layers, spec.check_results.get("graph_lint", {}), ()


def _foreign(file: Path) -> _Found:
    """What the graph of somebody's file shows, where onnx is installed."""
    note = "not made by cnntk: no labels, no preprocessing, no proof"
    try:
        import onnx_ir as ir

        from cnntk.exporters.graph_lint.anatomy import anatomy
        from cnntk.exporters.shapes.ledger import ledger
    except ImportError:
        return (), {}, (note, "its layers are read with onnx: pip install 'cnntk[export]'")
    graph = ir.load(file)
    return ledger(graph), anatomy(graph).to_json(), (note,)
