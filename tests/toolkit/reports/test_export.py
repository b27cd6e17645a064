"""The page itself: what stands on it, what must not, and that it needs nothing from outside."""

import math
import re
from pathlib import Path
from typing import Any

import pytest
from html_tags import tags

from cnntk import inspect
from cnntk.reports import write_export_report
from cnntk.reports.export import ExportData, render_export_report
from cnntk.runtime.errors import UsageError
from cnntk.shipped import shipped_model

EVIL = '<script>alert("x")</script>&\'"'


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    """The shipped LeNet's layers, with the figures that a proof adds."""
    found = inspect(shipped_model()).to_json()
    layers = found["layers"]
    parity = {
        "output": "logits",
        "kind": "noise",
        "batches": [1, 2],
        "scale": 4.0,
        "torch_error": 1e-6,
        "onnx_error": 2e-6,
        "bound": 8e-6,
        "holds": True,
    }
    return {
        "path": "lenet.onnx",
        "name": "lenet",
        "size_bytes": 252_300,
        "parameters": 61_706,
        "multiply_adds": 416_520,
        "opset": 18,
        "ir_version": 10,
        "head": "classifier",
        "head_reason": "one output of shape Nx10",
        "passes": [
            {
                "name": "dropout",
                "reason": "it answers at random",
                "status": "applied",
                "max_rel_diff": None,
                "rollback_reason": None,
                "rewrites": {"applied": ["node_dropout removed"], "skipped": []},
            },
            {
                "name": "linear chain",
                "reason": "one layer",
                "status": "rolled back",
                "max_rel_diff": 0.3,
                "rollback_reason": "it moved",
                "rewrites": {"applied": [], "skipped": ["7: read twice"]},
            },
            {
                "name": "constants",
                "reason": "computed once",
                "status": "nothing to do",
                "max_rel_diff": None,
                "rollback_reason": None,
                "rewrites": {"applied": [], "skipped": []},
            },
        ],
        "checks": [{"name": "batch invariance", "detail": "the same to 2e-7"}],
        "parity": [parity],
        "layer_errors": [
            {"layer": x["name"], "op": x["op"], "scale": 1.0, "torch_error": 1e-7, "onnx_error": 2e-7}
            for x in layers
        ],
        "ledger": [
            {
                "layer": x["name"],
                "op": x["op"],
                "closed_form": x["shape"],
                "torch": x["shape"],
                "onnx": None,
                "run": x["shape"],
                "text": "floor((28 + 2*2 - 1*(5-1) - 1)/1) + 1 = 28",
                "agree": True,
            }
            for x in layers
        ],
        "layers": layers,
        "graph_lint": {
            "warnings": ["conv: all weights are zero"],
            "peak_activation_bytes": 37_632,
            "peak_layer": "1",
        },
        "self_test": {
            "checks": [{"output": "logits", "case": "noise 1", "error": 1e-7, "bound": 1e-6, "holds": True}]
        },
        "digest": "ab" * 32,
        "notes": ["classes are called by their numbers"],
        "seconds": 3.14,
    }


def test_everything_stands_on_the_page(report: dict[str, Any]) -> None:
    page = render_export_report(report)
    for words in (
        "Proven to be the same model",
        "61.7 k",
        "252 kB",
        "37.6 kB",
        "outputs moved by 0.3",
        "rolled back",
        "it moved",
        "left: 7: read twice",
        "1 other pass found",
        "the same to 2e-7",
        "25 %",
        "allowed for logits",
        "N×6×28×28",
        "floor((28 + 2*2 - 1*(5-1) - 1)/1) + 1 = 28",
        "all weights are zero",
        "noise 1",
        "ab" * 32,
        "252,300 bytes",
        "opset 18, IR 10",
        "classes are called by their numbers",
        "3.1 s",
        "head/softmax",
    ):
        assert words in page, words


def test_the_page_is_well_formed_and_has_a_box_a_layer(report: dict[str, Any]) -> None:
    seen = tags(render_export_report(report)).seen
    boxes = [a for tag, a in seen if tag == "rect" and str(a.get("class")).startswith("box")]
    points = [a for tag, a in seen if tag == "circle" and a.get("class") == "onnx"]
    assert len(boxes) == len(report["layers"]) == 13
    assert len(points) == 13 + 1  # and one in the key
    assert ("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}) in seen


def test_the_page_needs_nothing_from_outside(report: dict[str, Any]) -> None:
    page = render_export_report(report)
    assert re.findall(r"https?:|//[a-z]|@import|url\(", page) == []
    for tag, attributes in tags(page).seen:
        assert tag not in ("script", "link", "img", "iframe", "object", "use")
        assert not {"src", "href", "srcset", "onload", "onclick"} & attributes.keys()


def test_light_and_dark_and_narrow(report: dict[str, Any]) -> None:
    page = render_export_report(report)
    assert "prefers-color-scheme: dark" in page
    assert "max-width: 560px" in page


def poisoned(value: Any, key: str = "") -> Any:
    """The report with HTML in every text that is no status."""
    if isinstance(value, dict):
        return {k: poisoned(v, k) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [poisoned(v, key) for v in value]
    return value + EVIL if isinstance(value, str) and key != "status" else value


def test_html_in_names_is_escaped(report: dict[str, Any]) -> None:
    page = render_export_report(poisoned(report))
    assert "<script" not in page
    assert page.count("&lt;script&gt;") > 50
    assert {tag for tag, _ in tags(page).seen} == {tag for tag, _ in tags(render_export_report(report)).seen}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"checks": [{"name": "head", "detail": "sum 1.2", "holds": False}]}, "Not proven: head"),
        (
            {
                "parity": [
                    {
                        "output": "logits",
                        "kind": "noise",
                        "scale": 1.0,
                        "torch_error": 1e-7,
                        "onnx_error": 2e-6,
                        "bound": 1e-6,
                    }
                ]
            },
            "Not proven: parity of logits on noise",
        ),
        (
            {"parity": [{"output": "logits", "kind": "noise", "onnx_error": math.nan, "bound": 1e-6}]},
            "Not proven: parity of logits on noise",
        ),
        (
            {"parity": [{"output": "logits", "kind": "noise", "onnx_error": None, "bound": 1e-6}]},
            "Not proven",
        ),
        (
            {
                "ledger": [
                    {"layer": "conv", "op": "Conv", "closed_form": ["N", 3], "run": ["N", 4], "agree": False}
                ]
            },
            "Not proven: shape of conv",
        ),
        ({"parity": []}, "Not compared with its source"),
    ],
    ids=["check", "parity", "nan", "null", "shape", "nothing"],
)
def test_what_does_not_hold_is_no_proof(report: dict[str, Any], change: dict[str, Any], words: str) -> None:
    page = render_export_report({**report, **change})
    assert words in page
    assert 'class="verdict yes"' not in page


def test_the_cases_of_the_self_test(report: dict[str, Any]) -> None:
    case = {
        "pattern": "noise",
        "seed": 3,
        "sizes": {"N": 2},
        "expected": {"logits": "1 2"},
        "bounds": {"logits": 4e-6},
    }
    page = render_export_report({**report, "self_test": {"cases": [case], "strides": {"logits": 1}}})
    tags(page)
    for words in ("noise 3", "N = 2", "logits 4e-06"):
        assert words in page


def test_name_and_path_are_enough() -> None:
    least: ExportData = {"path": "a.onnx", "name": "a"}
    page = render_export_report(least)
    tags(page)
    assert "a.onnx" in page
    assert "None" not in page


def test_each_key_may_be_left_out_or_empty(report: dict[str, Any]) -> None:
    for key in report.keys() - {"path", "name"}:
        tags(render_export_report({k: v for k, v in report.items() if k != key}))
    for row in ("passes", "checks", "parity", "layer_errors", "ledger", "layers"):
        tags(render_export_report({**report, row: [{}]}))


def test_the_file_is_written_whole_or_not_at_all(report: dict[str, Any], tmp_path: Path) -> None:
    page = tmp_path / "Prüfung 报告.html"
    write_export_report(report, page)
    assert page.read_text(encoding="utf-8") == render_export_report(report)
    with pytest.raises(UsageError, match="does not exist"):
        write_export_report(report, tmp_path / "missing" / "page.html")
    assert [f.name for f in tmp_path.iterdir()] == [page.name]
