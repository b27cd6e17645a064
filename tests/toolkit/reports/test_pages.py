"""Links between the pages of one model."""

from __future__ import annotations

from pathlib import Path

import pytest
from html_tags import tags

from cnntk.reports import write_report
from cnntk.reports.charts import PageResult
from cnntk.runtime.sections import Header, Section

FLOAT, INT8, OTHER = "a" * 64, "b" * 64, "c" * 64
EVIL = '<script>alert("x")</script>\u202e'


class Result(PageResult):
    """A result with nothing but a header."""

    def __init__(self, title: str, *digests: str, name: str = "net") -> None:
        self.title, self.digests, self.name = title, digests, name

    def header(self) -> Header:
        return Header(self.name, self.title, "fine", digests=self.digests)

    def sections(self) -> tuple[Section, ...]:
        return ()


def links(file: Path) -> list[str]:
    return [str(a["href"]) for tag, a in tags(file.read_text(encoding="utf-8")).seen if tag == "a"]


def test_pages_of_one_model_link_to_each_other(tmp_path: Path) -> None:
    export, quantize, bench, other = (tmp_path / f"{name} ä.html" for name in ("e", "q", "b", "o"))
    assert write_report(Result("Export report", FLOAT), export) == ()
    assert links(export) == []
    assert write_report(Result("Quantization report", INT8, FLOAT), quantize) == (export,)
    assert write_report(Result("Bench report", OTHER), other) == ()
    assert set(write_report(Result("Bench report", INT8, FLOAT), bench)) == {export, quantize}
    e, q, b = (f"./{name}%20%C3%A4.html" for name in "eqb")
    assert links(export) == [b, q]
    assert links(quantize) == [b, e]
    assert links(bench) == [e, q]
    assert links(other) == []


def test_the_same_page_again_changes_no_other(tmp_path: Path) -> None:
    for _ in range(2):
        write_report(Result("Export report", FLOAT), tmp_path / "e.html")
        changed = write_report(Result("Bench report", FLOAT), tmp_path / "b.html")
    assert changed == ()
    assert links(tmp_path / "e.html") == ["./b.html"]


@pytest.mark.parametrize(
    "text",
    [
        f'<meta name="cnntk-page" content="Export report"><meta name="cnntk-models" content="{FLOAT}">',
        "",
        "\ufffd",
    ],
)
def test_pages_of_others_are_left_alone(text: str, tmp_path: Path) -> None:
    (tmp_path / "other.html").write_text(text, encoding="utf-8")
    assert write_report(Result("Bench report", FLOAT), tmp_path / "b.html") == ()
    assert links(tmp_path / "b.html") == []
    assert (tmp_path / "other.html").read_text(encoding="utf-8") == text


def test_names_in_links_are_text(tmp_path: Path) -> None:
    write_report(Result("Export report", FLOAT, name=EVIL), tmp_path / "e.html")
    write_report(Result("Bench report", FLOAT), tmp_path / "b.html")
    page = (tmp_path / "b.html").read_text(encoding="utf-8")
    assert links(tmp_path / "b.html") == ["./e.html"]
    assert "<script" not in page
    assert "\u202e" not in page
    assert "alert" in page
