"""Charts of an evaluation: the confusion matrix, accuracy by confidence, and the worst mistakes."""

from __future__ import annotations

import math
from collections.abc import Iterator

from cnntk.reports.figure import (
    Bitmap,
    Circle,
    Figure,
    Frame,
    Line,
    Mark,
    Rect,
    Scale,
    Text,
    axes,
    text_width,
)
from cnntk.runtime.sections import Bins, Chart, Matrix, Thumbnails, Value, shorten

__all__ = ["draw_confusion", "draw_reliability", "draw_thumbnails"]

_LARGEST_CELL, _SMALLEST_NUMBERED, _LONGEST_NAME = 46.0, 25.0, 96.0
_LETTER = 11.0
_TITLE_HEIGHT = 22.0

_LEFT, _RIGHT, _TOP, _PLOT_HEIGHT, _STRIP_HEIGHT = 44, 10, 26, 270, 46

_GAP, _CAPTION_HEIGHT = 16.0, 17.0
_BOLD = 1.1
"""Width of bold text relative to that of other text."""


def draw_confusion(chart: Chart, width: int) -> Figure | None:
    """A square for each class and prediction, whose area is the share of the class's images.

    Numbers of images stand in cells that have room for them; the pointer shows them in all.
    """
    data: Matrix = chart.data
    count = len(data.labels)
    if not count:
        return None
    longest = max(text_width(label, _LETTER) for label in data.labels)
    left = _TITLE_HEIGHT + min(longest, _LONGEST_NAME) + 6
    cell = min((width - left - 2) / count, _LARGEST_CELL)
    turned = longest > cell - 4
    top = _TITLE_HEIGHT + (min(longest, _LONGEST_NAME) if turned else _LETTER) + 8
    right, bottom = left + count * cell, top + count * cell
    marks: list[Mark] = [
        Text(left, 11, "prediction"),
        Text(11, top, "class", anchor="end", degrees=-90),
    ]
    for i in range(count + 1):
        marks.append(Line(((left, top + i * cell), (right, top + i * cell)), "line"))
        marks.append(Line(((left + i * cell, top), (left + i * cell, bottom)), "line"))
    every = math.ceil(_LETTER / cell)
    letters = int(_LONGEST_NAME / text_width("x", _LETTER))
    for i, label in enumerate(data.labels):
        if i % every == 0:
            name, middle = shorten(label, letters), (i + 0.5) * cell
            marks.append(Text(left - 6, top + middle + 4, name, "ink", "end", _LETTER, label))
            if turned:
                marks.append(
                    Text(left + middle + 4, top - 6, name, "ink", "start", _LETTER, label, degrees=-90)
                )
            else:
                marks.append(Text(left + middle, top - 7, name, "ink", "middle", _LETTER, label))
    marks += _cells(data, left, top, cell)
    return Figure(chart.name, chart.title, width, round(bottom) + 4, tuple(marks))


def _cells(data: Matrix, left: float, top: float, cell: float) -> Iterator[Mark]:
    widest = max((text_width(f"{n:,}", _LETTER) for row in data.counts for n in row), default=0.0)
    numbered = cell >= max(_SMALLEST_NUMBERED, widest + 2)
    for row, counts in enumerate(data.counts):
        total = sum(counts) or 1
        for column, images in enumerate(counts):
            if not images:
                continue
            color = "good" if row == column else "bad"
            x, y = left + (column + 0.5) * cell, top + (row + 0.5) * cell
            side = max(math.sqrt(images / total) * (cell - 2), 2.0)
            percent = f"{100 * images / total:.1f} %"
            hint = f"{data.labels[row]} as {data.labels[column]}: {images:,} images, {percent}"
            shade = f"{color}-soft" if numbered else color
            yield Rect(x - side / 2, y - side / 2, side, side, shade, hint)
            if numbered:
                tone = "ink" if row == column else "bad"
                yield Text(x, y + 4, f"{images:,}", tone, "middle", _LETTER, hint)


def draw_reliability(chart: Chart, width: int) -> Figure | None:
    """The accuracy of each bin with its interval, the diagonal, and below the number of images."""
    data: Bins = chart.data
    if not data.bins:
        return None
    lowest = min(min(low, estimate.low) for low, _, estimate in data.bins)
    low = 10.0 * math.floor(10 * lowest)
    frame = Frame(_LEFT, width - _RIGHT, _TOP, _TOP + _PLOT_HEIGHT)
    xs, ys = Scale(low, 100.0, frame.left, frame.right), Scale(low, 100.0, frame.bottom, frame.top)
    marks: list[Mark] = list(axes(frame, xs, ys, "", "accuracy, %"))
    marks.append(Line(((frame.left, frame.bottom), (frame.right, frame.top)), "muted", 1.2, dashed=True))
    for (_, _, estimate), count, confidence in zip(data.bins, data.counts, data.confidences, strict=True):
        marks += _bin(xs, ys, estimate, count, confidence)
    marks += _strip(data, xs, frame)
    end = frame.bottom + _STRIP_HEIGHT + 46
    marks.append(Text(frame.right, end - 6, "confidence, %", anchor="end", size=10.5))
    return Figure(chart.name, chart.title, width, round(end), tuple(marks))


def _bin(xs: Scale, ys: Scale, estimate: Value, count: int, confidence: float) -> Iterator[Mark]:
    x, y = xs.at(100 * confidence), ys.at(100 * estimate.value)
    hint = f"{count:,} images, confidence {100 * confidence:.1f} %, accuracy {estimate.hint}"
    yield Line(((x, ys.at(100 * estimate.low)), (x, ys.at(100 * estimate.high))), "series-1", 1.5, hint=hint)
    yield Circle(x, y, 4.5, "series-1", hint)


def _strip(data: Bins, xs: Scale, frame: Frame) -> Iterator[Mark]:
    """A bar for the images of each bin, below the numbers of the axis."""
    top, most = frame.bottom + 26, max(data.counts)
    base = top + _STRIP_HEIGHT
    heights = Scale(0.0, most, 0.0, _STRIP_HEIGHT - 12)
    yield Text(0, top + 4, "images", size=10.5)
    yield Line(((frame.left, base), (frame.right, base)), "line")
    for (low, high, _), count in zip(data.bins, data.counts, strict=True):
        left, right = xs.at(100 * low), xs.at(100 * high)
        height = max(heights.at(count), 1.0)
        yield Rect(left + 0.5, base - height, max(right - left - 1, 1.0), height, "series-5", f"{count:,}")


def draw_thumbnails(chart: Chart, width: int) -> Figure | None:
    """Pictures in a grid, each with its lines of text below; None without pictures."""
    data: Thumbnails = chart.data
    if not data.pictures:
        return None
    columns = max(1, int((width + _GAP) / (data.side + _GAP)))
    pitch = (width + _GAP) / columns
    lines = max(len(texts) for *_, texts in data.pictures)
    height = data.side + 8 + lines * _CAPTION_HEIGHT + _GAP
    letters = int((pitch - _GAP) / text_width("x", 12) / _BOLD)
    marks: list[Mark] = []
    for i, (picture, wide, high, texts) in enumerate(data.pictures):
        x, y = i % columns * pitch, i // columns * height
        scale = data.side / max(wide, high)
        hint = ", ".join(texts)
        marks.append(Bitmap(x, y + data.side - high * scale, wide * scale, high * scale, picture, hint))
        for line, text in enumerate(texts):
            baseline = y + data.side + 4 + (line + 0.8) * _CAPTION_HEIGHT
            color = "ink" if line == 0 else "muted"
            marks.append(Text(x, baseline, shorten(text, letters), color, "start", 12, text, bold=line == 0))
    rows = math.ceil(len(data.pictures) / columns)
    return Figure(chart.name, chart.title, width, round(rows * height - _GAP + 4), tuple(marks))
