from __future__ import annotations

import subprocess
import sys
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np
import pytest
from drawn_digits import drawn_digit
from multiprocessing_worker import classify_all
from PIL import Image

from cnntk.runtime import Engine, ImageError, Prediction
from cnntk.shipped import shipped_model

EXAMPLE = Path(__file__).parents[2] / "examples" / "multiprocessing_worker.py"


def run(*arguments: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, str(EXAMPLE), *arguments], check=True, capture_output=True, text=True, timeout=60
    )
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_reads_every_digit_from_a_path_and_from_a_pickled_engine() -> None:
    lines = run()
    assert (lines[0], lines[11]) == ("from a path", "from an engine")
    assert lines[1:11] == lines[12:]
    assert [line.split()[0] for line in lines[1:11]] == list("0123456789")


def test_files_and_what_is_none(tmp_path: Path) -> None:
    for digit in (3, 7):
        Image.fromarray(drawn_digit(digit)).save(tmp_path / f"{digit}.png")
    (tmp_path / "note.png").write_text("no image")
    lines = run(*(str(tmp_path / name) for name in ("7.png", "note.png", "3.png")))
    assert [line[:2] for line in lines[1:4]] == ["7 ", "er", "3 "]
    assert f"error: {tmp_path / 'note.png'}: not a readable image" in lines[2]


def test_in_order_and_one_bad_image_alone() -> None:
    images = [drawn_digit(5), np.zeros((4, 4), np.float32), drawn_digit(8)]
    results = classify_all(Engine(shipped_model(), threads=1), images)
    assert [type(result) for result in results] == [Prediction, ImageError, Prediction]
    assert [results[0].label, results[2].label] == ["5", "8"]
    assert "expected uint8" in str(results[1])


def test_a_model_that_is_not_there_ends_it(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(BrokenProcessPool):
        classify_all(tmp_path / "none.onnx", [drawn_digit(1)], processes=1)
    assert "none.onnx" in capfd.readouterr().err
