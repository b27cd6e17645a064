"""What a model file holds."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cnntk.runtime.engine import Engine
from cnntk.runtime.spec import Layer, ModelSpec, TensorSpec

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
        spec: what the file says of itself; None for a file that cnntk did not make.
        notes: what could not be told, and why.
    """

    path: str
    size_bytes: int
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    layers: tuple[Layer, ...]
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
    layers, notes = _layers(engine, Path(model))
    return Inspection(
        path=os.fspath(model),
        size_bytes=Path(model).stat().st_size,
        inputs=engine.inputs,
        outputs=engine.outputs,
        layers=layers,
        spec=engine.spec,
        notes=notes,
    )


def _layers(engine: Engine, file: Path) -> tuple[tuple[Layer, ...], tuple[str, ...]]:
    if engine.spec is not None:
        return engine.spec.layers, ()
    foreign = "not made by cnntk: no labels, no preprocessing, no proof"
    try:
        import onnx_ir as ir

        from cnntk.exporters.ledger import ledger
    except ImportError:
        return (), (foreign, "its layers are read with onnx: pip install 'cnntk[export]'")
    return ledger(ir.load(file)), (foreign,)
