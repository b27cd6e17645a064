import os
from collections.abc import Callable
from pathlib import Path

import pytest

from cnntk.runtime import Engine

MINE = """
from torch import nn

def make(classes=3, bias=True):
    return nn.Sequential(nn.Flatten(), nn.Linear(12, classes, bias=bias))
"""


def test_the_shipped_lenet_with_no_argument(cnntk: Callable) -> None:
    done = cnntk("export")
    assert done.status == 0
    assert done.out.startswith("lenet.onnx (")
    assert Engine("lenet.onnx").spec.name == "lenet"
    again = cnntk("export")
    assert again.status == 2
    assert "exists already" in again.err
    assert cnntk("export", "--force", "--json").json["path"] == "lenet.onnx"
    assert cnntk("export", "--random").status == 2


def test_tells_what_was_shown(cnntk: Callable) -> None:
    done = cnntk("export", "lenet", "--random", "-o", "trial.onnx")
    assert done.status == 0
    for word in ("trial.onnx", "61,706", "classifier", "simplified", "parity: ", "allowed", "argmax kept"):
        assert word in done.out
    assert "takes arrays only" in done.err
    report = cnntk("export", "lenet", "--random", "-o", "trial.onnx", "--force", "--json").json
    assert report["parity"][0]["holds"] is True


def test_a_factory_of_the_current_folder(cnntk: Callable, tmp_path: Path) -> None:
    Path("my_models.py").write_text(MINE)
    labels = tmp_path / "labels.txt"
    labels.write_text("a\nb\nä\n4th\n", encoding="utf-8")
    args = ("--input", "3x2x2", "--random", "--kwargs", "classes=4", "--kwargs", "bias=false")
    done = cnntk("export", "my_models:make", *args, "--labels", labels)
    assert done.status == 0, done.err
    spec = Engine("make.onnx").spec
    assert spec.labels == ("a", "b", "ä", "4th")
    assert spec.network.kwargs == {"classes": 4, "bias": False}
    done = cnntk("export", "my_models.py:make", *args, "--force")
    assert done.status == 0, done.err


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00"])
def test_labels_that_are_none(cnntk: Callable, content: bytes) -> None:
    Path("labels.txt").write_bytes(content)
    done = cnntk("export", "lenet", "--random", "--labels", "labels.txt")
    assert done.status == 2
    assert "labels.txt" in done.err
    assert os.listdir() == ["labels.txt"]
