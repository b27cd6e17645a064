"""What an export did and showed."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from cnntk.exporters.checks.divergence import LayerError
from cnntk.exporters.checks.parity import Parity
from cnntk.exporters.checks.record import Check
from cnntk.exporters.graph_lint.lint import LintReport
from cnntk.exporters.passes.infra import PassRecord
from cnntk.exporters.passes.order import REPAIRS
from cnntk.exporters.preprocessing import PreprocessingRecord
from cnntk.exporters.report_sections import page_header, page_sections
from cnntk.exporters.shapes.ledger import LedgerRow
from cnntk.runtime.artifact.spec import DataFile, Layer, SelfTest, TensorSpec
from cnntk.runtime.sections import Header, Section, size_text, under

__all__ = ["ExportReport"]


@dataclass(frozen=True)
class ExportReport:
    """What an export did and showed.

    Attributes:
        path: of the artifact.
        name: of the model.
        size_bytes: of the ``.onnx`` file.
        opset: ONNX operator set.
        ir_version: ONNX file format.
        inputs: of the file.
        pixels: what makes the network's input of an image; None where the file takes arrays.
        head: ``classifier`` or ``none``.
        head_reason: why.
        passes: what each did.
        checks: what was proven, each with its figures.
        parity: of each output on each kind of input.
        layers: of the graph.
        ledger: the layers' shapes, by formula, torch, ONNX and onnxruntime.
        layer_errors: of each layer against float64; empty where no report was asked for.
        graph_lint: what is odd about the network, and its activations' memory.
        self_test: with which any device checks itself.
        data: the file beside it with the large weights; None where all are inside.
        digest: SHA-256 of the file.
        notes: what the user should know.
        seconds: how long it took.
    """

    path: str
    name: str
    size_bytes: int
    opset: int
    ir_version: int
    inputs: tuple[TensorSpec, ...]
    pixels: PreprocessingRecord | None
    head: str
    head_reason: str
    passes: tuple[PassRecord, ...]
    checks: tuple[Check, ...]
    parity: tuple[Parity, ...]
    layers: tuple[Layer, ...]
    ledger: tuple[LedgerRow, ...]
    layer_errors: tuple[LayerError, ...]
    graph_lint: LintReport
    self_test: SelfTest | None
    data: DataFile | None
    digest: str
    notes: tuple[str, ...]
    seconds: float

    @property
    def parameters(self) -> int:
        """How many weights the graph holds."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def multiply_adds(self) -> int:
        """Of one image."""
        return sum(layer.multiply_adds for layer in self.layers)

    @property
    def repairs(self) -> tuple[PassRecord, ...]:
        """What was wrong and is mended."""
        return tuple(p for p in self.passes if p.status == "applied" and p.name in REPAIRS)

    @property
    def simplifications(self) -> tuple[PassRecord, ...]:
        """What was only dearer than it had to be."""
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
        if self.pixels is not None:
            lines[0] += f", any size; {self.pixels.nodes} nodes preprocess it"
            lines += self.pixels.folded
        return lines

    def to_json(self) -> dict[str, Any]:
        """As JSON data."""
        return {
            **asdict(self),
            "parameters": self.parameters,
            "multiply_adds": self.multiply_adds,
            "parity": [p.to_json() for p in self.parity],
            "ledger": [row.to_json() for row in self.ledger],
        }


def _rewrites(record: PassRecord) -> str:
    """What a pass did: the rewrites one by one where they are few, else how many."""
    lines = record.rewrites.applied
    return f"{record.name}: {'; '.join(lines) if len(lines) <= 2 else f'{len(lines)} rewrites'}"
