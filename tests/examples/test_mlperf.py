"""MLPerf's real load generator, where it is installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from drawn_digits import drawn_digit
from PIL import Image

pytest.importorskip("mlperf_loadgen", reason="MLPerf's load generator is not installed: mlcommons-loadgen")

EXAMPLE = Path(__file__).parents[2] / "examples" / "mlperf.py"


def run(*arguments: object, status: int = 0) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(EXAMPLE), "--threads", "1", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == status, done.stderr
    return done


@pytest.mark.parametrize(
    ("scenario", "figure"),
    [
        ("SingleStream", "90.0th percentile latency"),
        ("MultiStream", "99.0th percentile latency"),
        ("Server", "Completed samples per second"),
        ("Offline", "Samples per second"),
    ],
)
def test_a_short_run_is_measured_and_not_valid(scenario: str, figure: str) -> None:
    text = run("--scenario", scenario, "--qps", 200, "--seconds", 0.5).stdout
    assert f"Scenario : {scenario}" in text
    assert figure in text
    assert "Result is : INVALID" in text
    assert "Min duration satisfied : NO" in text
    assert "min_duration (ms): 600000" in text


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    """An image of each digit, two of them in the folder of the digit 9."""
    for digit in range(10):
        label = 9 if digit == 3 else digit
        (tmp_path / str(label)).mkdir(exist_ok=True)
        Image.fromarray(drawn_digit(digit)).save(tmp_path / str(label) / f"{digit}.png")
    return tmp_path


@pytest.mark.parametrize("scenario", ["SingleStream", "Server", "Offline"])
def test_accuracy_is_that_of_the_labels(digits: Path, scenario: str) -> None:
    text = run("--scenario", scenario, "--images", digits, "--seconds", 0.2, "--qps", 500).stdout
    assert "Accuracy: 90.00% of 10 images" in text


def test_an_unreadable_image_ends_it(digits: Path) -> None:
    (digits / "1" / "1.png").write_bytes(b"nothing")
    assert "1.png" in run("--images", digits, status=1).stderr
