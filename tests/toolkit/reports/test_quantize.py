"""The page of a quantization, from figures by hand."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from cnntk.reports import write_quantize_report
from cnntk.reports.quantize import render_quantize_report

EVIL = '<script>alert("x")</script>&'


def race(ratio: float) -> dict[str, Any]:
    return {"ratio": ratio, "low": ratio - 0.1, "high": ratio + 0.1, "first_ms": 2.0, "second_ms": 1.0}


def accuracy(drop: float | None) -> dict[str, Any]:
    scores = {"top1": 95.0, "top5": 99.0}
    told = {"images": 1000, "agreement": 99.0, "weighted_flips": 0.123, "before": None, "after": None}
    if drop is None:
        return {**told, "drop": None, "drop_low": None, "drop_high": None}
    after = {**scores, "top1": 95.0 - drop}
    ends = {"drop_low": drop - 0.4, "drop_high": drop + 0.4}
    return {**told, "before": scores, "after": after, "drop": drop, **ends}


def step(change: str, ratio: float, drop: float | None, verdict: str = "holds") -> dict[str, Any]:
    return {
        "change": change,
        "recipe": {},
        "size_bytes": 40_000,
        "race": race(ratio),
        "accuracy": accuracy(drop),
        "verdict": verdict,
    }


@pytest.fixture
def report() -> dict[str, Any]:
    layer = {"node": "n0", "title": "features.0", "op": "Conv", "parameters": 900, "multiply_adds": 90_000}
    return {
        "path": "small.onnx",
        "name": "net",
        "changed": True,
        "reason": "all: fastest that holds",
        "holds_on": "every CPU",
        "setting": {
            "source": "net.onnx",
            "calibration": "digits",
            "calibration_images": 512,
            "max_drop": 0.5,
            "target": "any",
            "prefer": "speed",
            "threads": 2,
            "machine": "a CPU",
        },
        "layers": [
            {**layer, "kind": "int8", "reason": "a convolution", "cost": 0.25},
            {**layer, "title": "classifier", "kind": "float32", "reason": "small", "cost": None},
        ],
        "accuracy": accuracy(0.3),
        "race": race(2.0),
        "size_bytes": 40_000,
        "original_size_bytes": 160_000,
        "path_steps": [step("all", 3.0, 1.0, "drops by 1.00 points"), step("fewer", 2.0, 0.3)],
        "warnings": ["calibration: few images"],
        "notes": [],
        "interrupted": False,
        "digest": "ab" * 32,
        "seconds": 3.0,
    }


def test_what_stands_on_it(report: dict[str, Any]) -> None:
    page = render_quantize_report(report)
    assert "Quantized, within the bound" in page
    assert "2.00×" in page
    assert "95.00 → 94.70 %" in page
    assert "drops by 1.00 points" in page
    assert "features.0" in page
    assert "every CPU" in page
    assert "calibration: few images" in page
    assert page.count('class="dot chosen" cx') == 1 + 1  # in the key, too


def test_it_needs_nothing_from_outside(report: dict[str, Any]) -> None:
    page = render_quantize_report(report)
    assert not re.search(r"(src|href)\s*=|url\(|@import|http", page)


def test_text_is_escaped(report: dict[str, Any]) -> None:
    report["name"] = report["reason"] = report["path_steps"][0]["change"] = EVIL
    report["layers"][0]["title"] = report["layers"][0]["reason"] = EVIL
    assert "<script" not in render_quantize_report(report)


def test_a_model_that_stays(report: dict[str, Any]) -> None:
    report |= {
        "changed": False,
        "accuracy": None,
        "race": None,
        "path_steps": [step("all", 0.5, 0.0, "slow")],
    }
    page = render_quantize_report(report)
    assert "Stays as it was" in page
    assert "slow" in page


def test_without_labels(report: dict[str, Any]) -> None:
    report["accuracy"], report["path_steps"] = accuracy(None), [step("all", 2.0, None)]
    page = render_quantize_report(report)
    assert "0.123" in page
    assert "top-1 on" not in page


def test_steps_that_were_not_measured_are_rows_alone(report: dict[str, Any]) -> None:
    report["path_steps"] = [{**step("slow one", 1.0, 0.0), "accuracy": None}]
    page = render_quantize_report(report)
    assert "slow one" in page
    assert "What was tried" not in page


def test_it_is_written_whole(report: dict[str, Any], tmp_path: Path) -> None:
    write_quantize_report(report, tmp_path / "r.html")
    assert (tmp_path / "r.html").read_text(encoding="utf-8").startswith("<!doctype html>")
