"""docs/bench-json.md is current, and names each field of the document that ``cnntk bench --json`` prints."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any

import pytest
from made_up_bench import full_bench
from simulated_gpu import cuda_times

from cnntk.benchmark.result import SCHEMA
from cnntk.runtime.codec import as_json

BY_NAME = {"latency.percentiles_ms", "cases", "cases.{}.settings", "cases.{}.percentiles_ms"}
"""Objects whose names are not fields."""


def documented(text: str) -> dict[str, set[str]]:
    """Names of the fields of each object, by its path in the document."""
    fields: dict[str, set[str]] = {}
    for section in text.split("\n## ")[1:]:
        title, _, body = section.partition("\n")
        if reference := re.match(r"\nAs `(.*)`", body):
            fields[title.strip("`")] = fields[reference[1]]
        else:
            fields[title.strip("`")] = set(re.findall(r"^\| `([^`]+)` \|", body, re.MULTILINE))
    return fields


def occurring(data: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Path and name of each field; those of estimates aside."""
    if isinstance(data, list | tuple):
        for entry in data:
            yield from occurring(entry, f"{path}[]")
    elif isinstance(data, Mapping) and set(data) != {"value", "low", "high"}:
        for name, value in data.items():
            step = "{}" if path in BY_NAME else name
            if path not in BY_NAME:
                yield path or "document", name
            yield from occurring(value, f"{path}.{step}" if path else step)


def difference(text: str, data: Any) -> set[tuple[str, str]]:
    """Fields that are documented and don't occur, or occur and are not documented; of objects in the data."""
    pairs = set(occurring(data))
    paths = {path for path, _ in pairs}
    return pairs ^ {
        (path, name) for path, names in documented(text).items() for name in names if path in paths
    }


@pytest.fixture(scope="module")
def data() -> dict[str, Any]:
    return dict(json.loads(json.dumps(as_json(full_bench(cuda=cuda_times())), allow_nan=False)))


def test_the_committed_page_is_current(json_page: ModuleType) -> None:
    message = "run: python benchmarks/json_page.py"
    assert json_page.PAGE.read_text(encoding="utf-8") == json_page.page(), message


def test_all_fields_are_documented_and_no_others(json_page: ModuleType, data: dict[str, Any]) -> None:
    assert difference(json_page.page(), data) == set()
    assert f"`{SCHEMA}`" in json_page.page()


@pytest.mark.parametrize(
    ("line", "missing"),
    [
        ("| `profiler_us` |", ("layers", "profiler_us")),
        ("| `pairs` |", ("against[].comparison", "pairs")),
        ("| `schema` |", ("document", "schema")),
    ],
)
def test_a_missing_line_is_reported(
    json_page: ModuleType, data: dict[str, Any], line: str, missing: tuple[str, str]
) -> None:
    lines = json_page.page().splitlines()
    others = [row for row in lines if not row.startswith(line)]
    assert len(others) == len(lines) - 1
    assert difference("\n".join(others), data) == {missing}


def test_a_new_field_is_reported_with_its_object(json_page: ModuleType, data: dict[str, Any]) -> None:
    changed = {**data, "sweep": {**data["sweep"], "batch": 1}}
    assert difference(json_page.page(), changed) == {("sweep", "batch")}
