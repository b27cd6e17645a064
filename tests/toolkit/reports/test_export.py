"""Charts and the page of an export."""

from __future__ import annotations

import math
import re
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from drawn import marks_of, stray_marks, texts_of
from html_tags import tags

from cnntk import inspect
from cnntk.exporters._report import ExportReport
from cnntk.exporters.checks._candidate import Check
from cnntk.exporters.checks._parity import Parity
from cnntk.exporters.checks.divergence import LayerError
from cnntk.exporters.graph_lint.lint import LintReport
from cnntk.exporters.passes.infra import PassRecord, Rewrites
from cnntk.exporters.shapes.shape_table import ShapeRow
from cnntk.reports import write_report
from cnntk.reports.charts import render_report
from cnntk.reports.export import MAX_BOXES, draw_layer_errors, draw_network
from cnntk.reports.figure import Circle, Figure, Line, Rect, Text
from cnntk.runtime.artifact.spec import Layer, SelfTest, SelfTestCase
from cnntk.runtime.errors import UsageError
from cnntk.runtime.sections import Chart
from cnntk.shipped import shipped_model

EVIL = '<script>alert("x")</script>&\'"'
BOX_HEIGHT = 36


def layer(name: str, op: str, output: str, *inputs: str, multiply_adds: int = 0) -> Layer:
    parameters = 1500 if multiply_adds else 0
    return Layer(name, op, ("N", 8), parameters, multiply_adds, output=output, inputs=inputs)


def chain(count: int, name: str = "block{}.conv") -> list[Layer]:
    """Two layers a block."""
    pairs = [
        (
            layer(name.format(i), "Conv", f"c{i}", f"r{i - 1}", multiply_adds=9),
            layer(f"node_relu_{i}", "Relu", f"r{i}", f"c{i}"),
        )
        for i in range(count // 2)
    ]
    return [x for pair in pairs for x in pair]


def network(layers: list[Layer], width: int = 580) -> Figure:
    figure = draw_network(Chart("network", "network", "The layers", layers), width)
    assert figure is not None
    assert stray_marks(figure) == []
    return figure


def boxes_of(figure: Figure) -> list[Rect]:
    return [rect for rect in marks_of(figure, Rect) if rect.height == BOX_HEIGHT]


def shares_of(figure: Figure) -> float:
    return sum(rect.width for rect in marks_of(figure, Rect) if rect.color == "accent")


def joined_boxes(figure: Figure) -> list[bool]:
    ends = {round(line.points[1][1] + 4) for line in marks_of(figure, Line) if line.color == "muted"}
    return [round(box.y) in ends for box in boxes_of(figure)]


def arcs_of(figure: Figure) -> list[Line]:
    return [line for line in marks_of(figure, Line) if line.color == "accent"]


@pytest.mark.parametrize("width", [336, 580])
def test_a_box_a_layer_and_an_arc_a_skip(width: int) -> None:
    layers = [
        layer("stem", "Conv", "a", "input", multiply_adds=300),
        layer("body", "Conv", "b", "a", multiply_adds=100),
        layer("act", "Relu", "c", "b"),
        layer("sum", "Add", "d", "c", "a"),
    ]
    figure = network(layers, width)
    assert texts_of(figure)[:4] == ["convolution", "N×8", "stem", "1.5 k weights"]
    assert [box.color for box in boxes_of(figure)] == ["linear", "linear", "other", "join"]
    first, second = (rect.width for rect in marks_of(figure, Rect) if rect.color == "accent")
    assert first == pytest.approx(3 * second)
    assert joined_boxes(figure) == [False, True, True, True]
    assert [arc.hint for arc in arcs_of(figure)] == ["stem to sum"]


def test_boxes_that_do_not_follow_each_other_are_not_joined() -> None:
    layers = [layer("a", "Conv", "a", "x"), layer("b", "Conv", "b", "x"), layer("c", "Add", "c", "a", "b")]
    assert joined_boxes(network(layers)) == [False, False, True]


def test_skips_that_overlap_lie_in_different_lanes() -> None:
    layers = [layer(n, "Conv", n, *({"d": "ca", "e": "db"}.get(n, ""))) for n in "abcde"]
    first, second = arcs_of(network(layers))
    assert first.points[1][0] != second.points[1][0]
    assert boxes_of(network(layers))[0].width < boxes_of(network(layers[:2]))[0].width


@pytest.mark.parametrize("name", ["block{}.conv", "conv{}", "/block{}/conv/Conv", "features.{}"])
@pytest.mark.parametrize("count", [60, 200, 600])
def test_large_networks_are_folded(name: str, count: int) -> None:
    figure = network(chain(count, name))
    boxes = boxes_of(figure)
    assert 1 <= len(boxes) <= MAX_BOXES
    assert shares_of(figure) == pytest.approx(boxes[0].width - 18, abs=len(boxes))


def test_what_follows_is_folded_before_what_works() -> None:
    figure = network(chain(2 * MAX_BOXES))
    assert len(boxes_of(figure)) == MAX_BOXES
    assert "block3.conv: convolution, ReLU, N×8" in [box.hint for box in boxes_of(figure)]


def test_layers_of_older_artifacts_are_a_plain_row() -> None:
    figure = network([Layer(str(i), "Relu", ("N",), 0, 0) for i in range(4)])
    assert joined_boxes(figure) == [False, True, True, True]


def errors(*values: float, scale: float = 1.0) -> list[LayerError]:
    return [LayerError(f"layer{i}", "Conv", scale, 1e-7, value) for i, value in enumerate(values)]


def error_figure(layers: list[LayerError], bound: tuple[float, str] | None = None) -> Figure:
    figure = draw_layer_errors(Chart("layer-errors", "layer-errors", "Errors", (layers, bound, "torch")), 580)
    assert figure is not None
    assert stray_marks(figure) == []
    return figure


def points_of(figure: Figure) -> list[Circle]:
    return [circle for circle in marks_of(figure, Circle) if not circle.hollow]


def test_larger_errors_stand_higher_by_decades() -> None:
    a, b, c = (p.y for p in points_of(error_figure(errors(1e-7, 1e-6, 1e-5))))
    assert a > b > c
    assert a - b == pytest.approx(b - c, abs=0.2)


def test_errors_are_relative_to_the_layer() -> None:
    relative = points_of(error_figure(errors(2e-7, 2e-6, scale=2)))
    plain = points_of(error_figure(errors(1e-7, 1e-6)))
    assert [p.y - q.y for p, q in zip(relative, plain, strict=True)] == pytest.approx([0, 0], abs=0.2)
    assert "1e-07" in points_of(error_figure(errors(2e-7, scale=2)))[0].hint


def test_an_exact_layer_lies_on_the_lower_edge() -> None:
    figure = error_figure(errors(0.0, 1e-7))
    bottom = max(line.points[0][1] for line in marks_of(figure, Line))
    assert points_of(figure)[0].y == bottom
    assert points_of(figure)[0].color == "accent"


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_no_number_is_shown_as_broken(value: float) -> None:
    figure = error_figure(errors(value, 1e-7))
    broken, sound = points_of(figure)
    assert (broken.color, sound.color) == ("bad", "accent")
    assert broken.y == min(line.points[0][1] for line in marks_of(figure, Line))


def test_the_limit_is_drawn() -> None:
    figure = error_figure(errors(1e-7), (1e-6, "logits"))
    assert "limit of logits" in texts_of(figure)
    (line,) = (line for line in marks_of(figure, Line) if line.dashed)
    assert line.points[0][1] < points_of(figure)[0].y
    assert not any(line.dashed for line in marks_of(error_figure(errors(1e-7)), Line))


def test_of_many_layers_some_are_named() -> None:
    figure = error_figure(errors(*[1e-7] * 200))
    assert len([text for text in marks_of(figure, Text) if text.degrees]) <= 24
    assert draw_layer_errors(Chart("e", "layer-errors", "", ([], None, "torch")), 580) is None


@pytest.fixture(scope="module")
def report() -> ExportReport:
    """The shipped LeNet's layers, with the figures that checks add."""
    layers = inspect(shipped_model()).layers
    text = "floor((28 + 2*2 - 1*(5-1) - 1)/1) + 1 = 28"
    done = Rewrites(applied=("node_dropout removed",))
    skipped = Rewrites(skipped=("7: read twice",))
    case = SelfTestCase("noise", 3, {"N": 2}, {"logits": "1 2"}, {"logits": 4e-6})
    passes = (
        PassRecord("dropout", "it answers at random", "applied", done),
        PassRecord("linear chain", "one layer", "rolled back", skipped, 0.3, "it moved"),
        PassRecord("constants", "computed once", "nothing to do", Rewrites()),
    )
    return ExportReport(
        path="lenet.onnx",
        name="lenet",
        size_bytes=252_300,
        opset=18,
        ir_version=10,
        inputs=(),
        preprocessing=None,
        head="classifier",
        head_reason="one output of shape Nx10",
        passes=passes,
        checks=(Check("batch invariance", "the same to 2e-7"),),
        parity=(Parity("logits", "noise", (1, 2), 4.0, 1e-6, 2e-6, 8e-6, 8e-6),),
        layers=layers,
        shapes=tuple(
            ShapeRow(x.name, x.op, x.output, x.shape, x.shape, None, x.shape, text, True) for x in layers
        ),
        layer_errors=tuple(LayerError(x.name, x.op, 1.0, 1e-7, 2e-7) for x in layers),
        graph_lint=LintReport(("conv: all weights are zero",), 37_632, "1"),
        self_test=SelfTest((case,), {"logits": 1}),
        data=None,
        digest="ab" * 32,
        notes=("classes are called by their numbers",),
        seconds=3.14,
    )


def test_everything_stands_on_the_page(report: ExportReport) -> None:
    page = render_report(report)
    for words in (
        "Checked: the file computes what its PyTorch network computes. All 1 checks passed.",
        "61.7 k",
        "252.3 kB",
        "37.6 kB",
        "0.3</td>",
        "rolled back",
        "it moved",
        "skipped: 7: read twice",
        "2 of 3 passes changed the graph, 1 had nothing to do",
        "the same to 2e-7",
        "25 %",
        "limit of logits",
        "N×6×28×28",
        "floor((28 + 2*2 - 1*(5-1) - 1)/1) + 1 = 28",
        "all weights are zero",
        "noise 3",
        "N = 2",
        "logits 4e-06",
        "classes are called by their numbers",
        "3.1 s",
        "head/softmax",
    ):
        assert words in page, words


def test_the_page_is_well_formed(report: ExportReport) -> None:
    seen = tags(render_report(report)).seen
    assert ("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}) in seen
    assert [tag for tag, _ in seen].count("figure") == 2


def test_the_page_needs_nothing_from_outside(report: ExportReport) -> None:
    page = render_report(report)
    assert re.findall(r"https?:|//[a-z]|@import|url\(", page) == []
    for tag, attributes in tags(page).seen:
        assert tag not in ("script", "link", "img", "iframe", "object", "use")
        assert not {"src", "href", "srcset", "onload", "onclick"} & attributes.keys()


def test_light_and_dark_and_narrow(report: ExportReport) -> None:
    page = render_report(report)
    assert "prefers-color-scheme: dark" in page
    assert "max-width: 640px" in page


def poisoned(value: Any) -> Any:
    """The report with HTML in every text that is no status."""
    if hasattr(value, "__dataclass_fields__"):
        names = [field.name for field in fields(value) if field.name != "status"]
        return replace(value, **{name: poisoned(getattr(value, name)) for name in names})
    if isinstance(value, dict):
        return {key: poisoned(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return tuple(poisoned(item) for item in value)
    return value + EVIL if isinstance(value, str) else value


def test_html_in_names_is_escaped(report: ExportReport) -> None:
    page = render_report(poisoned(report))
    assert "<script" not in page
    assert page.count("&lt;script&gt;") > 50
    assert {tag for tag, _ in tags(page).seen} == {tag for tag, _ in tags(render_report(report)).seen}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"parity": (Parity("logits", "noise", (1,), 1.0, 1e-7, 2e-6, 1e-6, 1e-6),)},
            "Checks failed: parity of logits on noise",
        ),
        (
            {"parity": (Parity("logits", "noise", (1,), 1.0, 1e-7, math.nan, 1e-6, 1e-6),)},
            "Checks failed: parity of logits on noise",
        ),
        (
            {"shapes": (ShapeRow("conv", "Conv", "v", ("N", 3), None, None, ("N", 4), "", False),)},
            "Checks failed: shape of conv",
        ),
        ({"parity": ()}, "Not compared with its PyTorch network"),
    ],
    ids=["parity", "nan", "shape", "nothing"],
)
def test_what_does_not_hold_is_no_proof(report: ExportReport, change: dict[str, Any], words: str) -> None:
    page = render_report(replace(report, **change))
    assert words in page
    assert 'class="verdict good"' not in page


def test_each_part_may_be_empty(report: ExportReport) -> None:
    for name in ("passes", "checks", "parity", "layer_errors", "shapes", "layers", "notes"):
        page = render_report(replace(report, **{name: ()}))
        tags(page)
        assert "None" not in page
    tags(render_report(replace(report, self_test=None)))


def test_the_file_is_written_whole_or_not_at_all(report: ExportReport, tmp_path: Path) -> None:
    page = tmp_path / "Prüfung 报告.html"
    write_report(report, page)
    written = page.read_text(encoding="utf-8")
    assert re.sub("<nav.*</nav>\n?", "", written, flags=re.DOTALL) == render_report(report)
    with pytest.raises(UsageError, match="does not exist"):
        write_report(report, tmp_path / "missing" / "page.html")
    assert [f.name for f in tmp_path.iterdir()] == [page.name]
