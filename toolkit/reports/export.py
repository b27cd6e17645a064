"""The report of an export, as a page."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Required, TypedDict

from cnntk.reports.page import rendered
from cnntk.reports.picture import Picture, draw_network
from cnntk.reports.plot import ErrorPlot, draw_errors
from cnntk.runtime.files import write_bytes

__all__ = ["ExportData", "render_export_report", "write_export_report"]

_TEMPLATE = "export.html.j2"


class ExportData(TypedDict, total=False):
    """What `cnntk export --json` prints. The page shows what is there, and leaves out the rest.

    Attributes:
        path: of the artifact.
        name: of the model.
        size_bytes: of the artifact.
        parameters: how many weights.
        multiply_adds: of one image.
        opset: ONNX operator set.
        ir_version: ONNX file format.
        pixels: ``input``, ``operators``, ``folded``, ``kept``: what makes the input of an image.
        head: ``classifier`` or ``none``.
        head_reason: why.
        passes: ``name``, ``reason``, ``status``, ``rewrites`` (``applied``, ``skipped``), ``max_rel_diff``,
            ``rollback_reason``.
        checks: ``name``, ``detail``, and ``holds`` (true where it is left out).
        parity: ``output``, ``kind``, ``scale``, ``torch_error``, ``onnx_error``, ``bound``, ``holds``.
        layer_errors: ``layer``, ``op``, ``scale``, ``torch_error``, ``onnx_error``.
        ledger: ``layer``, ``op``, ``closed_form``, ``torch``, ``onnx``, ``run``, ``text``, ``agree``.
        layers: those of the spec.
        graph_lint: ``warnings``, ``peak_activation_bytes``, ``peak_layer``.
        self_test: as in the spec: ``cases``, each with ``pattern``, ``seed``, ``sizes``, ``bounds``; or,
            where it was run, ``checks``, each with ``output``, ``case``, ``error``, ``bound``, ``holds``.
        digest: SHA-256 of the file.
        notes: what the user should know.
        seconds: how long it took.
    """

    path: Required[str]
    name: Required[str]
    size_bytes: int
    parameters: int
    multiply_adds: int
    opset: int
    ir_version: int
    pixels: Mapping[str, Any] | None
    head: str
    head_reason: str
    passes: Sequence[Mapping[str, Any]]
    checks: Sequence[Mapping[str, Any]]
    parity: Sequence[Mapping[str, Any]]
    layer_errors: Sequence[Mapping[str, Any]]
    ledger: Sequence[Mapping[str, Any]]
    layers: Sequence[Mapping[str, Any]]
    graph_lint: Mapping[str, Any]
    self_test: Mapping[str, Any]
    digest: str
    notes: Sequence[str]
    seconds: float


@dataclass(frozen=True)
class _Page:
    """What the template shows besides the data itself."""

    verdict: str
    proven: bool
    applied: Sequence[Mapping[str, Any]]
    rolled_back: Sequence[Mapping[str, Any]]
    idle: Sequence[Mapping[str, Any]]
    parity: Sequence[Mapping[str, Any]]
    picture: Picture | None
    plot: ErrorPlot | None


def write_export_report(report: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Writes an export's report as one HTML page, whole or not at all; it opens offline.

    Args:
        report: what `ExportReport.to_json` returns; `ExportData` has the keys.
        path: of the page.

    Raises:
        MissingDependency: jinja2 is not installed.
        UsageError: the page can't be written.
    """
    write_bytes(Path(path), render_export_report(report).encode())


def render_export_report(report: Mapping[str, Any]) -> str:
    """The page's HTML."""
    return rendered(_TEMPLATE, r=report, page=_page(report))


def _page(report: Mapping[str, Any]) -> _Page:
    passes = list(report.get("passes") or ())
    failed = [str(c.get("name", "?")) for c in report.get("checks") or () if c.get("holds") is False]
    parity = [{**row, "share": _share(row)} for row in report.get("parity") or ()]
    failed += [f"parity of {p.get('output', '?')} on {p.get('kind', '?')}" for p in parity if _fails(p)]
    failed += [
        f"shape of {row.get('layer', '?')}" for row in report.get("ledger") or () if row.get("agree") is False
    ]
    layers = list(report.get("layers") or ())
    return _Page(
        verdict=_verdict(failed, report),
        proven=not failed and bool(parity),
        applied=[p for p in passes if p.get("status") == "applied"],
        rolled_back=[p for p in passes if p.get("status") == "rolled back"],
        idle=[p for p in passes if p.get("status") not in ("applied", "rolled back")],
        parity=parity,
        picture=draw_network(layers) if layers else None,
        plot=draw_errors(list(report.get("layer_errors") or ()), parity),
    )


def _verdict(failed: list[str], report: Mapping[str, Any]) -> str:
    if failed:
        more = f" and {len(failed) - 3} more" if len(failed) > 3 else ""
        return f"Not proven: {', '.join(failed[:3])}{more}"
    if not report.get("parity"):
        return "Not compared with its source"
    return "Proven to be the same model"


def _share(row: Mapping[str, Any]) -> float | None:
    """How much of what is allowed was used; None where that is no number."""
    found, bound = row.get("onnx_error"), row.get("bound")
    if not isinstance(found, int | float) or not isinstance(bound, int | float) or not bound > 0:
        return None
    return found / bound if math.isfinite(found / bound) else None


def _fails(row: Mapping[str, Any]) -> bool:
    share = row["share"]
    return row.get("holds") is False or share is None or share > 1
