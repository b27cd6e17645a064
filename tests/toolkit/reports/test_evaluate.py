"""Charts and the page of an evaluation."""

from __future__ import annotations

import base64
import io
import math
import re
from pathlib import Path

import pytest
from browser import CHROMIUM, Window, measured
from drawn import marks_of, stray_marks, texts_of
from html_tags import tags
from PIL import Image

from cnntk import evaluate
from cnntk.evaluation.report import Evaluation
from cnntk.reports import write_report
from cnntk.reports.charts import draw, render_report
from cnntk.reports.figure import Bitmap, Circle, Figure, Line, Rect
from cnntk.runtime.sections import Bins, Chart, Matrix, Thumbnails, Value
from cnntk.shipped import shipped_model

WIDTHS = (290, 324, 506, 720, 1084)
EVIL = '<script>alert("x")</script>&'


def png(width: int, height: int, form: str = "PNG") -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (width, height), "red").save(stream, form)
    return stream.getvalue()


def figure(kind: str, data: object, width: int = 506) -> Figure:
    drawn = draw(Chart("c", kind, "a chart", data), width)
    assert drawn is not None
    assert drawn.width == width
    assert stray_marks(drawn) == []
    return drawn


def matrix(count: int, name: str = "class") -> Matrix:
    rows = tuple(tuple(90 if i == j else 10 * (j == 0) for j in range(count)) for i in range(count))
    return Matrix(tuple(f"{name} {i}" for i in range(count)), rows)


def test_areas_are_shares_of_the_class() -> None:
    drawn = figure("confusion", Matrix(("a", "b"), ((75, 25), (0, 4))))
    squares = {mark.hint.partition(":")[0]: mark.width for mark in marks_of(drawn, Rect)}
    assert set(squares) == {"a as a", "a as b", "b as b"}
    assert squares["a as b"] / squares["a as a"] == pytest.approx(math.sqrt(25 / 75), abs=1e-6)
    assert squares["b as b"] > squares["a as a"]
    assert {"75", "25", "4", "prediction", "class"} <= set(texts_of(drawn))
    assert "a as b: 25 images, 25.0 %" in {mark.hint for mark in marks_of(drawn, Rect)}


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize(("count", "name"), [(2, "a"), (10, "a"), (30, "a very long name of a class")])
def test_a_matrix_of_any_size(width: int, count: int, name: str) -> None:
    drawn = figure("confusion", matrix(count, name), width)
    assert len(marks_of(drawn, Rect)) == 2 * count - 1


def test_numbers_only_where_they_have_room() -> None:
    assert "90" in texts_of(figure("confusion", matrix(10), 506))
    small = figure("confusion", matrix(30), 324)
    assert "90" not in texts_of(small)
    assert any("90 images, 90.0 %" in mark.hint for mark in marks_of(small, Rect))
    assert draw(Chart("c", "confusion", "", Matrix((), ())), 506) is None


def reliability(*bins: tuple[float, float, int]) -> Bins:
    """Bins by their confidence, accuracy and number of images."""
    values = tuple(
        (math.floor(15 * c) / 15, (math.floor(15 * c) + 1) / 15, Value(a, a - 0.05, min(a + 0.02, 1), "hint"))
        for c, a, _ in bins
    )
    return Bins(values, tuple(n for *_, n in bins), tuple(c for c, *_ in bins))


@pytest.mark.parametrize("width", WIDTHS)
def test_a_point_lies_where_its_bin_is(width: int) -> None:
    drawn = figure("reliability", reliability((0.75, 0.75, 10), (0.95, 0.6, 90)), width)
    first, second = marks_of(drawn, Circle)
    (diagonal,) = (mark for mark in marks_of(drawn, Line) if mark.dashed)
    (left, bottom), (right, top) = diagonal.points
    across = (first.x - left) / (right - left)
    assert first.y == pytest.approx(bottom + across * (top - bottom), abs=0.2), "on the diagonal"
    assert second.y > bottom + (second.x - left) / (right - left) * (top - bottom) + 20, "below it"
    heights = [mark.height for mark in marks_of(drawn, Rect)]
    assert heights[0] / heights[1] == pytest.approx(10 / 90, abs=0.02)
    assert draw(Chart("c", "reliability", "", Bins((), (), ())), width) is None


@pytest.mark.parametrize("width", WIDTHS)
def test_thumbnails_keep_their_proportions(width: int) -> None:
    sizes = [(8, 8), (96, 48), (10, 96), (1, 1)]
    texts = ("a label that is far too long for it", "as b", "99 %")
    pictures = tuple((png(w, h), w, h, texts) for w, h in sizes)
    drawn = figure("thumbnails", Thumbnails(pictures, 96), width)
    bitmaps = marks_of(drawn, Bitmap)
    for bitmap, (w, h) in zip(bitmaps, sizes, strict=True):
        assert max(bitmap.width, bitmap.height) == 96
        assert bitmap.width / bitmap.height == pytest.approx(w / h)
    pairs = [(a, b) for i, a in enumerate(bitmaps) for b in bitmaps[:i]]
    assert all(abs(a.x - b.x) >= 96 or abs(a.y - b.y) > 0 for a, b in pairs)
    assert draw(Chart("c", "thumbnails", "", Thumbnails((), 96)), width) is None


def test_addresses_of_pictures() -> None:
    for form, kind in (("PNG", "png"), ("JPEG", "jpeg")):
        data = png(3, 2, form)
        head, _, text = Bitmap(0, 0, 3, 2, data).href.partition(",")
        assert head == f"data:image/{kind};base64"
        assert base64.b64decode(text) == data


@pytest.fixture(scope="module")
def result() -> Evaluation:
    return evaluate(shipped_model(), data="digits")


def test_the_page(result: Evaluation, tmp_path: Path) -> None:
    write_report(result, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64") >= 2 * len(result.models[0].mistakes)
    for text in (
        "Top-1 accuracy",
        "Weakest class",
        "overconfident",
        "Worst mistakes",
        "Evaluation on digits",
    ):
        assert text in page
    assert not re.search(r'(?:src|href)="(?!data:|\./|#)', page), "the page loads nothing"


def test_a_page_of_several_models(result: Evaluation, tmp_path: Path) -> None:
    copy = tmp_path / "copy.onnx"
    copy.write_bytes(shipped_model().read_bytes())
    page = render_report(evaluate([shipped_model(), copy], data="digits", max_images=100))
    assert "no difference can be seen with 100 images" in page
    assert f"{copy}: Confusion" in page
    assert "lenet.onnx, copy.onnx" in page


def test_a_notebook_shows_verdict_and_figures(result: Evaluation) -> None:
    html, header = result._repr_html_(), result.header()
    assert header.verdict in html
    assert all(one.value in html for one in header.highlights)


def test_names_are_inert(tmp_path: Path) -> None:
    """Folders are the classes, and files the images: both may be named by somebody else."""
    folder = tmp_path / "images"
    for label in "37":
        (folder / label).mkdir(parents=True)
        Image.new("L", (28, 28)).save(folder / label / f"{EVIL.replace('/', '')}.png")
    page = render_report(evaluate(shipped_model(), data=str(folder)))
    assert "alert(" in page
    assert "script" not in {tag for tag, _ in tags(page).seen}


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_sections_fill_a_wide_window_and_fit_a_phone(result: Evaluation) -> None:
    wide, narrow = measured([Window(render_report(result), width) for width in (1280, 390)])
    left, _, right, _ = wide["sections"]["scores"]
    assert right - left > 1000
    confusion, calibration = (wide["sections"][name] for name in ("confusion", "calibration"))
    assert confusion[1] == calibration[1], "side by side"
    assert narrow["scroll_width"] <= 390
