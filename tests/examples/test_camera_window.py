"""The window runs in a process of its own, without a screen (Qt's platform "offscreen")."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
EXAMPLES = HERE.parents[1] / "examples"
LACKING = ("cannot open shared object file", "could not load the Qt platform plugin", "DLL load failed")
"""Messages of Qt where a system library is missing: libEGL, libGL, libxkbcommon, libfontconfig, libdbus."""


def run_qt(*arguments: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(filter(None, (str(EXAMPLES), os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "QT_QPA_PLATFORM": "offscreen", "PYTHONPATH": path}
    return subprocess.run(
        [sys.executable, *arguments], env=environment, capture_output=True, text=True, timeout=120
    )


@pytest.fixture(scope="module")
def seen() -> Any:
    if find_spec("PySide6") is None:
        pytest.skip("PySide6-Essentials is not installed")
    tried = run_qt("-c", "from PySide6.QtWidgets import QApplication; QApplication([])")
    if any(reason in tried.stderr for reason in LACKING):
        pytest.skip(f"Qt can't run here: {tried.stderr.strip().splitlines()[-1]}")
    done = run_qt(str(HERE / "drive_window.py"))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_shows_the_three_most_probable_digits(seen: Any) -> None:
    shown = seen["digits"]["shown"]
    assert [labels[0] for labels in shown] == list("0123456789")
    assert {len(set(labels)) for labels in shown} == {3}


def test_another_digit_never_shows(seen: Any) -> None:
    assert seen["digits"]["mistaken"] is False


def test_shows_the_frame(seen: Any) -> None:
    darkest, lightest = seen["digits"]["gray_levels"]
    assert darkest < 30
    assert lightest > 225


def test_an_empty_frame_shows_an_error_and_the_next_is_classified(seen: Any) -> None:
    assert "expected uint8" in seen["digits"]["error"]
    assert seen["digits"]["recovered"][0] == "3"


def test_a_slow_model_holds_up_nothing_and_gets_the_newest_frame(seen: Any) -> None:
    slow = seen["slow"]
    assert slow["frames"] >= 6
    assert (slow["first"][0], slow["second"][0]) == ("1", "2")
