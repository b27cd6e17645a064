"""What an export did and showed."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from cnntk.exporters.parity import Parity

__all__ = ["ExportReport"]


@dataclass(frozen=True)
class ExportReport:
    """What an export did and showed.

    Attributes:
        path: of the artifact.
        name: of the model.
        size_bytes: of the artifact.
        parameters: how many weights the graph holds.
        multiply_adds: of one image.
        opset: ONNX operator set.
        ir_version: ONNX file format.
        head: ``classifier`` or ``none``.
        head_reason: why.
        parity: of each output against torch.
        notes: what the user should know.
        seconds: how long it took.
    """

    path: str
    name: str
    size_bytes: int
    parameters: int
    multiply_adds: int
    opset: int
    ir_version: int
    head: str
    head_reason: str
    parity: tuple[Parity, ...]
    notes: tuple[str, ...]
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """As JSON data."""
        return {**asdict(self), "parity": [p.to_json() for p in self.parity]}
