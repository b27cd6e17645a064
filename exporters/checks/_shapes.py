"""The shapes of every layer: formula, torch, ONNX and onnxruntime agree, at every batch size."""

from __future__ import annotations

from cnntk.exporters.checks._candidate import Candidate, Check
from cnntk.exporters.session import inner_shapes
from cnntk.exporters.shapes.shape_table import shape_table
from cnntk.runtime.errors import ShapeMismatch


def check_shapes(candidate: Candidate) -> Check:
    """Runs the graph at each batch size, and compares the shapes of its layers with those of other sources.

    Raises:
        ShapeMismatch: The sources differ in a layer's shape.
    """
    inputs = candidate.inputs
    measured = inner_shapes(candidate.model, {size: inputs.batch(size) for size in inputs.batches})
    rows = shape_table(candidate.model, candidate.reference.shapes(), measured)
    for row in rows:
        if not row.agree:
            raise ShapeMismatch(f"{row.message}. Nothing was written")
    sizes = ", ".join(map(str, inputs.batches))
    others = [row for row in rows if row.only_onnx_differs]
    note = f"; ONNX's inference alone differs in {len(others)}, first {others[0].layer}" if others else ""
    return Check("shapes", f"{len(rows)} layers agree at batch {sizes}{note}", rows)
