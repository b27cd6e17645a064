"""The command line, run in this process."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cnntk.cli import main


@dataclass(frozen=True)
class Done:
    """What a command did."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def cnntk(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., Done]:
    """Runs a command in an empty folder."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.delenv("CNNTK_MODEL", raising=False)

    def run(*args: object) -> Done:
        capsys.readouterr()
        status = main([str(a) for a in args])
        captured = capsys.readouterr()
        return Done(status, captured.out, captured.err)

    return run


@pytest.fixture
def seven(tmp_path: Path) -> Path:
    """A seven, drawn black on white."""
    pixels = np.full((28, 28), 255, np.uint8)
    pixels[5:8, 7:21] = 0
    for row in range(8, 24):
        column = 19 - (row - 8) // 2
        pixels[row, column - 1 : column + 2] = 0
    path = tmp_path / "seven.png"
    Image.fromarray(pixels).resize((140, 140), Image.Resampling.BICUBIC).save(path)
    return path
