from pathlib import Path

import numpy as np
from PIL import Image

from cnntk.inference import ImageResult, expand, infer
from cnntk.runtime import Classifier


def test_in_order_with_the_broken_ones_named(tiny_onnx: Path, tmp_path: Path) -> None:
    names = [tmp_path / n for n in ("dark.png", "broken.png", "light.png")]
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(names[0])
    names[1].write_bytes(b"")
    Image.fromarray(np.full((4, 4), 255, np.uint8)).save(names[2])
    results = list(infer(Classifier(tiny_onnx), map(str, names)))
    assert [r.file for r in results] == [str(n) for n in names]
    assert [r.predictions.best.label if r.predictions else r.error for r in results] == [
        "dark",
        f"{names[1]}: is empty (0 bytes)",
        "light",
    ]


def test_an_error_becomes_json() -> None:
    assert ImageResult("a.png", None, "why").to_json(3) == {"file": "a.png", "error": "why"}


def test_a_file_with_a_pattern_in_its_name_is_a_file(tmp_path: Path) -> None:
    odd = tmp_path / "odd[1].png"
    odd.touch()
    assert expand([str(odd), "-", "gone.png"]) == [str(odd), "-", "gone.png"]
