"""docs/bench-json.md names each field of the document that ``cnntk bench --json`` prints, and no other."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from made_up_bench import baseline_comparison, case_comparisons, full_bench
from made_up_gpu import cuda_times

from cnntk.benchmark.result import SCHEMA

DOCUMENT = Path(__file__).parents[2] / "docs" / "bench-json.md"

BY_NAME = {
    "latency.percentiles_ms",
    "cases",
    "cases.{}.settings",
    "cases.{}.percentiles_ms",
    "scenarios[].percentiles_ms",
}
"""Objects whose names are not fields."""

LIKE = {"cuda.gpu.before": "cuda.gpu.during[]", "cuda.gpu.after": "cuda.gpu.during[]"}


def documented(text: str) -> dict[str, set[str]]:
    """By the object's place in the document, its fields."""
    found = {}
    for section in text.split("\n## ")[1:]:
        title, _, body = section.partition("\n")
        cells = re.findall(r"^\| (`.*?) \|", body, re.MULTILINE)
        found[title.strip("`")] = {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}
    return found


def occurring(data: Any, place: str = "") -> Iterator[tuple[str, str]]:
    """Place and name of each field; those of estimates aside."""
    if isinstance(data, list | tuple):
        for entry in data:
            yield from occurring(entry, f"{place}[]")
    elif isinstance(data, Mapping) and set(data) != {"value", "low", "high"}:
        for name, value in data.items():
            step = "{}" if place in BY_NAME else name
            if place not in BY_NAME:
                yield LIKE.get(place, place or "document"), name
            yield from occurring(value, f"{place}.{step}" if place else step)


def difference(text: str, data: Any) -> set[tuple[str, str]]:
    """Fields that are documented and don't occur, or occur and are not documented."""
    told = {(place, name) for place, names in documented(text).items() for name in names}
    return told ^ set(occurring(data))


@pytest.fixture(scope="module")
def data() -> dict[str, Any]:
    printed = {
        **full_bench(cuda=cuda_times()).to_json(),
        "baseline": baseline_comparison().to_json(),
        "compared": [verdict.to_json() for verdict in case_comparisons()],
    }
    return dict(json.loads(json.dumps(printed, allow_nan=False)))


def test_all_fields_are_documented_and_no_others(data: dict[str, Any]) -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert difference(text, data) == set()
    assert f"`{SCHEMA}`" in text


@pytest.mark.parametrize(
    ("line", "missing"),
    [
        ("| `profiler_us` |", ("layers", "profiler_us")),
        ("| `pairs` |", ("against[].comparison", "pairs")),
        ("| `schema` |", ("document", "schema")),
    ],
)
def test_a_line_that_is_missing_is_found(data: dict[str, Any], line: str, missing: tuple[str, str]) -> None:
    lines = DOCUMENT.read_text(encoding="utf-8").splitlines()
    kept = [row for row in lines if not row.startswith(line)]
    assert len(kept) == len(lines) - 1
    assert difference("\n".join(kept), data) == {missing}


def test_a_new_field_is_found_in_its_own_object(data: dict[str, Any]) -> None:
    changed = {**data, "sweep": {**data["sweep"], "batch": 1}}
    assert difference(DOCUMENT.read_text(encoding="utf-8"), changed) == {("sweep", "batch")}
