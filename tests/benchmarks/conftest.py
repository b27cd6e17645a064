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


def imported(name: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """A script that lies beside others; its name is no one else's afterwards."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    yield importlib.import_module(name)
    for one in (name, "common"):
        sys.modules.pop(one, None)
