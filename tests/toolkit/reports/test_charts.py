import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from drawn import stray_marks
from made_up_bench import full_bench, plain_bench

from cnntk.reports import write_plots
from cnntk.reports.charts import PageResult, draw, is_wide, svg_of, table_width
from cnntk.reports.figure import Circle, Figure, Line, Polygon, Rect, Text, moved
from cnntk.runtime.errors import MissingDependency, UsageError
from cnntk.runtime.sections import Column, Table

NAMES = [
    "latency-over-time", "latency-histogram", "cold-start", "memory", "layers", "roofline",
    "sweep-throughput", "sweep-latency", "stages", "against", "regressions",
]  # fmt: skip


def figures_of(result: PageResult, width: int) -> dict[str, Figure]:
    figures = [draw(chart, width) for section in result.sections() for chart in section.charts]
    return {figure.name: figure for figure in figures if figure is not None}


SVG = "{http://www.w3.org/2000/svg}"


def test_a_plot_of_all_that_was_measured() -> None:
    assert sorted(figures_of(full_bench(), 580)) == sorted(NAMES)
    assert list(figures_of(plain_bench(), 580)) == NAMES[:2]


@pytest.mark.parametrize("width", [324, 506, 720, 1084])
def test_all_marks_are_in_their_frames(width: int) -> None:
    figures = figures_of(full_bench(), width).values()
    assert [figure.width for figure in figures] == [width] * len(NAMES)
    assert [mark for figure in figures for mark in stray_marks(figure)] == []


def test_a_stray_mark_is_detected() -> None:
    assert stray_marks(Figure("a", "a", 10, 10, (Rect(0, 0, 30, 5, "ink"),)))
    assert stray_marks(Figure("a", "a", 10, 10, (Line(((0, 0), (float("nan"), 1)), "ink"),)))
    assert stray_marks(Figure("a", "a", 40, 10, (Text(5, 5, "too long for it"),)))
    assert not stray_marks(Figure("a", "a", 40, 10, (Text(5, 5, "fits"),)))
    assert stray_marks(Figure("a", "a", 90, 10, (Text(5, 5, "turned out", degrees=-40),)))


def test_svg_files(tmp_path: Path) -> None:
    files = write_plots(full_bench(), tmp_path / "plots")
    assert sorted(file.name for file in files) == sorted(f"{name}.svg" for name in NAMES)
    for file in files:
        root = ET.parse(file).getroot()
        assert root.tag == f"{SVG}svg"
        assert root.attrib["viewBox"] == f"0 0 {root.attrib['width']} {root.attrib['height']}"
        assert root.find(f"{SVG}style") is not None
        assert "var(" not in file.read_text(encoding="utf-8")
        texts = [text.text for text in root.iter(f"{SVG}text")]
        assert str(texts[0]).startswith("net: ")


def test_markup_and_characters_that_are_not_inert() -> None:
    text = Text(0, 0, "<b>&\x00\x1b\ud800\u202e", hint='"><script>')
    root = ET.fromstring(svg_of(Figure("a", "<i>", 10, 10, (text,))))
    (text,) = root.iter(f"{SVG}text")
    assert text.text == "<b>&" + r"\x00\x1b\ud800\u202e"
    assert text[0].text == '"><script>'


def test_a_path_that_can_not_be_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"plots are SVG files; name a folder or a \.svg file"):
        write_plots(plain_bench(), tmp_path / "a.png")
    with pytest.raises(UsageError, match="cannot create the folder"):
        write_plots(plain_bench(), tmp_path / "no" / "folder")
    assert list(tmp_path.iterdir()) == []


def test_a_mark_is_moved_whole() -> None:
    assert moved(Circle(1, 2, 3, "ink"), 10, 20) == Circle(11, 22, 3, "ink")
    assert moved(Polygon(((1, 2), (3, 4)), "ink"), 10, 20) == Polygon(((11, 22), (13, 24)), "ink")


def test_without_jinja2_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)  # so that importing it fails
    with pytest.raises(MissingDependency, match=r"pip install 'cnntk\[reports\]'"):
        write_plots(plain_bench(), tmp_path)


def test_wide_tables_become_lists_on_a_phone() -> None:
    narrow = Table((Column("layer"), Column("ms", "right")), (("conv", "1.00"), ("a long name of it", "2")))
    wide = Table(
        tuple(map(Column, ("one", "two", "three"))), (("a" * 20, "b" * 20, "words that are broken"),)
    )
    assert not is_wide(narrow)
    assert is_wide(wide)
    assert not is_wide(Table(wide.columns, (("a " * 40, "b", "c"),)))
    assert table_width(wide) > table_width(narrow)
