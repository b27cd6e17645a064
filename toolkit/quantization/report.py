"""Results of `quantize` and `preview_quantize`, and of the candidates that a search measured."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cnntk.quantization.options import QuantizeOptions
from cnntk.quantization.report_sections import page_header, page_sections
from cnntk.runtime.sections import Header, Section, interval, size_text, speed_text, threads_text, under

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
        change = f"{self.before:.3g} -> {self.after:.3g} nats"
        return f"{self.name}: KL divergence from the original {change}, {verdict}"


@dataclass(frozen=True)
class QuantizeReport:
    """Result of `quantize`.

    Attributes:
        path: File that was written.
        name: Name of the model.
        changed: Whether the file is quantized; otherwise it is a copy of the original.
        reason: Why this result was selected.
        portable_to: CPUs that compute the same outputs.
        setup: What was requested, and what it was measured on.
        layers: Linear layers, in the order of the graph.
        accuracy: Accuracy compared with the original; None for a copy.
        speed: Speed compared with the original; None for a copy.
        size_bytes: Size of the file, including external data.
        original_size_bytes: Size of the original, including external data.
        candidates: All measured candidates, in order.
        warnings: Warnings about the calibration images.
        interrupted: Whether the search was interrupted.
        digest: SHA-256 that is embedded in the file.
        seconds: Duration in seconds.
        notes: Notes for the user.
    """

    path: str
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
    digest: str = ""
    seconds: float = 0.0
    notes: tuple[str, ...] = ()

    def sections(self) -> tuple[Section, ...]:
        """What was written, and what it costs and gains, for text and pages."""
        return (Section("", lines=tuple(self._lines()), shown_in="text"), *page_sections(self))

    def header(self) -> Header:
        """Header of the page."""
        return page_header(self)

    def _lines(self) -> Iterator[tuple[str, str]]:
        wrote = f"{self.path} ({size_text(self.size_bytes)})"
        yield "wrote", wrote if self.changed else f"{wrote}: {self.setup.source}, unchanged"
        yield "selected because", self.reason
        if self.accuracy is not None:
            yield "accuracy", str(self.accuracy)
        if self.speed is not None:
            speed = speed_text(self.speed.ratio, "the original", self.speed.second_ms, self.speed.first_ms)
            threads = threads_text(self.setup.threads)
            yield "time", f"{speed}, 95 % interval {interval(self.speed)}, {threads}"
        if self.changed:
            share = self.size_bytes / self.original_size_bytes
            sizes = f"{size_text(self.original_size_bytes)} -> {size_text(self.size_bytes)}"
            yield "size", f"{sizes}, {share:.0%} of the original"
            yield "portable to", self.portable_to
        yield from _layer_lines(self.layers)
        candidates = f"{len(self.candidates)} candidate{'s' * (len(self.candidates) != 1)}"
        yield "search", f"{candidates} in {self.seconds:.1f} s"


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
