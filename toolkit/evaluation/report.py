"""`Evaluation`: the result of `evaluate`, and how text and pages show it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

from cnntk.benchmark.statistics.classification import Calibration
from cnntk.benchmark.statistics.intervals import Estimate
from cnntk.evaluation.result import (
    THUMBNAIL_SIDE,
    AccuracyVerdict,
    ClassScore,
    Mistake,
    ModelScore,
    PairedComparison,
    TemperatureFit,
)
from cnntk.runtime.codec import NOT_IN_JSON
from cnntk.runtime.notebook import summary_html
from cnntk.runtime.sections import (
    Bins,
    Chart,
    Column,
    Header,
    Highlight,
    Matrix,
    Section,
    Table,
    TableCell,
    Thumbnails,
    Tone,
    Value,
    interval,
    number,
    under,
)

__all__ = ["Evaluation"]

_TEXT_CLASSES, _TEXT_PAIRS, _TEXT_MISTAKES = 20, 10, 5
"""Rows of tables in a terminal."""

_DRAWN_CLASSES = 30
"""Number of classes up to which the whole confusion matrix is drawn."""


@dataclass(frozen=True)
class Evaluation:
    """Result of `evaluate`.

    Attributes:
        data: Name of the data.
        images: Number of images that were classified.
        models: Scores of each model.
        comparisons: Comparison of each model but the first with the first.
        temperature: Temperature that was fitted; None without ``calibrate``.
        unreadable: Errors of the images that can't be read, a line each; they count nowhere.
        notes: Remarks on the images.
        seconds: Duration in seconds.
        source: Data as it was named.
    """

    JSON_PROPERTIES: ClassVar[tuple[str, ...]] = ("holds",)

    data: str
    images: int
    models: tuple[ModelScore, ...]
    comparisons: tuple[PairedComparison, ...] = ()
    temperature: TemperatureFit | None = None
    unreadable: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    seconds: float = 0.0
    source: str = field(default="", metadata=NOT_IN_JSON)

    @property
    def holds(self) -> bool:
        """Whether all images were read, and a temperature that was fitted lowers the loss."""
        return not self.unreadable and (self.temperature is None or self.temperature.helps)

    def header(self) -> Header:
        """What stands at the top of the page."""
        first, alone = self.models[0], len(self.models) == 1
        verdict = f"{first.correct:,} of {first.images:,} images of {self.data} are classified correctly"
        if not alone:
            verdict = "; ".join(_comparison_text(one, self.images) for one in self.comparisons)
        if self.unreadable:
            verdict += f"; {len(self.unreadable):,} images cannot be read"
        return Header(
            name=first.name if alone else ", ".join(Path(score.model).name for score in self.models),
            title=f"Evaluation on {self.data}",
            verdict=verdict,
            tone="bad" if self.unreadable else "",
            highlights=tuple(_highlights(first) if alone else map(_accuracy_highlight, self.models[:3])),
            model=first.model if alone else "",
            digests=tuple(score.digest for score in self.models),
            images=self.source,
        )

    def _repr_html_(self) -> str:
        """The head of its page, for notebooks."""
        return summary_html(self.header())

    def sections(self) -> tuple[Section, ...]:
        """The scores, for text and pages."""
        lines = tuple(self._lines())
        summary = Section("", lines=lines, shown_in="text")
        if len(self.models) == 1:
            page = Section("Scores", lines=lines, shown_in="page")
            return (summary, page, *_model_sections(self.models[0]))
        details = [
            replace(section, title=f"{score.model}: {section.title}", shown_in="page")
            for score in self.models
            for section in _model_sections(score)
            if section.shown_in != "text"
        ]
        return (summary, self._comparison(), *details)

    def _lines(self) -> Iterator[tuple[str, str]]:
        yield "images", f"{self.images:,} of {self.data}"
        if len(self.models) == 1:
            yield "model", self.models[0].model
            yield from _score_lines(self.models[0])
        if (fit := self.temperature) is not None:
            yield from _temperature_lines(fit)
        if self.unreadable:
            yield "unreadable", f"{len(self.unreadable):,} images, which count nowhere"
        yield "time", f"{self.seconds:.1f} s"

    def _comparison(self) -> Section:
        columns = (
            Column("model"),
            Column("top-1", "right"),
            Column("95 % interval", "right", interval=True),
            Column("top-5", "right", optional=True),
            Column("loss", "right"),
            Column("ECE", "right"),
            Column("gained", "right"),
            Column("lost", "right"),
            Column("p", "right"),
        )
        compared = {one.model: one for one in self.comparisons}
        rows = tuple(_comparison_row(score, compared.get(score.model)) for score in self.models)
        method = (
            "McNemar's exact test on the images that only one of two models classifies correctly "
            "(Psychometrika 12 (1947) 153), two-sided, by Holm for all comparisons"
        )
        texts = (_comparison_text(one, self.images) for one in self.comparisons)
        lines = under("", texts)
        return Section("Comparison", method=method, tables=(Table(columns, rows),), lines=lines)


def _accuracy_highlight(score: ModelScore) -> Highlight:
    meaning = f"For images like these it is between {_ends(score.top1)} (95 % interval)."
    return Highlight(_share(score.top1), Path(score.model).name, meaning)


def _highlights(score: ModelScore) -> Iterator[Highlight]:
    yield replace(_accuracy_highlight(score), label="Top-1 accuracy")
    if score.top5 is not None:
        yield Highlight(
            _share(score.top5), "Top-5 accuracy", "The label is among the first five predictions."
        )
    worst = min((one for one in score.classes if one.recall), key=lambda one: _recall(one))
    yield Highlight(
        f"{100 * _recall(worst):.2f} %",
        "Weakest class",
        f"Share of the images of {worst.label} that are recognized.",
    )


def _recall(one: ClassScore) -> float:
    return 1.0 if one.recall is None else one.recall.value


def _score_lines(score: ModelScore) -> Iterator[tuple[str, str]]:
    wrong = score.images - score.correct
    yield "top-1", f"{_share(score.top1)} (95 % interval {_ends(score.top1)}), {wrong:,} mistakes"
    if score.top5 is not None:
        yield "top-5", f"{_share(score.top5)} ({_ends(score.top5)})"
    yield "loss", f"{number(score.loss.value)} nats (95 % interval {interval(score.loss)})"
    yield "calibration", _calibration_text(score.calibration)


def _calibration_text(calibration: Calibration) -> str:
    chance = (
        f"{100 * calibration.chance_ece:.2f} % on average, up to {100 * calibration.chance_ece_limit:.2f} %"
    )
    ece = f"ECE {100 * calibration.ece:.2f} % (by chance a perfectly calibrated model has {chance})"
    return f"{ece}: {calibration.verdict}"


def _temperature_lines(fit: TemperatureFit) -> Iterator[tuple[str, str]]:
    each = " and ".join(f"{one:.4g}" for one in fit.half_temperatures)
    yield "temperature", f"{fit.temperature:.4g} on all images, {each} on halves of them"
    yield "", f"ECE {100 * fit.ece_before:.2f} -> {100 * fit.ece_after:.2f} %, each half with the other's"
    yield "", f"loss {number(fit.loss_before)} -> {number(fit.loss_after)} nats, likewise"
    if fit.path is not None:
        yield "wrote", fit.path
    else:
        yield (
            "",
            "the loss is not lower, so nothing was written: no temperature improves this model",
        )


def _comparison_row(score: ModelScore, comparison: PairedComparison | None) -> tuple[str | TableCell, ...]:
    cells = (
        score.model,
        _share(score.top1),
        _ends(score.top1),
        "" if score.top5 is None else _share(score.top5),
        number(score.loss.value),
        f"{100 * score.calibration.ece:.2f} %",
    )
    if comparison is None:
        return *cells, "", "", ""
    tones: dict[AccuracyVerdict, Tone] = {"better": "good", "worse": "bad", "no difference": ""}
    p = TableCell(f"{comparison.p:.2g}", tone=tones[comparison.verdict])
    return *cells, f"+{comparison.gained}", f"-{comparison.lost}", p


def _comparison_text(comparison: PairedComparison, images: int) -> str:
    if comparison.verdict == "no difference":
        return f"{comparison.model}: no difference can be seen with {images:,} images"
    points = 100 * abs(comparison.difference.value)
    ends = sorted(100 * abs(end) for end in (comparison.difference.low, comparison.difference.high))
    return (
        f"{comparison.model}: {comparison.verdict} than {comparison.other} by {points:.2f} percentage points "
        f"({ends[0]:.2f} to {ends[1]:.2f})"
    )


def _model_sections(score: ModelScore) -> Iterator[Section]:
    """Classes, confusion, calibration and mistakes of one model."""
    yield from _class_sections(score)
    yield from _confusion_sections(score)
    yield from _calibration_sections(score)
    yield from _mistake_sections(score)


def _class_sections(score: ModelScore) -> Iterator[Section]:
    columns = (
        Column("class"),
        Column("images", "right"),
        Column("recall", "right"),
        Column("95 % interval", "right", interval=True),
        Column("precision", "right"),
        Column("95 % interval", "right", interval=True, optional=True),
    )
    title, rows = "Classes", [_class_row(one) for one in score.classes]
    if len(rows) <= _TEXT_CLASSES:
        yield Section(title, tables=(Table(columns, tuple(rows)),))
        return
    worst = sorted(score.classes, key=lambda one: (_recall(one), -one.images))
    headline = f"those of {len(rows):,} with the least recall"
    few = tuple(map(_class_row, worst[:_TEXT_PAIRS]))
    yield Section(title, headline, tables=(Table(columns, few),))
    yield Section("All classes", tables=(Table(columns, tuple(rows)),), shown_in="page", folded=True)


def _class_row(one: ClassScore) -> tuple[str, ...]:
    recall = ("", "") if one.recall is None else (_share(one.recall), _ends(one.recall))
    precision = ("", "") if one.precision is None else (_share(one.precision), _ends(one.precision))
    return one.label, f"{one.images:,}", *recall, *precision


def _confusion_sections(score: ModelScore) -> Iterator[Section]:
    pairs = score.confused_pairs
    title = "Most confused"
    if not pairs:
        yield Section(title, "no image is classified wrongly", shown_in="text")
    columns = Column("class"), Column("predicted"), Column("images", "right"), Column("of the class", "right")
    counts = {one.label: one.images for one in score.classes}
    rows = tuple(
        (pair.label, pair.predicted, f"{pair.images:,}", f"{100 * pair.images / counts[pair.label]:.1f} %")
        for pair in pairs
    )
    if rows:
        yield Section(title, tables=(Table(columns, rows[:_TEXT_PAIRS]),), shown_in="text")
    labels = [one.label for one in score.classes]
    whole = len(labels) <= _DRAWN_CLASSES
    if not whole:  # the classes of the most confused pairs
        ranked = dict.fromkeys(name for pair in pairs for name in (pair.label, pair.predicted))
        labels = sorted(list(ranked)[:_DRAWN_CLASSES], key=labels.index)
    cells = {(pair.label, pair.predicted): pair.images for pair in score.confusion}
    matrix = Matrix(tuple(labels), tuple(tuple(cells.get((a, b), 0) for b in labels) for a in labels))
    name = "Images by class (rows) and prediction (columns)"
    text = name if whole else f"{name}, of the {len(labels)} most confused classes"
    chart = Chart(_chart_name(score, "confusion"), "confusion", text, matrix)
    tables = (Table(columns, rows[:_TEXT_MISTAKES]),) if rows else ()
    yield Section("Confusion", tables=tables, charts=(chart,), shown_in="page", half=True)
    if not whole:
        yield Section("All confused pairs", tables=(Table(columns, rows),), shown_in="page", folded=True)


def _calibration_sections(score: ModelScore) -> Iterator[Section]:
    calibration = score.calibration
    columns = (
        Column("confidence"),
        Column("images", "right"),
        Column("mean confidence", "right"),
        Column("accuracy", "right"),
        Column("95 % interval", "right", interval=True),
    )
    rows = tuple(
        (
            f"{100 * one.low:.1f} to {100 * one.high:.1f} %",
            f"{one.images:,}",
            f"{100 * one.confidence:.2f} %",
            _share(one.accuracy),
            _ends(one.accuracy),
        )
        for one in calibration.bins
    )
    bins = tuple(
        (one.low, one.high, Value(one.accuracy.value, one.accuracy.low, one.accuracy.high, text[3]))
        for one, text in zip(calibration.bins, rows, strict=True)
    )
    confidences = tuple(one.confidence for one in calibration.bins)
    data = Bins(bins, tuple(one.images for one in calibration.bins), confidences)
    title = "Accuracy by confidence; a perfectly calibrated model is on the diagonal"
    yield Section(
        "Calibration",
        _calibration_text(calibration),
        method=(
            "The expected calibration error (Naeini, Cooper and Hauskrecht, AAAI 2015) is the mean "
            "difference of confidence and accuracy in 15 bins of equal width, weighted by their images"
        ),
        charts=(Chart(_chart_name(score, "reliability"), "reliability", title, data),),
        shown_in="page",
        half=True,
    )
    table = Table(columns, rows)
    yield Section("Accuracy by confidence", tables=(table,), shown_in="page", folded=True)


def _mistake_sections(score: ModelScore) -> Iterator[Section]:
    if not score.mistakes:
        return
    columns = Column("image"), Column("class"), Column("predicted"), Column("confidence", "right")
    rows = tuple(
        (one.image, one.label, one.predicted, f"{100 * one.confidence:.1f} %") for one in score.mistakes
    )
    title = "Worst mistakes"
    headline = f"the {len(rows)} images whose label has the least probability"
    yield Section(title, tables=(Table(columns, rows[:_TEXT_MISTAKES]),), shown_in="text")
    pictures = tuple((one.thumbnail, *one.size, _caption(one)) for one in score.mistakes if one.thumbnail)
    chart = Chart(_chart_name(score, "mistakes"), "thumbnails", "", Thumbnails(pictures, THUMBNAIL_SIDE))
    yield Section(title, headline, charts=(chart,), shown_in="page")
    yield Section("Names of the worst mistakes", tables=(Table(columns, rows),), shown_in="page", folded=True)


def _caption(one: Mistake) -> tuple[str, ...]:
    return one.label, f"as {one.predicted}", f"{100 * one.confidence:.1f} %"


def _chart_name(score: ModelScore, kind: str) -> str:
    return f"{Path(score.model).stem}-{kind}"


def _share(estimate: Estimate) -> str:
    return f"{100 * estimate.value:.2f} %"


def _ends(estimate: Estimate) -> str:
    return f"{100 * estimate.low:.2f} to {100 * estimate.high:.2f} %"
