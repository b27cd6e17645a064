"""Results of `quantize` and `preview_quantize`, and of the candidates that a search measured."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from cnntk.quantization.options import QuantizeOptions
from cnntk.runtime.notebook import summary_html
from cnntk.runtime.sections import (
    Chart,
    Column,
    Header,
    Highlight,
    Section,
    Table,
    TableCell,
    Tone,
    interval,
    kind_text,
    number,
    percent,
    size_text,
    speed_interval,
    speed_text,
    threads_text,
    under,
)

if TYPE_CHECKING:
    from cnntk.benchmark.compare import Comparison
    from cnntk.quantization.accuracy import Accuracy
    from cnntk.quantization.config import QuantConfig

__all__ = [
    "CandidateResult",
    "QuantizePreview",
    "QuantizeReport",
    "QuantizeSetup",
    "QuantizedLayer",
    "Refinement",
    "speed_of",
]


@dataclass(frozen=True)
class QuantizedLayer:
    """A linear layer of the result.

    Attributes:
        node: Name of its node in the graph.
        title: Name of its torch module if it is known; otherwise the node's name.
        op: ONNX operator.
        parameters: Number of weights.
        multiply_adds: Number of multiply-adds for one image.
        precision: Precision, as in `cnntk.quantization.config.LayerPlan`.
        reason: Why this precision was selected.
        kl_divergence: KL divergence from the original with only this layer quantized, in nats; None if it was
            not measured.
        time_ms: Time of a run of the result in milliseconds; None if it was not measured, or the layer ran as
            part of another.
        limit: Resource that limits it: ``compute``, ``memory`` or ``in cache``; None if unknown.
        limit_fraction: Time at the machine's limit divided by its time, at most 1; None if unknown.
    """

    node: str
    title: str
    op: str
    parameters: int
    multiply_adds: int
    precision: str
    reason: str
    kl_divergence: float | None = None
    time_ms: float | None = None
    limit: str | None = None
    limit_fraction: float | None = None


@dataclass(frozen=True)
class QuantizeSetup:
    """What was requested, and what it was measured on.

    Attributes:
        source: File that was quantized.
        options: Options of the call.
        calibration_images: Number of images that ranges were measured on.
        evaluation_images: Number of images that candidates were judged by.
        labeled: Whether these have labels.
        threads: Number of threads of all measurements of time.
        machine: Machine of all measurements of time.
    """

    source: str
    options: QuantizeOptions
    calibration_images: int
    evaluation_images: int
    labeled: bool
    threads: int
    machine: str


@dataclass(frozen=True)
class CandidateResult:
    """Measurements of one candidate.

    Attributes:
        change: What it is, or how it differs from the one before.
        config: Config that it was created by.
        size_bytes: Size of its file.
        speed: Speed compared with the original: a ratio of 2 is twice as fast; None if it was not timed.
        accuracy: Accuracy compared with the original; None if its speed had decided already.
        verdict: ``accepted``, or why it is not.
    """

    change: str
    config: QuantConfig
    size_bytes: int
    speed: Comparison | None
    accuracy: Accuracy | None
    verdict: str

    @property
    def accepted(self) -> bool:
        """Whether it meets all limits."""
        return self.verdict == "accepted"

    @property
    def ratio(self) -> float:
        """Speed ratio; 0 if it was not timed."""
        return self.speed.ratio if self.speed is not None else 0.0


@dataclass(frozen=True)
class Refinement:
    """An attempt to bring the outputs in integers closer to the original's.

    Attributes:
        name: ``bias correction``, ``equalized channels`` or ``both``.
        before: KL divergence from the original without any of them, in nats.
        after: KL divergence with it.
        accepted: Whether it is used.
    """

    name: str
    before: float
    after: float
    accepted: bool

    def __str__(self) -> str:
        verdict = "accepted" if self.accepted else "not accepted"
        change = f"{self.before:.3g} -> {self.after:.3g}"
        return f"{self.name}: KL divergence of the probabilities from the original's {change}, {verdict}"


@dataclass(frozen=True)
class QuantizeReport:
    """Result of `quantize`.

    Attributes:
        path: File that was written; None if no candidate was accepted, and no copy was requested.
        name: Name of the model.
        changed: Whether the file is quantized; otherwise it is a copy of the original, if there is one.
        reason: Why this result was selected.
        portable_to: CPUs that compute the same outputs.
        setup: What was requested, and what it was measured on.
        layers: Linear layers, in the order of the graph.
        accuracy: Accuracy compared with the original; None if nothing changed.
        speed: Speed compared with the original on an image that needs no resize; None if nothing changed.
        size_bytes: Size of the file, including external data.
        original_size_bytes: Size of the original, including external data.
        candidates: All measured candidates, in order.
        warnings: Warnings about the calibration images.
        interrupted: Whether the search was interrupted.
        photograph_speeds: Speed on images of other sizes, like "500x375", where the graph resizes images.
        operators: Operators that the file consists of; empty if nothing changed.
        digest: SHA-256 that is embedded in the file.
        source_digest: SHA-256 that is embedded in the original; empty where that is not an artifact.
        seconds: Duration in seconds.
        notes: Notes for the user.
    """

    JSON_PROPERTIES: ClassVar[tuple[str, ...]] = ("file_to_ship",)

    path: str | None
    name: str
    changed: bool
    reason: str
    portable_to: str
    setup: QuantizeSetup
    layers: tuple[QuantizedLayer, ...]
    accuracy: Accuracy | None
    speed: Comparison | None
    size_bytes: int
    original_size_bytes: int
    candidates: tuple[CandidateResult, ...]
    warnings: tuple[str, ...] = ()
    interrupted: bool = False
    photograph_speeds: Mapping[str, Comparison] = field(default_factory=dict)
    operators: str = ""
    digest: str = ""
    source_digest: str = ""
    seconds: float = 0.0
    notes: tuple[str, ...] = ()

    @property
    def file_to_ship(self) -> str:
        """The quantized file, or the original where no candidate was accepted."""
        return self.path if self.path is not None and self.changed else self.setup.source

    def sections(self) -> tuple[Section, ...]:
        """What was written, and what it costs and gains, for text and pages."""
        return (Section("", lines=tuple(self._lines()), shown_in="text"), *_page_sections(self))

    def header(self) -> Header:
        """What the page of the quantization begins with."""
        share = self.size_bytes / self.original_size_bytes
        sizes = (self.original_size_bytes, self.size_bytes)[not self.changed :]
        size = Highlight(
            " → ".join(map(size_text, sizes)),
            "Size of the file",
            f"{percent(share)} of the original." if self.changed else "The file is a copy of the original.",
        )
        if not self.changed:
            verdict = "Not quantized: nothing that was tried is better and within the limits."
            tried = Highlight(
                f"{len(self.candidates)}", "Candidates tried", "Each was compared with the original."
            )
            return self._header(verdict, "", (tried, *_fastest_highlight(self.candidates), size))
        limit = f"{self.setup.options.max_drop:g} points"
        verdict = f"Quantized, and its accuracy is within the limit of {limit}."
        return self._header(
            verdict, "good", (*_speed_highlight(self), size, *_accuracy_highlight(self.accuracy))
        )

    def _repr_html_(self) -> str:
        """The head of its page, for notebooks."""
        return summary_html(self.header())

    def _header(self, verdict: str, tone: Tone, highlights: tuple[Highlight, ...]) -> Header:
        return Header(
            self.name,
            "Quantization report",
            verdict,
            tone,
            highlights,
            f"Selected because {self.reason}.",
            model=self.file_to_ship,
            digests=tuple(digest for digest in (self.digest, self.source_digest) if digest),
            machine=f"{self.setup.machine}, {threads_text(self.setup.threads)}",
            images=self.setup.options.evaluation or self.setup.options.calibration,
        )

    def _lines(self) -> Iterator[tuple[str, str]]:
        if self.path is None:
            yield "wrote", f"nothing: ship {self.file_to_ship} as it is (--copy writes a copy all the same)"
        else:
            wrote = f"{self.path} ({size_text(self.size_bytes)})"
            yield "wrote", wrote if self.changed else f"{wrote}: {self.setup.source}, unchanged"
        yield "selected because" if self.changed else "unchanged because", self.reason
        if self.accuracy is not None:
            yield "accuracy", str(self.accuracy)
        if self.speed is not None:
            yield "time", f"{speed_of(self.speed)}, {threads_text(self.setup.threads)}"
            yield from under("with resize", _photographs(self))
        if self.changed:
            share = self.size_bytes / self.original_size_bytes
            sizes = f"{size_text(self.original_size_bytes)} -> {size_text(self.size_bytes)}"
            yield "size", f"{sizes}, {share:.0%} of the original"
            yield "operators", self.operators
            yield "portable to", self.portable_to
        yield from _layer_lines(self.layers)
        candidates = f"{len(self.candidates)} candidate{'s' * (len(self.candidates) != 1)}"
        yield "search", f"{candidates} in {self.seconds:.1f} s"


def _photographs(report: QuantizeReport) -> Iterator[str]:
    for size, speed in report.photograph_speeds.items():
        yield f"{size}: {speed_of(speed)}"


def _speed_highlight(report: QuantizeReport) -> tuple[Highlight, ...]:
    if (speed := report.speed) is None:
        return ()
    value = f"{number(max(speed.ratio, 1 / speed.ratio))}x {'faster' if speed.ratio >= 1 else 'slower'}"
    interval_text = speed_interval(speed.ratio, speed.low, speed.high)
    meaning = (
        f"than the original, one image on {threads_text(report.setup.threads)}: the median over "
        f"{speed.pairs} pairs of runs in turns ({interval_text})."
    )
    return (Highlight(value, "Speed", meaning),)


def _fastest_highlight(candidates: Iterable[CandidateResult]) -> tuple[Highlight, ...]:
    fastest = max(candidates, key=lambda candidate: candidate.ratio, default=None)
    if fastest is None or fastest.speed is None:
        return ()
    factor = max(fastest.ratio, 1 / fastest.ratio)
    value = f"{number(factor)}x {'faster' if fastest.ratio >= 1 else 'slower'}"
    ends = speed_interval(fastest.ratio, fastest.speed.low, fastest.speed.high)
    meaning = f"than the original ({ends}), not used: {fastest.change}."
    return (Highlight(value, "The fastest of them", meaning),)


def _accuracy_highlight(accuracy: Accuracy | None) -> tuple[Highlight, ...]:
    if accuracy is None:
        return ()
    same = f"the same answer for {accuracy.agreement:.2f} % of {accuracy.images:,} images"
    if accuracy.before is None or accuracy.after is None:
        meaning = (
            f"points of accuracy (at most {accuracy.expected_high:.2f}), expected from the answers that "
            f"change; it gives {same}. Labels, or more images, make this more certain."
        )
        return (Highlight(f"{accuracy.expected_drop:.2f}", "Expected accuracy cost", meaning),)
    meaning = (
        f"of the answers are right; the drop is {accuracy.drop_low:.2f} to {accuracy.drop_high:.2f} points "
        f"(95 %). It gives {same}."
    )
    top1 = f"{accuracy.before.top1:.2f} → {accuracy.after.top1:.2f} %"
    return (Highlight(top1, "Accuracy", meaning),)


@dataclass(frozen=True)
class QuantizePreview:
    """Result of `preview_quantize`.

    Attributes:
        name: Name of the model.
        path: File that would be written.
        setup: What was requested, and what it would be measured on.
        layers: Linear layers as they are tried first, in the order of the graph.
        original_ms: Time of the original for one image, in milliseconds.
        min_seconds: Estimated duration in seconds if the first candidate is accepted.
        max_seconds: Estimated duration in seconds if layers must be promoted one by one.
    """

    name: str
    path: str
    setup: QuantizeSetup
    layers: tuple[QuantizedLayer, ...]
    original_ms: float
    min_seconds: float
    max_seconds: float

    def sections(self) -> tuple[Section, ...]:
        """What would be tried, for text and pages."""
        setup = self.setup
        images = f"{setup.evaluation_images:,} {'labeled' if setup.labeled else 'unlabeled'} images"
        seconds = f"{_duration(self.min_seconds)} to {_duration(self.max_seconds)}"
        lines = (
            ("would write", self.path),
            ("calibration", f"{setup.calibration_images:,} images of {setup.options.calibration}"),
            ("evaluation", f"{images}, drop of at most {setup.options.max_drop:g} points"),
            *_layer_lines(self.layers),
            ("original", f"{self.original_ms:.3f} ms per image, {threads_text(setup.threads)}"),
            ("would take", seconds),
        )
        return (Section("", lines=lines),)


def speed_of(comparison: Comparison) -> str:
    """Speed of a candidate compared with the original, with its interval and both times, in words."""
    c = comparison
    return speed_text(c.ratio, "the original", c.second_ms, c.first_ms, (c.low, c.high))


def _layer_lines(layers: Iterable[QuantizedLayer]) -> Iterator[tuple[str, str]]:
    """Layers by precision, and why layers stay in float32."""
    titles: dict[str, list[str]] = {}
    for layer in layers:
        titles.setdefault(layer.precision, []).append(layer.title)
    counts = (f"{len(names)} {precision}: {', '.join(names)}" for precision, names in sorted(titles.items()))
    yield "layers", "; ".join(counts)
    reasons = [f"{x.title}: {x.reason or 'as in the original'}" for x in layers if x.precision == "float32"]
    yield from under("in float32", reasons)


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def _page_sections(report: QuantizeReport) -> Iterator[Section]:
    """The sections that only pages show."""
    if report.warnings or report.notes:
        yield Section("Notes", notes=(*report.warnings, *report.notes), shown_in="page")
    if report.candidates:
        yield _candidates(report)
    yield _layers(report)
    setup, options = report.setup, report.setup.options
    lines = (
        ("source", setup.source),
        *([("portable to", report.portable_to)] if report.portable_to else []),
        *([("operators", report.operators)] if report.operators else []),
        ("calibration", f"{setup.calibration_images:,} images of {options.calibration}"),
        ("evaluation", f"{setup.evaluation_images:,} images of {options.evaluation or options.calibration}"),
        (
            "options",
            f"drop of at most {options.max_drop:g} points, target {options.target}, prefer {options.prefer}",
        ),
        *under("with resize", _photographs(report)),
        ("timed on", f"{setup.machine}, {threads_text(setup.threads)}"),
        ("duration", f"{report.seconds:.1f} s"),
    )
    headline = f"{setup.calibration_images:,} images to calibrate, {setup.evaluation_images:,} to judge"
    yield Section("How it was measured", headline, lines=lines, folded=True, shown_in="page")


def _candidates(report: QuantizeReport) -> Section:
    columns = (
        Column("number", "right"),
        Column("candidate", wrap=True),
        Column("speed", "right"),
        Column("95 % interval", interval=True),
        Column("accuracy cost", "right"),
        Column("same answer", "right"),
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
    chart = Chart("candidates", "candidates", "Candidates by speed, accuracy cost and size", report)
    method = (
        "A circle is a candidate, its area the size of the file, its lines 95 % intervals; the dotted line "
        "is the path of the search, from the original. Further right is faster than the original, further up "
        "loses accuracy: percentage points of right answers, or without labels those to expect."
    )
    return Section(
        "What was tried", "", method, tables=(Table(columns, rows),), charts=(chart,), shown_in="page"
    )


def _accuracy(accuracy: Any) -> tuple[str, str]:
    if accuracy is None:
        return "", ""
    agreement = f"{accuracy.agreement:.2f} %"
    if accuracy.drop is None:
        return f"{accuracy.expected_drop:.2f} (expected, up to {accuracy.expected_high:.2f})", agreement
    return f"{accuracy.drop:.2f} ({accuracy.drop_low:.2f} to {accuracy.drop_high:.2f})", agreement


def _layers(report: QuantizeReport) -> Section:
    columns = (
        *map(Column, ("layer", "kind", "precision")),
        *(Column(title, "right") for title in ("weights", "multiply-adds", "relative cost", "ms")),
        Column("of the limit", "right"),
        Column("reason", wrap=True),
    )
    chart = Chart("layers", "precisions", "Layers by precision and accuracy cost", report.layers)
    method = (
        "The upper bar is a layer's share of the multiply-adds, in the color of its precision; the lower bar "
        "is how far it alone, quantized, moves the probabilities, relative to the layer that moves them most."
    )
    highest = max((layer.kl_divergence or 0.0 for layer in report.layers), default=0.0)
    table = Table(columns, tuple(_layer(layer, highest) for layer in report.layers))
    return Section("Layers", "", method, tables=(table,), charts=(chart,), shown_in="page")


def _layer(layer: QuantizedLayer, highest: float) -> tuple[str | TableCell, ...]:
    limit = "" if layer.limit_fraction is None else f"{percent(layer.limit_fraction)} "
    known = layer.kl_divergence is not None and highest > 0
    return (
        TableCell(layer.title, layer.node),
        TableCell(kind_text(layer.op), f"ONNX: {layer.op}"),
        layer.precision,
        f"{layer.parameters:,}",
        f"{layer.multiply_adds:,}",
        percent(max(layer.kl_divergence or 0.0, 0.0) / highest) if known else "",
        "" if layer.time_ms is None else number(layer.time_ms),
        f"{limit}{layer.limit or ''}",
        layer.reason,
    )
