"""Sections of a quantization's page: the candidates, the layers and the file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from cnntk.runtime.sections import (
    Chart,
    Column,
    Header,
    Section,
    Table,
    TableCell,
    Tone,
    error_text,
    interval,
    number,
    percent,
    size_text,
    speed_text,
    threads_text,
)

if TYPE_CHECKING:
    from cnntk.quantization.report import QuantizedLayer, QuantizeReport

__all__ = ["page_header", "page_sections"]


def page_header(report: QuantizeReport) -> Header:
    """What the page of a quantization begins with."""
    figures = [(f"{size_text(report.original_size_bytes)} → {size_text(report.size_bytes)}", "file")]
    if report.speed is not None:
        times = f"{number(report.speed.first_ms)} → {number(report.speed.second_ms)} ms"
        figures = [
            (speed_text(report.speed.ratio, "the original"), f"95 % interval {interval(report.speed)}"),
            (times, f"per image, {threads_text(report.setup.threads)}"),
            *figures,
        ]
    if (accuracy := report.accuracy) is not None:
        if accuracy.before is not None and accuracy.after is not None:
            drop = f"drop {accuracy.drop_low:.2f} to {accuracy.drop_high:.2f} points"
            top1 = f"{accuracy.before.top1:.2f} → {accuracy.after.top1:.2f} %"
            figures.append((top1, f"top-1 on {accuracy.images:,} images, {drop}"))
        figures.append((f"{accuracy.agreement:.2f} %", "same prediction"))
    verdict = "Quantized, within the accuracy limit" if report.changed else "Unchanged"
    tone: Tone = "good" if report.changed else ""
    return Header(report.name, "quantization report", verdict, tone, tuple(figures), report.reason)


def page_sections(report: QuantizeReport) -> Iterator[Section]:
    """The sections that only pages show."""
    if report.candidates:
        yield _candidates(report)
    yield _layers(report)
    setup, options = report.setup, report.setup.options
    lines = (
        ("path", report.path),
        ("source", setup.source),
        ("portable to", report.portable_to),
        ("calibration", f"{setup.calibration_images:,} images of {options.calibration}"),
        (
            "options",
            f"drop of at most {options.max_drop:g} points, target {options.target}, prefer {options.prefer}",
        ),
        ("timed on", f"{setup.machine}, {threads_text(setup.threads)}"),
        *((("embedded digest", report.digest),) if report.digest else ()),
        ("time", f"{report.seconds:.1f} s"),
    )
    yield Section("File", lines=lines, notes=(*report.warnings, *report.notes), shown_in="page")


def _candidates(report: QuantizeReport) -> Section:
    columns = (
        Column("", "right"),
        Column("candidate", wrap=True),
        Column("speed", "right"),
        Column("95 % interval", interval=True),
        Column("accuracy drop", "right"),
        Column("same prediction", "right"),
        Column("size", "right"),
        Column("result", wrap=True),
    )
    rows = tuple(
        (
            str(index),
            step.change,
            *(("", "") if step.speed is None else (f"{number(step.speed.ratio)}x", interval(step.speed))),
            *_accuracy(step.accuracy),
            size_text(step.size_bytes),
            TableCell("accepted", tone="good") if step.accepted else step.verdict,
        )
        for index, step in enumerate(report.candidates, 1)
    )
    chart = Chart("candidates", "candidates", "Candidates by speed, accuracy drop and size", report)
    method = (
        "A circle is a candidate, its area the size of the file, its lines 95 % intervals; the dotted line "
        "is the path of the search, from the original. Speed is a multiple of the original's."
    )
    return Section(
        "Candidates", method=method, tables=(Table(columns, rows),), charts=(chart,), shown_in="page"
    )


def _accuracy(accuracy: Any) -> tuple[str, str]:
    if accuracy is None:
        return "", ""
    agreement = f"{accuracy.agreement:.2f} %"
    if accuracy.drop is None:
        return f"{accuracy.expected_drop:.3f} (expected)", agreement
    return f"{accuracy.drop:.2f} ({accuracy.drop_low:.2f} to {accuracy.drop_high:.2f})", agreement


def _layers(report: QuantizeReport) -> Section:
    columns = (
        *map(Column, ("layer", "op", "precision")),
        *(
            Column(title, "right")
            for title in ("weights", "multiply-adds", "KL divergence, nats", "ms", "of the limit")
        ),
        Column("reason", wrap=True),
    )
    chart = Chart("layers", "precisions", "Layers by precision and KL divergence", report.layers)
    method = (
        "The upper bar is a layer's share of the multiply-adds, in the color of its precision; the lower "
        "bar its cost when it is quantized alone, relative to the highest cost."
    )
    table = Table(columns, tuple(map(_layer, report.layers)))
    return Section("Layers", method=method, tables=(table,), charts=(chart,), shown_in="page")


def _layer(layer: QuantizedLayer) -> tuple[str | TableCell, ...]:
    limit = "" if layer.limit_fraction is None else f"{percent(layer.limit_fraction)} "
    return (
        TableCell(layer.title, layer.node),
        layer.op,
        layer.precision,
        f"{layer.parameters:,}",
        f"{layer.multiply_adds:,}",
        "" if layer.kl_divergence is None else error_text(layer.kl_divergence),
        "" if layer.time_ms is None else number(layer.time_ms),
        f"{limit}{layer.limit or ''}",
        layer.reason,
    )
