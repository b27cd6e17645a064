"""What quantizing a model did and showed, or would try."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from cnntk.quantization.report_sections import page_header, page_sections
from cnntk.runtime.codec import as_json
from cnntk.runtime.sections import Header, Section, interval, size_text, speed_text, threads_text, under

if TYPE_CHECKING:
    from cnntk.benchmark.compare import Comparison
    from cnntk.quantization.accuracy import Accuracy
    from cnntk.quantization.result import Step

__all__ = ["LayerRow", "QuantizePreview", "QuantizeReport", "Setting"]


@dataclass(frozen=True)
class LayerRow:
    """A linear layer of the result.

    Attributes:
        node: its name in the graph.
        title: of the torch module, where that is known.
        op: ONNX operator.
        parameters: weights.
        multiply_adds: of one image.
        kind: as in `cnntk.quantization.config.LayerPlan`.
        reason: why.
        cost: how far the answers were from the original's with it alone quantized, in nats; None where that
            was not asked.
        time_ms: of a run of the result; None where layers were not timed, or it ran as part of another.
        limit: what binds it: ``compute``, ``memory`` or ``in cache``; None where that is not known.
        distance: its time at the machine's limit as a share of its time: 1 is at the limit; None likewise.
    """

    node: str
    title: str
    op: str
    parameters: int
    multiply_adds: int
    kind: str
    reason: str
    cost: float | None = None
    time_ms: float | None = None
    limit: str | None = None
    distance: float | None = None


@dataclass(frozen=True)
class Setting:
    """What was asked for, and where it was measured.

    Attributes:
        source: the file that was quantized.
        calibration: DATA.
        calibration_images: how many.
        max_drop: in points.
        target: ``any`` or ``vnni``.
        prefer: ``speed`` or ``size``.
        threads: of all measurements of time.
        machine: on which they were made.
    """

    source: str
    calibration: str
    calibration_images: int
    max_drop: float
    target: str
    prefer: str
    threads: int
    machine: str


@dataclass(frozen=True)
class QuantizeReport:
    """What quantizing a model did and showed.

    Attributes:
        path: of the file that was written.
        name: of the model.
        changed: whether it is quantized; else the file is the original, as it was.
        reason: why this is the result.
        holds_on: for which CPUs its answers hold.
        setting: what was asked for.
        layers: the linear ones, in the order of the graph.
        accuracy: beside the original; None where that stays.
        race: the original against it; None where that stays.
        size_bytes: of the file.
        original_size_bytes: of the original.
        path_steps: every candidate that was measured, in order.
        warnings: of the calibration.
        interrupted: whether the search was ended early.
        digest: SHA-256 of the file.
        seconds: how long it took.
        notes: what the user should know.
    """

    path: str
    name: str
    changed: bool
    reason: str
    holds_on: str
    setting: Setting
    layers: tuple[LayerRow, ...]
    accuracy: Accuracy | None
    race: Comparison | None
    size_bytes: int
    original_size_bytes: int
    path_steps: tuple[Step, ...]
    warnings: tuple[str, ...] = ()
    interrupted: bool = False
    digest: str = ""
    seconds: float = 0.0
    notes: tuple[str, ...] = field(default=())

    def sections(self) -> tuple[Section, ...]:
        """What was written, and what it costs and wins, for text and pages."""
        return (Section("", lines=tuple(self._lines()), shown_in="text"), *page_sections(self))

    def header(self) -> Header:
        """What the page of the quantization begins with."""
        return page_header(self)

    def _lines(self) -> Iterator[tuple[str, str]]:
        wrote = f"{self.path} ({size_text(self.size_bytes)})"
        yield "wrote", wrote if self.changed else f"{wrote}: {self.setting.source}, unchanged"
        yield "selected because", self.reason
        if self.accuracy is not None:
            yield "accuracy", str(self.accuracy)
        if self.race is not None:
            speed = speed_text(self.race.ratio, "the original", self.race.second_ms, self.race.first_ms)
            threads = threads_text(self.setting.threads)
            yield "time", f"{speed}, 95 % interval {interval(self.race)}, {threads}"
        if self.changed:
            share = self.size_bytes / self.original_size_bytes
            sizes = f"{size_text(self.original_size_bytes)} -> {size_text(self.size_bytes)}"
            yield "size", f"{sizes}, {share:.0%} of the original"
            yield "portable to", self.holds_on
        yield from _layer_lines(self.layers)
        candidates = f"{len(self.path_steps)} candidate{'s' * (len(self.path_steps) != 1)}"
        yield "search", f"{candidates} in {self.seconds:.1f} s"

    def to_json(self) -> dict[str, Any]:
        """As JSON data."""
        return {
            **{k: v for k, v in asdict(self).items() if k not in ("accuracy", "race", "path_steps")},
            "accuracy": self.accuracy and self.accuracy.to_json(),
            "race": self.race and as_json(self.race),
            "path_steps": [step.to_json() for step in self.path_steps],
        }


@dataclass(frozen=True)
class QuantizePreview:
    """What `quantize` would try, and how long it would take.

    Attributes:
        name: of the model.
        path: of the file that would be written.
        setting: what was asked for.
        layers: what is tried first, in the order of the graph.
        evaluation_images: by which each candidate would be judged.
        labeled: whether these have labels.
        original_ms: of one image, in the original.
        least_seconds: where the first candidate holds.
        most_seconds: where precision must be given back layer by layer.
    """

    name: str
    path: str
    setting: Setting
    layers: tuple[LayerRow, ...]
    evaluation_images: int
    labeled: bool
    original_ms: float
    least_seconds: float
    most_seconds: float

    def sections(self) -> tuple[Section, ...]:
        """What would be tried, for text and pages."""
        setting = self.setting
        images = f"{self.evaluation_images:,} {'labeled' if self.labeled else 'unlabeled'} images"
        seconds = f"{_duration(self.least_seconds)} to {_duration(self.most_seconds)}"
        lines = (
            ("would write", self.path),
            ("calibration", f"{setting.calibration_images:,} images of {setting.calibration}"),
            ("evaluation", f"{images}, drop of at most {setting.max_drop:g} points"),
            *_layer_lines(self.layers),
            ("original", f"{self.original_ms:.3f} ms per image, {threads_text(setting.threads)}"),
            ("would take", seconds),
        )
        return (Section("", lines=lines),)

    def to_json(self) -> dict[str, Any]:
        """As JSON data."""
        return asdict(self)


def _layer_lines(layers: Iterable[LayerRow]) -> Iterator[tuple[str, str]]:
    """Layers by precision, and why layers stay in float32."""
    titles: dict[str, list[str]] = {}
    for layer in layers:
        titles.setdefault(layer.kind, []).append(layer.title)
    counts = (f"{len(names)} {kind}: {', '.join(names)}" for kind, names in sorted(titles.items()))
    yield "layers", "; ".join(counts)
    reasons = [f"{x.title}: {x.reason or 'as in the original'}" for x in layers if x.kind == "float32"]
    yield from under("in float32", reasons)


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
