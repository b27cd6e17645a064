"""The scripts as modules."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def common(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    yield from imported("common", monkeypatch)


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    yield from imported("page", monkeypatch)


@pytest.fixture
def json_page(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    yield from imported("json_page", monkeypatch)


@pytest.fixture
def coverage(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    yield from imported("coverage", monkeypatch)


@pytest.fixture
def trained_like(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    yield from imported("trained_like", monkeypatch)


@pytest.fixture
def mutations(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    yield from imported("mutations", monkeypatch)


def imported(name: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """A script as a module; its name is removed from ``sys.modules`` afterwards."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    yield importlib.import_module(name)
    for module in (name, "common", "graph_mutations"):
        sys.modules.pop(module, None)
