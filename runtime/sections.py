"""Sections of a result, which the command line prints as text and reports draw as a page.

A result's ``sections()`` returns them, so that a new figure needs no change in either. Numbers in cells and
lines are text already; `number`, `size_text` and `percent` write them alike everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal

from cnntk.runtime.record import Record

if TYPE_CHECKING:
    from cnntk.runtime.artifact.spec import Layer

Align = Literal["left", "right", "decimal"]
Tone = Literal["", "good", "bad"]


class TableCell(Record):
    """A cell of a table that is more than its text.

    Attributes:
        text: Text of the cell.
        hint: Full text that a page shows where the pointer rests on the cell.
        tone: Whether the cell is good or bad news, which a page shows by its color.
    """

    text: str
    hint: str = ""
    tone: Tone = ""


class Column(Record):
    """A column of a table.

    Attributes:
        title: Header of the column.
        align: Alignment of the cells; ``decimal`` puts the decimal points below each other.
        wrap: Whether long cells are prose that may be broken over several lines.
        interval: Whether the column is the interval of the column before it, where a narrow page shows it.
        optional: Whether text of 80 columns may leave the column out where it has no room for it.
    """

    title: str
    align: Align = "left"
    wrap: bool = False
    interval: bool = False
    optional: bool = False


class Table(Record):
    """A table; each row has a cell for each column."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[str | TableCell, ...], ...]

    @property
    def cells(self) -> tuple[tuple[TableCell, ...], ...]:
        """The rows, each cell a `TableCell`."""
        return tuple(tuple(c if isinstance(c, TableCell) else TableCell(c) for c in row) for row in self.rows)

    @property
    def used_columns(self) -> tuple[int, ...]:
        """Indices of the columns in which any cell has text."""
        return tuple(i for i in range(len(self.columns)) if any(row[i].text for row in self.cells))


class Chart(Record):
    """A chart, which only pages draw: whatever it shows is in the section's lines or tables as well.

    Attributes:
        name: Name of its file, without suffix, like ``latency-histogram``.
        kind: Kind of the chart, a key of `cnntk.reports.charts.DRAWERS`.
        title: Sentence that says what the chart shows.
        data: Plain data, of the type that this kind of chart draws.
    """

    name: str
    kind: str
    title: str
    data: Any


class Part(Record):
    """A part of a `Bar`: its name, its value, and the value as text with its unit."""

    name: str
    value: float
    text: str


class Bar(Record):
    """Parts stacked in one bar, and a value that is marked beside them."""

    title: str
    parts: tuple[Part, ...]
    mark: Part | None = None


class Bars(Record):
    """Data of a chart of kind ``bars``: bars with the same parts, whose values have one unit."""

    unit: str
    bars: tuple[Bar, ...]


class Value(Record):
    """A value with the ends of its interval, and the text that a page shows for it."""

    value: float
    low: float
    high: float
    hint: str = ""


class Curves(Record):
    """Data of a chart of kind ``curves``: estimates over positive x values, a line for each name."""

    x_title: str
    y_title: str
    lines: tuple[tuple[str, tuple[tuple[float, Value], ...]], ...]


class Intervals(Record):
    """Data of a chart of kind ``intervals``: a row for each name.

    Attributes:
        unit: Title of the axis.
        equal: Value that means no difference.
        rows: Name, estimate and tone of each row.
        bound: Value that is the limit, if there is one.
        log: Whether equal ratios are equally far apart.
    """

    unit: str
    equal: float
    rows: tuple[tuple[str, Value, Tone], ...]
    bound: float | None = None
    log: bool = False


class Timeline(Record):
    """Data of charts of the kinds ``timeline`` and ``histogram``: how long runs took.

    Attributes:
        starts_s: Start of each run in s, float64 (N,).
        values_ms: Duration of each run in ms, float64 (N,).
        marks: Percentiles and their estimates in ms, like ``("p90", estimate)``.
    """

    starts_s: Any
    values_ms: Any
    marks: tuple[tuple[str, Value], ...]


class Highlight(Record):
    """One of the few values that a page begins with.

    Attributes:
        value: Value with its unit.
        label: Name of the value.
        meaning: Sentence that says what the value means to somebody who does not know the project.
    """

    value: str
    label: str
    meaning: str = ""


class Matrix(Record):
    """Data of a chart of kind ``confusion``: numbers of images by class and prediction.

    Attributes:
        labels: Names of the classes, K.
        counts: Numbers of images, K rows of K, a row for each class and a column for each prediction.
    """

    labels: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]


class Bins(Record):
    """Data of a chart of kind ``reliability``: accuracy by confidence, all from 0 to 1.

    Attributes:
        bins: Ends of each bin with images, and the accuracy of its images.
        counts: Number of images of each bin.
        confidences: Mean confidence of each bin.
    """

    bins: tuple[tuple[float, float, Value], ...]
    counts: tuple[int, ...]
    confidences: tuple[float, ...]


class Thumbnails(Record):
    """Data of a chart of kind ``thumbnails``: small pictures, each with lines of text.

    Attributes:
        pictures: PNG or JPEG bytes, width and height in pixels, and lines of text of each.
        side: Longest side of a picture in pixels.
    """

    pictures: tuple[tuple[bytes, int, int, tuple[str, ...]], ...]
    side: int


class Header(Record):
    """What stands at the top of a result's page.

    Attributes:
        name: Name of the model.
        title: What the page is, like ``Bench report``.
        verdict: Sentence that sums the result up.
        tone: Whether the verdict is good or bad news.
        highlights: The three most important values.
        note: Sentence below them.
        model: Path of the model's file, which the page describes and shows an answer of; empty for none.
        digests: Embedded digest or SHA-256 of the file, and of the files that it was made of or compared
            with: pages that share one link to each other.
        images: ``--data`` or ``--calibration`` of the result, or the path of an image, of which the page
            shows one with the model's answer; empty where the result has none.
        machine: Machine of the measurements in a line; empty for the one that makes the page.
    """

    name: str
    title: str
    verdict: str
    tone: Tone = ""
    highlights: tuple[Highlight, ...] = ()
    note: str = ""
    model: str = ""
    digests: tuple[str, ...] = ()
    images: str = ""
    machine: str = ""


class Section(Record):
    """A part of a result.

    Attributes:
        title: Title; empty for a result of one section.
        headline: Sentence that says the most important of it.
        method: Sentences on how it was measured, which pages show and text leaves out.
        lines: Labels and texts, one a line.
        tables: Tables.
        charts: Charts, which pages draw side by side.
        notes: Sentences on what else to know.
        tone: Whether it is good or bad news.
        shown_in: Where the section is shown, by text, by pages or by both.
        half: Whether a wide page shows the section beside another such one.
        folded: Whether pages show its title and headline alone until the reader opens it.
        aside: Whether a wide page shows it in a column of its own, in view while the rest is read.
    """

    title: str
    headline: str = ""
    method: str = ""
    lines: tuple[tuple[str, str], ...] = ()
    tables: tuple[Table, ...] = ()
    charts: tuple[Chart, ...] = ()
    notes: tuple[str, ...] = ()
    tone: Tone = ""
    shown_in: Literal["both", "page", "text"] = "both"
    half: bool = False
    folded: bool = False
    aside: bool = False


def under(title: str, texts: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """Lines of a section; only the first has the title as its label."""
    return tuple((title if i == 0 else "", text) for i, text in enumerate(texts))


def number(value: float) -> str:
    """``0.0521``, ``12.0``, ``19,112``: three significant digits or more, and at most six decimals."""
    rounded = abs(float(f"{value:.3g}"))
    if not 0 < rounded < math.inf:
        return f"{value:g}"
    return f"{value:,.{min(max(2 - math.floor(math.log10(rounded)), 0), 6)}f}"


def interval(estimate: Any) -> str:
    """``0.0521 to 0.0534``: the ends of anything that has ``low`` and ``high``."""
    return f"{number(estimate.low)} to {number(estimate.high)}"


def size_text(size_bytes: float) -> str:
    """``245.1 kB``, in powers of 1000."""
    for unit in ("B", "kB", "MB", "GB"):
        if size_bytes < 1000 or unit == "GB":
            break
        size_bytes /= 1000
    return f"{size_bytes:.0f} B" if unit == "B" else f"{size_bytes:.1f} {unit}"


def percent(share: float) -> str:
    """``26 %``; ``0.4 %``."""
    return f"{100 * share:.{0 if abs(share) >= 0.0995 or share == 0 else 1}f} %"


def threads_text(threads: int) -> str:
    """``1 thread``; ``4 threads``."""
    return f"{threads} thread{'s' * (threads != 1)}"


def speed_text(
    ratio: float,
    other: str,
    ms: float | None = None,
    other_ms: float | None = None,
    ends: tuple[float, float] | None = None,
) -> str:
    """``1.90x slower than float32 (95 % interval 1.87x to 1.94x, 0.0910 ms vs 0.0470 ms)``.

    Args:
        ratio: Time of the other by time of the subject: over 1, the subject is faster.
        other: Name of what the subject is compared with.
        ms: Time of the subject in ms, if it is to be shown.
        other_ms: Time of the other in ms.
        ends: Ends of the 95 % interval of ``ratio``, if it is to be shown.
    """
    factor = number(max(ratio, 1 / ratio)) if ratio > 0 else "0"
    details = [] if ends is None else [speed_interval(ratio, *ends)]
    if ms is not None and other_ms is not None:
        details.append(times_text(ratio, ms, other_ms))
    text = f"{factor}x {'faster' if ratio >= 1 else 'slower'} than {other}"
    return f"{text} ({', '.join(details)})" if details else text


def times_text(ratio: float, ms: float, other_ms: float) -> str:
    """``0.0910 ms vs 0.0470 ms``; where these are not in that ratio, what each of them is.

    A ratio of runs in turns is their median, and hardly moved by interference, which moves the medians of
    all runs.
    """
    times = f"{number(ms)} ms vs {number(other_ms)} ms"
    if ms > 0 and ratio > 0 and abs(other_ms / ms / ratio - 1) <= _AGREEMENT:
        return times
    return f"by runs in turns; medians of all runs {times}"


_AGREEMENT = 0.03
"""Relative difference up to which a ratio is that of the times next to it."""


def speed_interval(ratio: float, low: float, high: float) -> str:
    """``95 % interval 1.87x to 1.94x``: the ends in the direction that `speed_text` gives ``ratio``."""
    ends = (low, high) if ratio >= 1 else (1 / high, 1 / low)
    return "95 % interval {}x to {}x".format(*map(number, ends))


def shorten(text: str, length: int) -> str:
    """At most so many characters, the middle left out."""
    if len(text) <= length:
        return text
    front = (length - 1) // 2
    return f"{text[:front]}…{text[len(text) - (length - 1 - front) :]}"


def first_names(names: Sequence[str], count: int, separator: str = ", ") -> str:
    """``conv1, conv2 and 3 more``: at most ``count`` names."""
    more = f" and {len(names) - count} more" if len(names) > count else ""
    return separator.join(names[:count]) + more


_KINDS = {
    "Conv": "convolution",
    "QLinearConv": "convolution",
    "ConvInteger": "convolution",
    "ConvTranspose": "transposed convolution",
    "Gemm": "fully connected",
    "FusedGemm": "fully connected",
    "MatMul": "matrix product",
    "MatMulNBits": "matrix product",
    "MatMulInteger": "matrix product",
    "AveragePool": "average pooling",
    "MaxPool": "max pooling",
    "GlobalMaxPool": "global max pooling",
    "GlobalAveragePool": "global average pooling",
    "ReduceMean": "mean",
    "Relu": "ReLU",
    "Clip": "clipping",
    "BatchNormalization": "batch norm",
    "LayerNormalization": "layer norm",
    "Gelu": "GELU",
    "Add": "sum",
    "HardSwish": "hard swish",
    "HardSigmoid": "hard sigmoid",
    "Sigmoid": "sigmoid",
    "Mul": "product",
    "Concat": "concatenation",
    "Resize": "resize",
    "Reshape": "reshape",
    "Flatten": "flatten",
    "Transpose": "transpose",
    "Softmax": "softmax",
    "Tanh": "tanh",
    "Identity": "identity",
}


def kind_text(op: str) -> str:
    """``convolution`` for ``Conv``; the ONNX operator's name for those that have no common other one."""
    return _KINDS.get(op, op)


def table_of_layers(layers: Iterable[Layer], times: str = "×", *, kinds: bool = False) -> Table:
    """Shape, size, work and memory of each layer, with the sign ``times`` in shapes.

    With ``kinds`` the operator is called by its usual name, with that of ONNX as a hint.
    """
    columns = (
        *map(Column, ("layer", "kind" if kinds else "op", "output")),
        *(Column(title, "right") for title in ("parameters", "multiply-adds")),
        *(Column(title, "right", optional=True) for title in ("memory", "field")),
    )
    rows = tuple(
        (
            layer.name,
            TableCell(kind_text(layer.op), f"ONNX: {layer.op}") if kinds else layer.op,
            dims(layer.shape, times),
            f"{layer.parameters:,}",
            f"{layer.multiply_adds:,}",
            size_text(layer.activation_bytes) if layer.activation_bytes else "",
            str(layer.receptive_field or ""),
        )
        for layer in layers
    )
    return Table(columns, rows)


def dims(shape: Sequence[int | str | None] | None, times: str = "×") -> str:
    """``N×6×28×28``, ``2N×64``; ``?`` for what is unknown."""
    if shape is None:
        return "?"
    return times.join("?" if d is None else str(d).replace("*", "") for d in shape) or "scalar"


def amount(count: float) -> str:
    """``61.7 k``; ``416.5 k``; ``1.01 G``."""
    for size, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(count) >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count:g}"


def error_text(value: float | None) -> str:
    """``2.4e-07``; ``NaN`` for None and what is not finite."""
    return "NaN" if value is None or not math.isfinite(value) else f"{value:.2g}"
