"""What notebooks show."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from cnntk.runtime import Classifier
from cnntk.runtime.classifier import Predictions
from cnntk.runtime.notebook import summary_html
from cnntk.runtime.sections import Header, Highlight
from cnntk.shipped import shipped_model

HOSTILE = '<script>alert("x")</script>\'&\u202e\x1b[2J\x00\n'


class Texts(HTMLParser):
    """Tags that are open, all tags, and all text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.text = ""
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open.append(tag)
        self.seen.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_predictions() -> None:
    predictions = Classifier(shipped_model())(np.zeros((28, 28, 1), np.uint8))
    html = Texts(predictions._repr_html_())
    best = predictions.best
    assert html.text.startswith(f"{best.label}{100 * best.probability:.1f} %")
    assert html.text.endswith("and 5 other labels")


def test_few_labels_and_odd_probabilities() -> None:
    html = Predictions(("a", "b"), np.array([np.nan, 2.0], np.float32))._repr_html_()
    assert "other labels" not in html
    assert re.findall(r"[^-]width:([^%]+)%", html) == ["100.0", "0.0"]


@pytest.mark.parametrize("tone", ["good", "bad", ""])
def test_a_summary(tone: str) -> None:
    highlights = (Highlight("9 %", "Of the limit", "It fits."), Highlight("3 MB", "Size"))
    header = Header("net", "Export report", "Checked.", tone, highlights)  # type: ignore[arg-type]
    sign = {"good": "✓ ", "bad": "! ", "": ""}[tone]
    assert (
        Texts(summary_html(header)).text == f"Export reportnet{sign}Checked.Of the limit9 %It fits.Size3 MB"
    )


def test_text_of_models_is_text() -> None:
    header = Header(HOSTILE, HOSTILE, HOSTILE, highlights=(Highlight(HOSTILE, HOSTILE, HOSTILE),))
    page = summary_html(header) + Predictions((HOSTILE,), np.ones(1, np.float32))._repr_html_()
    assert Texts(page).seen == {"div", "bdi", "span"}
    assert not re.search("[\x00-\x1f\u202e]", page)
    assert Texts(page).text.count(r"\u202e\x1b[2J\x00\n") == 7
