"""Text that does nothing but show."""

import csv
import io
import json

import pytest

from cnntk.runtime.inert import cell_text, inert, json_text, spreadsheet_cell

ACTIVE = [
    *map(chr, (*range(32), *range(0x7F, 0xA0))),  # control characters, C1 too
    *"\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069",  # marks of direction
    *"\u2028\u2029\u200b\u200c\u200d\u2060\ufeff\u00ad\U000e0041\ue000\u0378\uffff\ud800\udcff",
]
PLAIN = "plain ü 文字 カ\u3000ナ\u00a0😀 é ✓ [red] {x} \\x1b '\""


@pytest.mark.parametrize("character", ACTIVE, ids=ascii)
def test_what_a_terminal_obeys_or_hides_is_an_escape(character: str) -> None:
    text = inert(f"a{character}b")
    assert text.isascii()
    assert text.isprintable()
    assert text == f"a{character!r}b".replace("'", "")
    assert inert(text) == text
    document = json_text({"x": [f"ü{character}"]}, indent=1)
    assert character not in document.replace("\n", "") if character == "\n" else character not in document
    assert json.loads(document) == {"x": [f"ü{character}"]}


def test_other_text_stays() -> None:
    assert inert(PLAIN) == PLAIN
    assert json.loads(json_text(PLAIN)) == PLAIN
    assert "文字" in json_text(PLAIN)
    assert json_text("文", "latin-1") == '"\\u6587"'


@pytest.mark.parametrize(
    "text", ["=1+1", "+a", "-a", "@a", " =1", "'=1", '"=1', "''=1", "＝1", "＠x", "-", "--1", "-1-1", "= "]
)
def test_formulas_are_text_in_a_spreadsheet(text: str) -> None:
    cell = spreadsheet_cell(text)
    assert cell == f"'{text}"
    assert cell_text(cell) == text


@pytest.mark.parametrize("text", ["-1", "+1.5e-3", "-.5", "7", "a=b", "a-b", "", "'", "'-1", "'a", "it's"])
def test_numbers_and_other_text_stay_as_they_are(text: str) -> None:
    assert spreadsheet_cell(text) == text
    assert cell_text(text) == text


@pytest.mark.parametrize("text", ["\t=1", "\r=1", "\n=1", "\x1b=1"])
def test_what_may_stand_before_a_formula_is_an_escape(text: str) -> None:
    cell = spreadsheet_cell(text)
    assert cell == inert(text)
    assert next(csv.reader(io.StringIO(cell))) == [cell]
