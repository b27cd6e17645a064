"""`ExportReport`: the result of an export."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

from cnntk.exporters.checks._candidate import Check
from cnntk.exporters.checks._parity import Parity
from cnntk.exporters.checks.divergence import LayerError
from cnntk.exporters.checks.reference import ReferenceNames
from cnntk.exporters.graph_lint.lint import LintReport
from cnntk.exporters.passes.infra import PassRecord
from cnntk.exporters.passes.order import REPAIRS
from cnntk.exporters.preprocessing import PreprocessingRecord
from cnntk.exporters.shapes.shape_table import ShapeRow
from cnntk.runtime.artifact.spec import DataFile, Layer, SelfTest, TensorSpec
from cnntk.runtime.codec import NOT_IN_JSON
from cnntk.runtime.notebook import summary_html
from cnntk.runtime.preprocessing.steps import preprocessing_text
from cnntk.runtime.sections import (
    Chart,
    Column,
    Header,
    Highlight,
    Section,
    Table,
    TableCell,
    amount,
    dims,
    error_text,
    first_names,
    kind_text,
    percent,
    size_text,
    table_of_layers,
    under,
)

_MAX_FAILURES = 3
"""Number of failures that the verdict names."""

_MAX_REWRITES = 5
"""Number of rewrites of a pass that a page lists."""


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
        suggested_preset: Value of ``--preprocessing`` to try, where the source does not state how images
            become its input; None for other sources.
        samples: Path of the user's own inputs that were checked; empty for none.
        source_notes: Those of the notes that concern the source, like which weights of a file were taken.
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
    suggested_preset: str | None = None
    samples: str = ""
    source_notes: tuple[str, ...] = field(default=(), metadata=NOT_IN_JSON)

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
            *under("preprocessing", self._preprocessing()),
            ("head", f"{self.head} ({self.head_reason})"),
            *under("repaired", map(_rewrites, self.repairs)),
            *under("simplified", map(_rewrites, self.simplifications)),
            *under("not simplified", map(_declined, filter(lambda p: p.rewrites.skipped, self.passes))),
            *under("rolled back", rolled_back),
            *under("checks passed", [f"{check.name}: {check.detail}" for check in self.checks]),
            ("time", f"{self.seconds:.1f} s"),
        )
        return (Section("", lines=lines, shown_in="text"), *_page_sections(self))

    def header(self) -> Header:
        """What the page of the export begins with."""
        failures = [f"parity of {p.output} on {p.kind}" for p in self.parity if not p.holds]
        failures += [f"shape of {row.layer}" for row in self.shapes if not row.agree]
        source = "its PyTorch network" if self.of_torch else "the original ONNX file"
        if failures:
            verdict, passed = f"Checks failed: {first_names(failures, _MAX_FAILURES)}", False
        elif passed := bool(self.parity):
            checks = f"All {len(self.checks)} checks passed."
            verdict = f"Checked: the file computes what {source} computes. {checks}"
        else:
            verdict = f"Not compared with {source}"
        file = "in one file" if self.data is None else f"with {self.data.file} beside it"
        highlights = (
            *self._error_highlight(source),
            Highlight(
                size_text(self.size_bytes + (self.data.size_bytes if self.data else 0)),
                "Size",
                f"{amount(self.parameters)} weights {file}. An app loads it with onnxruntime alone.",
            ),
            Highlight(
                amount(self.multiply_adds),
                "Multiply-adds per image",
                "The work of one answer. ResNet-50, a usual yardstick, needs 4.1 G for its 224×224 pixels.",
            ),
        )
        return Header(
            self.name,
            "Export report",
            verdict,
            "good" if passed else "bad",
            highlights,
            model=self.path,
            digests=(self.digest,) if self.digest else (),
            images=self.samples,
        )

    def _repr_html_(self) -> str:
        """The head of its page, for notebooks."""
        return summary_html(self.header())

    @property
    def of_torch(self) -> bool:
        """Whether the reference is torch's network; otherwise it is an ONNX file."""
        return not self.parity or self.parity[0].reference == ReferenceNames.exact

    def _error_highlight(self, source: str) -> tuple[Highlight, ...]:
        """The largest share of a limit that an output's error uses."""
        worst = max((row for row in self.parity if row.bound > 0), key=_limit_share, default=None)
        if worst is None:
            return ()
        meaning = (
            f"The largest difference from {source} is {error_text(worst.onnx_error)} (in {worst.output}, "
            f"on {worst.kind}). Rounding explains up to {error_text(worst.bound)}: 100 %."
        )
        return (Highlight(percent(_limit_share(worst)), "Of the error limit", meaning),)

    def _files(self) -> list[str]:
        lines = [f"{self.path} ({size_text(self.size_bytes)}, opset {self.opset}, IR {self.ir_version})"]
        if self.data is not None:
            size = size_text(self.data.size_bytes)
            lines.append(f"{self.data.file} ({size}): its large weights; keep both files in one folder")
        return lines

    def _inputs(self) -> list[str]:
        """The inputs, and which images the graph takes."""
        lines = [f"{t.name}: {t.dtype} {'x'.join(map(str, t.shape))}" for t in self.inputs]
        if self.preprocessing is not None:
            size = "any size" if isinstance(self.inputs[0].shape[1], str) else "one size"
            lines[0] += f", {size}"
        return lines

    def _preprocessing(self) -> list[str]:
        """What the graph does to an image, and which part of it the first layer does."""
        record = self.preprocessing
        if record is None:
            return []
        lines = [preprocessing_text(record.preprocessing, self.inputs, "x")]
        if record.folded:
            part = "mean and std are" if not record.not_folded else "a part of mean and std is"
            lines.append(f"{part} in the weights of the first layer")
        return lines


def _limit_share(row: Parity) -> float:
    """Share of its limit that an output's error uses; NaN without a limit."""
    return row.onnx_error / row.bound if row.bound > 0 else math.nan


def _rewrites(record: PassRecord) -> str:
    """What a pass did: the rewrites one by one where they are few, else how many."""
    lines = record.rewrites.applied
    return f"{record.name}: {'; '.join(lines) if len(lines) <= 2 else f'{len(lines)} rewrites'}"


def _page_sections(report: ExportReport) -> Iterator[Section]:
    """The sections that only pages show."""
    if report.layers:
        chart = Chart("network", "network", f"The {len(report.layers)} layers", report.layers)
        method = "Data flows down. A bar is a layer's share of the multiply-adds, an arc a skip connection."
        yield Section("Network", method=method, charts=(chart,), aside=True, shown_in="page")
    if report.graph_lint.warnings:
        yield Section("Warnings", notes=tuple(report.graph_lint.warnings), tone="bad", shown_in="page")
    if report.notes:
        yield Section("Notes", notes=report.notes, shown_in="page")
    yield from _parity_by_layer(report)
    yield _checks(report)
    yield from _parity(report)
    yield from _shapes(report)
    yield from _passes(report)
    yield from _preprocessing(report)
    if report.layers:
        headline = f"{report.parameters:,} weights, {report.multiply_adds:,} multiply-adds per image"
        if report.graph_lint.peak_activation_bytes:
            headline += f", at most {size_text(report.graph_lint.peak_activation_bytes)} of activations"
        method = "Memory is that of the output for one image; field is the receptive field in pixels."
        table = table_of_layers(report.layers, kinds=True)
        yield Section("Layers", headline, method, tables=(table,), folded=True, shown_in="page")
    yield from _self_test(report)
    lines = (("head", f"{report.head} ({report.head_reason})"), ("duration", f"{report.seconds:.1f} s"))
    yield Section("Export", f"{report.seconds:.1f} s", lines=lines, folded=True, shown_in="page")


def _checks(report: ExportReport) -> Section:
    rows = tuple((TableCell(check.name, tone="good"), check.detail) for check in report.checks)
    table = Table((Column("check"), Column("result", wrap=True)), rows)
    tables, headline = ((table,), f"{len(rows)} passed") if rows else ((), "No checks are recorded.")
    return Section("Checks", headline, tables=tables, folded=True, shown_in="page")


def _preprocessing(report: ExportReport) -> Iterator[Section]:
    if report.preprocessing is not None:
        record = report.preprocessing
        headline = (
            f"uint8 {dims(record.input.shape)}, {preprocessing_text(record.preprocessing, report.inputs)}"
        )
        nodes = f"{record.nodes} before the network"
        if record.branch_nodes:
            nodes += (
                f", {record.branch_nodes} in the two branches of one of them: images of the right size are "
                "only cropped, others are resized"
            )
        folded = (*under("folded", record.folded), *under("not folded", record.not_folded))
        lines = (("nodes", nodes), *folded)
        yield Section("Preprocessing in the graph", headline, lines=lines, folded=True, shown_in="page")


def _passes(report: ExportReport) -> Iterator[Section]:
    """Passes that were applied or rolled back; the others are counted."""
    active = [p for p in report.passes if p.status != "nothing to do"]
    columns = (
        Column("pass"),
        Column("status"),
        Column("max relative difference", "right"),
        Column("reason", wrap=True),
        Column("rewrites", wrap=True),
    )
    count = len(report.passes) - len(active)
    headline = f"{len(active)} of {len(report.passes)} passes changed the graph, {count} had nothing to do"
    notes = tuple(f"{p.name}{_skipped(p)}" for p in report.passes if p not in active and p.rewrites.skipped)
    tables = (Table(columns, tuple(map(_pass, active))),) if active else ()
    if report.passes:
        yield Section("Passes", headline, tables=tables, notes=notes, folded=True, shown_in="page")


def _pass(record: PassRecord) -> tuple[str | TableCell, ...]:
    rolled_back = record.status == "rolled back"
    reason = f"{record.reason}. {record.rollback_reason}" if record.rollback_reason else record.reason
    return (
        record.name,
        TableCell(record.status, tone="bad" if rolled_back else "good"),
        "" if record.max_rel_diff is None else error_text(record.max_rel_diff),
        reason,
        first_names(record.rewrites.applied, _MAX_REWRITES, "; ") + _skipped(record),
    )


def _declined(record: PassRecord) -> str:
    return f"{record.name}: {first_names(record.rewrites.skipped, _MAX_REWRITES, '; ')}"


def _skipped(record: PassRecord) -> str:
    return "".join(f"; skipped: {line}" for line in record.rewrites.skipped)


def _parity(report: ExportReport) -> Iterator[Section]:
    of_torch = report.of_torch
    columns = (
        Column("output"),
        Column("inputs"),
        Column("max output", "right"),
        Column("torch" if of_torch else "optimized", "right"),
        Column("this file", "right"),
        Column("limit", "right"),
        Column("used", "right"),
        Column("result"),
    )
    if report.parity:
        reference = "the same network in float64" if of_torch else report.parity[0].reference
        method = (
            f"Max absolute difference from {reference}. "
            f"The limit follows from {'torch' if of_torch else 'the optimized graph'}'s own error."
        )
        table = Table(columns, tuple(map(_parity_row, report.parity)))
        passed = sum(row.holds for row in report.parity)
        headline = f"{passed} of {len(report.parity)} comparisons of outputs within their limit"
        yield Section(
            "Parity by kind of input", headline, method, tables=(table,), folded=True, shown_in="page"
        )


def _parity_by_layer(report: ExportReport) -> Iterator[Section]:
    if report.layer_errors:
        row = next((p for p in report.parity if p.bound > 0 and p.scale > 0), None)
        bound = None if row is None else (row.bound / row.scale, row.output)
        reference = row.reference if row is not None else ReferenceNames.exact
        title = f"Difference from {reference}, relative to the layer's largest output"
        native = "torch, in its own precision" if report.of_torch else "the optimized graph"
        chart = Chart("layer-errors", "layer-errors", title, (report.layer_errors, bound, native))
        method = (
            "Each point is a layer, in the order of the data. Log scale; exact layers are on the lower edge."
        )
        yield Section("How far rounding moves each layer", "", method, charts=(chart,), shown_in="page")


def _parity_row(row: Parity) -> tuple[str | TableCell, ...]:
    share = _limit_share(row)
    return (
        row.output,
        row.kind,
        *(error_text(value) for value in (row.scale, row.torch_error, row.onnx_error, row.bound)),
        percent(share) if math.isfinite(share) else "",
        TableCell("passed", tone="good") if row.holds else TableCell("failed", tone="bad"),
    )


def _shapes(report: ExportReport) -> Iterator[Section]:
    """The shape of each layer, and where the four ways to it differ, all of them."""
    columns = (
        Column("layer"),
        Column("kind"),
        Column("shape"),
        Column("arithmetic", wrap=True),
        Column("result"),
    )
    rows: tuple[tuple[str | TableCell, ...], ...] = tuple(
        (
            row.layer,
            TableCell(kind_text(row.op), f"ONNX: {row.op}"),
            _shape(row.run) if row.agree else _all_shapes(row),
            row.text or "",
            TableCell("agree", tone="good") if row.agree else TableCell("differ", tone="bad"),
        )
        for row in report.shapes
    )
    if rows:
        method = (
            "Each layer's output shape by formula, as torch computed it, as ONNX infers it, and as "
            "onnxruntime returned it at several batch sizes N."
        )
        agree = sum(row.agree for row in report.shapes)
        headline = f"{agree} of {len(rows)} layers have the shape that their formula gives"
        tables = (Table(columns, rows),)
        yield Section("Shapes", headline, method, tables=tables, folded=True, shown_in="page")


def _all_shapes(row: ShapeRow) -> str:
    shapes = {"formula": row.formula, "torch": row.torch, "ONNX": row.onnx, "onnxruntime": row.run}
    return ", ".join(f"{name} {_shape(shape)}" for name, shape in shapes.items())


def _shape(shape: object) -> str:
    return shape if isinstance(shape, str) else dims(shape)  # type: ignore[arg-type]


def _self_test(report: ExportReport) -> Iterator[Section]:
    if report.self_test is not None and report.self_test.cases:
        rows = tuple(
            (
                f"{case.pattern} {case.seed}",
                ", ".join(f"{name} = {size}" for name, size in case.sizes.items()),
                ", ".join(f"{output} {error_text(bound)}" for output, bound in case.bounds.items()),
            )
            for case in report.self_test.cases
        )
        method = (
            "Inputs that any device can generate by an integer formula; the expected outputs are in the "
            "file, with the largest difference that they may have."
        )
        table = Table((Column("inputs"), Column("sizes"), Column("limits", wrap=True)), rows)
        headline = f"{len(rows)} cases that any device can check"
        yield Section("Self-test", headline, method, tables=(table,), folded=True, shown_in="page")
