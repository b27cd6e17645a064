"""What a Python file defines, without running it."""

from __future__ import annotations

from pathlib import Path

import pytest

from cnntk.models.python_names import file_of_module, names_of_file
from cnntk.runtime.errors import UsageError

COURSE = """
import torch
from torch import nn as layers, nn
import torch.nn.functional
raise SystemExit("this is never run")

LeNet = nn.Sequential(nn.Conv2d(1, 6, 5), nn.ReLU())
num_classes: int = 10
first, (second, *rest) = 1, (2, 3)

class Block(nn.Module):
    def forward(self, x): ...

class NiN(d2l.Classifier):
    def __init__(self):
        self.net = nn.Sequential()

class Small(Block): ...
class Config: ...

trained = Small().eval()
sizes = Config()

def init_cnn(module): ...
def lenet(num_classes=10): return nn.Sequential()
def _hidden(): return 1
def prints(): print()

try:
    import other
    for epoch in range(3): fallback = Block()
except ImportError:
    with open("x") as handle: pass
else:
    if (walrus := 5) > 3: chosen = 1

def sets():
    global later
    later = 5
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "notes.py"
    path.write_text(COURSE)
    return path


def test_networks_in_the_order_of_the_file(file: Path) -> None:
    names = names_of_file(file)
    assert names.networks == ("LeNet", "Block", "NiN", "Small", "trained", "lenet", "fallback")
    others = {"torch", "layers", "num_classes", "first", "second", "rest", "Config", "init_cnn", "prints"}
    assert names.is_complete
    assert names.defined >= others | {"other", "epoch", "handle", "walrus", "chosen", "later", "sizes"}
    assert not {"nothing", "forward", "x", "module"} & names.defined


def test_networks_with_required_arguments_only_where_there_are_no_others(tmp_path: Path) -> None:
    file, block = (
        tmp_path / "model.py",
        "class Block(nn.Module):\n    def __init__(self, width, stride=1): ...\n",
    )
    file.write_text(block)
    assert names_of_file(file).networks == ("Block",)
    file.write_text(f"{block}class Net(nn.Module):\n    def __init__(self, classes=3): ...\n")
    assert names_of_file(file).networks == ("Net",)


@pytest.mark.parametrize(
    "line",
    [
        "from torch.nn import *",
        "globals()['X'] = 1",
        "def __getattr__(name): ...",
        "import sys; setattr(sys.modules[__name__], 'X', 1)",
        "exec('X = 1')",
    ],
)
def test_names_that_the_text_does_not_show(file: Path, line: str) -> None:
    file.write_text(line)
    assert not names_of_file(file).is_complete


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"def broken(:", r"can't be imported: SyntaxError: .* \(.*notes.py:1\)"),
        (b"\x00", "can't be imported: "),
        (b"\xff\xfe", "can't be imported: "),
    ],
)
def test_what_is_no_python_file(file: Path, content: bytes, message: str) -> None:
    file.write_bytes(content)
    with pytest.raises(UsageError, match=message) as raised:
        names_of_file(file)
    assert "\n" not in str(raised.value)
    with pytest.raises(UsageError, match="no such file"):
        names_of_file(file.with_name("gone.py"))


def test_the_file_of_a_module() -> None:
    lenet = file_of_module("cnntk.models.lenet")
    assert lenet is not None
    assert "lenet" in names_of_file(lenet).networks
    assert file_of_module("cnntk.models.nothing") is None
    assert file_of_module("sys") is None
    with pytest.raises(UsageError, match="No module named 'no_such_package'; install it, or name a file"):
        file_of_module("no_such_package.nets")
