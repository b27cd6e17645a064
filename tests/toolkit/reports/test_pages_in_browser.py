"""The pages of an export and of a bench in a browser, with open evidence: nothing is cut at any width."""

from __future__ import annotations

from pathlib import Path

import pytest
from browser import CHROMIUM, Window, measured, screenshots
from made_up_bench import full_bench
from torch import nn

from cnntk.exporters import export
from cnntk.reports.charts import render_report

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed"),
]

WIDTHS = (320, 390, 768, 1024, 1180, 1280)
LABELS = ('<script>alert("x")</script>', "x" * 200, "\u202egnp.exe", '"><img src=x onerror=alert(1)>', "عربي")


def export_page(folder: Path) -> str:
    layers = [nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, len(LABELS))]
    report = export(
        nn.Sequential(*layers).eval(),
        folder / "net.onnx",
        input_shape=(3, 16, 16),
        preprocessing={"scale": "1/255"},
        labels=LABELS,
        layer_errors=True,
    )
    return render_report(report)


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    pages = {"export": export_page(tmp_path_factory.mktemp("pages")), "bench": render_report(full_bench())}
    return {name: page.replace("<details", "<details open") for name, page in pages.items()}


@pytest.mark.parametrize("name", ["export", "bench"])
def test_nothing_is_cut(pages: dict[str, str], name: str) -> None:
    for width, lies in zip(WIDTHS, measured([Window(pages[name], w) for w in WIDTHS]), strict=True):
        assert (width, lies["scroll_width"], lies["clipped"]) == (width, width, [])


def test_what_is_cut_is_seen(pages: dict[str, str]) -> None:
    page = pages["export"].replace("overflow-wrap: anywhere", "white-space: nowrap")
    (lies,) = measured([Window(page, 390)])
    assert lies["scroll_width"] > 390
    assert any("xxxx" in text for text in lies["clipped"])


@pytest.mark.parametrize("dark", [False, True])
def test_an_open_page_is_not_empty_at_the_left(pages: dict[str, str], dark: bool) -> None:
    (image,) = screenshots([Window(pages["export"], 1280)], 1400, dark=dark)
    left = image.crop((40, 60, 460, 1400)).convert("L")
    low, high = left.getextrema()
    assert float(high) - float(low) > 150
