"""`ExportReport`: the result of an export."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from cnntk.exporters.checks.candidate import Check
from cnntk.exporters.checks.divergence import LayerError
from cnntk.exporters.checks.parity import Parity
from cnntk.exporters.graph_lint.lint import LintReport
from cnntk.exporters.passes.infra import PassRecord
from cnntk.exporters.passes.order import REPAIRS
from cnntk.exporters.preprocessing import PreprocessingRecord
from cnntk.exporters.report_sections import page_header, page_sections
from cnntk.exporters.shapes.shape_table import ShapeRow
from cnntk.runtime.artifact.spec import DataFile, Layer, SelfTest, TensorSpec
from cnntk.runtime.sections import Header, Section, size_text, under

__all__ = ["ExportReport"]


@dataclass(frozen=True)
class ExportReport:
    """The written file, and what was changed and checked.

    Attributes:
        path: Path of the artifact.
        name: Name of the model.
        size_bytes: Size of the ``.onnx`` file.
        opset: ONNX operator set.
        ir_version: Version of the ONNX file format.
        inputs: Inputs of the file.
        preprocessing: Nodes that preprocess an image; None where the file takes arrays.
        head: ``classifier`` or ``none``.
        head_reason: Reason for ``head``.
        passes: Outcome of each pass.
        checks: Checks that passed, each with its figures.
        parity: Errors of each output on each kind of input.
        layers: Layers of the graph.
        shapes: Shapes of the layers by formula, torch, ONNX and onnxruntime.
        layer_errors: Error of each layer against float64; empty unless the options ask for it.
        graph_lint: Warnings about the network, and the memory of its activations.
        self_test: Test by which any device checks the file.
        data: File with the large weights; None where all are in the ``.onnx`` file.
        digest: Embedded digest of the file.
        notes: Notes for the user.
        seconds: Duration of the export.
    """

    JSON_PROPERTIES: ClassVar = ("parameters", "multiply_adds")

    path: str
    name: str
    size_bytes: int
    opset: int
    ir_version: int
    inputs: tuple[TensorSpec, ...]
    preprocessing: PreprocessingRecord | None
    head: str
    head_reason: str
    passes: tuple[PassRecord, ...]
    checks: tuple[Check, ...]
    parity: tuple[Parity, ...]
    layers: tuple[Layer, ...]
    shapes: tuple[ShapeRow, ...]
    layer_errors: tuple[LayerError, ...]
    graph_lint: LintReport
    self_test: SelfTest | None
    data: DataFile | None
    digest: str
    notes: tuple[str, ...]
    seconds: float

    @property
    def parameters(self) -> int:
        """Number of weights in the graph."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds of one image."""
        return sum(layer.multiply_adds for layer in self.layers)

    @property
    def repairs(self) -> tuple[PassRecord, ...]:
        """Passes that corrected something."""
        return tuple(p for p in self.passes if p.status == "applied" and p.name in REPAIRS)

    @property
    def simplifications(self) -> tuple[PassRecord, ...]:
        """Passes that made the graph smaller or faster."""
        return tuple(p for p in self.passes if p.status == "applied" and p.name not in REPAIRS)

    def sections(self) -> tuple[Section, ...]:
        """What was written, repaired and checked, for text and pages."""
        size = f"{self.parameters:,} parameters, {self.multiply_adds:,} multiply-adds"
        rolled_back = [f"{p.name}: {p.rollback_reason}" for p in self.passes if p.status == "rolled back"]
        lines = (
            *under("wrote", self._files()),
            ("network", f"{self.name}: {size}"),
            *under("input", self._inputs()),
            ("head", f"{self.head} ({self.head_reason})"),
            *under("repaired", map(_rewrites, self.repairs)),
            *under("simplified", map(_rewrites, self.simplifications)),
            *under("rolled back", rolled_back),
            *under("checks passed", [f"{check.name}: {check.detail}" for check in self.checks]),
            ("time", f"{self.seconds:.1f} s"),
        )
        return (Section("", lines=lines, shown_in="text"), *page_sections(self))

    def header(self) -> Header:
        """What the page of the export begins with."""
        return page_header(self)

    def _files(self) -> list[str]:
        lines = [f"{self.path} ({size_text(self.size_bytes)}, opset {self.opset}, IR {self.ir_version})"]
        if self.data is not None:
            size = size_text(self.data.size_bytes)
            lines.append(f"{self.data.file} ({size}): its large weights; keep both files in one folder")
        return lines

    def _inputs(self) -> list[str]:
        """The inputs, and how the graph prepares an image."""
        lines = [f"{t.name}: {t.dtype} {'x'.join(map(str, t.shape))}" for t in self.inputs]
        if self.preprocessing is not None:
            lines[0] += f", any size; {self.preprocessing.nodes} nodes preprocess it"
            lines += self.preprocessing.folded
        return lines


def _rewrites(record: PassRecord) -> str:
    """What a pass did: the rewrites one by one where they are few, else how many."""
    lines = record.rewrites.applied
    return f"{record.name}: {'; '.join(lines) if len(lines) <= 2 else f'{len(lines)} rewrites'}"
