"""The first hour of three users, from the README, ``--help`` and the last message alone.

Each has something else at hand: a file of networks, a network with a checkpoint, or a stranger's ``.onnx``
file. Every option that a command gets must be named in one of these three texts.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from source_tree import ROOT

from cnntk.cli import main

pytestmark = pytest.mark.filterwarnings("default:.*its only network is taken:UserWarning")

SIZE = 32
CLASSES = ("disk", "bars", "blank")

COURSE = """
import torch
from torch import nn

classes = 10

LeNet = nn.Sequential(
    nn.Conv2d(1, 4, 5, padding=2), nn.Sigmoid(), nn.AvgPool2d(2), nn.Flatten(),
    nn.Linear(4 * 14 * 14, classes))

AlexNet = nn.Sequential(
    nn.LazyConv2d(8, kernel_size=3, stride=2, padding=1), nn.ReLU(), nn.MaxPool2d(kernel_size=3, stride=2),
    nn.LazyConv2d(12, kernel_size=3, padding=1), nn.ReLU(), nn.Flatten(),
    nn.LazyLinear(24), nn.ReLU(), nn.Dropout(p=0.5), nn.LazyLinear(classes))


class NiN(nn.Module):
    def __init__(self, lr=0.1):
        super().__init__()
        self.lr = lr
        self.net = nn.Sequential(
            nn.LazyConv2d(8, 3, 2), nn.ReLU(), nn.LazyConv2d(8, 1), nn.ReLU(), nn.Dropout(0.5),
            nn.LazyConv2d(classes, 3, padding=1), nn.AdaptiveAvgPool2d((1, 1)), nn.Flatten())


class VGG:
    def __init__(self, arch):
        blocks = []
        for layers, channels in arch:
            for _ in range(layers):
                blocks += nn.LazyConv2d(channels, 3, padding=1), nn.ReLU()
            blocks.append(nn.MaxPool2d(2, 2))
        self.net = nn.Sequential(*blocks, nn.Flatten(), nn.LazyLinear(16), nn.ReLU(), nn.LazyLinear(classes))


def small_vgg():
    return VGG(((1, 4), (2, 8)))
"""

OWN = """
import torch
from torch import nn


class Unit(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv = nn.LazyConv2d(channels, 3, 2, 1, bias=False)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x):
        return self.norm(self.conv(x)).relu()


class Net(nn.Module):
    def __init__(self, classes=3):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1))
        self.dropout = nn.Dropout(0.2)
        self.head = nn.Linear(16, classes)

    def forward(self, x):
        return self.head(self.dropout(self.body(x).relu().mean((2, 3))))
"""

TRAINING = """
import torch
from model import Net

torch.manual_seed(0)
network = Net()
average = torch.optim.swa_utils.AveragedModel(network, use_buffers=True)
optimizer = torch.optim.AdamW(network.parameters())
average.update_parameters(network)
network(torch.randn(4, 3, 32, 32)).sum().backward()
optimizer.step()
average.update_parameters(network)
weights = network.eval().state_dict()

def behind(prefix):
    return {prefix + name: value for name, value in weights.items()}

state = optimizer.state_dict()
torch.save({"epoch": 3, "state_dict": behind("module."), "optimizer": state}, "distributed.pth")
torch.save({"state_dict": behind("model."), "optimizer_states": [state],
            "pytorch-lightning_version": "2.4.0", "hyper_parameters": {"lr": 0.1}}, "lightning.ckpt")
torch.save({"model": behind("_orig_mod."), "ema": average.state_dict()}, "compiled.pt")
torch.onnx.export(network, (torch.randn(1, 3, 32, 32),), "strangers.onnx", input_names=["pixels_in"],
                  output_names=["scores"], dynamo=False)
"""

APP = """
from cnntk.runtime import Classifier, Engine
import numpy as np

classify = Classifier("Net.onnx")
print(classify("photos/val/disk/0.png").top(3)[0].label)
engine = Engine("Net.onnx")
pixels = np.zeros((2, 40, 50, 3), np.uint8)
print(engine.run({"image": pixels})["probabilities"].shape)
"""


def unnamed_options(command: str, *texts: str) -> list[str]:
    """The options of a command line that none of the texts names."""
    named = set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", "\n".join(texts)))
    return [word for word in shlex.split(command) if re.match(r"--?[a-z]", word) and word not in named]


@dataclass
class User:
    """Somebody who types commands in a folder, and knows no option that nothing names."""

    folder: Path
    type: Callable[[list[str]], tuple[int, str]]
    readme: str = (ROOT / "README.md").read_text(encoding="utf-8")
    message: str = ""
    helps: dict[str, str] = field(default_factory=dict)

    def run(self, command: str, status: int = 0) -> str:
        """Types a command, and returns everything that it prints."""
        _, verb, *_ = words = shlex.split(command)
        if words[0] == "cnntk":
            if verb not in self.helps:
                self.helps[verb] = self._run(["cnntk", verb, "--help"], 0)
            assert unnamed_options(command, self.readme, self.helps[verb], self.message) == [], command
        self.message = self._run(words, status)
        return self.message

    def _run(self, words: list[str], expected: int) -> str:
        status, text = self.type(words)
        assert status == expected, f"$ {shlex.join(words)}\n{text}"
        assert "Traceback" not in text, f"$ {shlex.join(words)}\n{text}"
        return text

    def suggested(self, beginning: str) -> str:
        """The one command in the last message that begins so."""
        (command,) = [c for c in re.findall(r"cnntk [^\n]+", self.message) if c.startswith(beginning)]
        return command.rstrip()


@pytest.fixture
def user(tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> User:
    """A user in an empty folder; ``cnntk`` runs in this process, which has loaded torch already."""
    folder = tmp_path / "empty"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.delenv("CNNTK_MODEL", raising=False)

    def type_(words: list[str]) -> tuple[int, str]:
        capfd.readouterr()
        if words[0] == "cnntk":
            status = main(words[1:])
        else:
            status = subprocess.run([sys.executable, *words[1:]], check=False).returncode
        output = capfd.readouterr()
        return status, output.out + output.err

    return User(folder, type_)


@pytest.fixture
def draw(user: User) -> Callable[[str, int], None]:
    """Draws images into class folders of the user's folder."""

    def draw_all(split: str, count: int) -> None:
        rng = np.random.default_rng(count)
        rows, columns = np.mgrid[:SIZE, : SIZE + 8]
        marked = {
            "disk": (rows - 16) ** 2 + (columns - 20) ** 2 < 80,
            "bars": columns // 4 % 2 == 0,
            "blank": np.zeros_like(rows, bool),
        }
        for name in CLASSES:
            folder = user.folder / "photos" / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = rng.normal(120, 6, (SIZE, SIZE + 8, 3))
                pixels[marked[name]] += 80
                Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{number}.png")

    return draw_all


def test_an_option_that_nothing_names_is_found() -> None:
    texts = ("$ cnntk export net --weights FILE", "  -o, --output FILE  or --random-seed N")
    assert unnamed_options("cnntk export a --weights w -o x --output y", *texts) == []
    assert unnamed_options("cnntk export a --weight w -n --random=3 --seed", *texts) == [
        "--weight",
        "-n",
        "--random=3",
        "--seed",
    ]


@pytest.mark.slow
def test_a_file_of_networks_of_a_course(user: User) -> None:
    (user.folder / "notes.py").write_text(COURSE)
    message = user.run("cnntk train notes.py --data digits", status=2)
    names = re.findall(r"cnntk train notes.py:(\w+) --data digits", message)
    assert names == ["LeNet", "AlexNet", "NiN", "small_vgg"]
    for name in names:
        trained = user.run(user.suggested(f"cnntk train notes.py:{name} ") + " --epochs 1 --max-images 256")
        exported = user.run(user.suggested("cnntk export"))
        assert f"runs/{name}-digits" in trained
        assert ("\nwarning: " in trained) == (name in {"NiN", "small_vgg"})  # self.net is the network
        assert f"wrote          {name}-digits.onnx" in exported
        user.message = message
    assert "verdict             passed" in user.run("cnntk verify NiN-digits.onnx")
    user.run(
        "cnntk quantize NiN-digits.onnx --calibration digits --calibration-images 32 --prefer size "
        "--max-drop 100"
    )
    user.run("python -m cnntk.data.digits 7 seven.png")
    assert "seven.png" in user.run("cnntk infer -m NiN-digits-int8.onnx seven.png")
    assert "p50" in user.run("cnntk bench NiN-digits-int8.onnx --against NiN-digits.onnx --seconds 0.2")


@pytest.mark.slow
def test_a_network_with_a_checkpoint(user: User, draw: Callable[[str, int], None]) -> None:
    draw("train", 12)
    draw("val", 4)
    for name, text in {"model.py": OWN, "training.py": TRAINING, "app.py": APP}.items():
        (user.folder / name).write_text(text)
    (user.folder / "labels.txt").write_text("\n".join(CLASSES))
    user.run("python training.py")
    user.run("cnntk export model.py --weights distributed.pth", status=2)
    assert user.message.count("cnntk export model.py:") == 1  # Unit needs arguments
    command = user.suggested("cnntk export model.py:Net").replace("CxHxW", f"3x{SIZE}x{SIZE}")
    options = "--labels labels.txt --preprocessing imagenet"
    assert "prefix 'module.' is removed" in user.run(f"{command} {options}")
    for file, note in {"lightning.ckpt": "'model.'", "compiled.pt": "a moving average"}.items():
        another = command.replace("distributed.pth", file)
        assert note in user.run(f"{another} {options} -o {file}.onnx")
    assert "verdict             passed" in user.run("cnntk verify Net.onnx")
    evaluated = user.run("cnntk evaluate Net.onnx --data photos/val")
    assert "12 of val" in evaluated
    assert all(name in evaluated for name in CLASSES)
    quantized = "cnntk quantize Net.onnx --calibration photos/train --prefer size --max-drop 100"
    assert "top-1" in user.run(quantized)  # the folders are labels
    table = user.run("cnntk infer -m Net-int8.onnx photos/val/disk")
    assert len(re.findall(r"photos/val/disk/\d\.png +(?:disk|bars|blank) ", table)) == 4
    assert user.run("python app.py").split("\n")[1] == "(2, 3)"


@pytest.mark.slow
def test_an_onnx_file_of_somebody_else(user: User, draw: Callable[[str, int], None]) -> None:
    draw("train", 12)
    draw("val", 4)
    (user.folder / "model.py").write_text(OWN)
    (user.folder / "training.py").write_text(TRAINING)
    user.run("python training.py")
    original = (user.folder / "strangers.onnx").read_bytes()
    assert f"pixels_in: float32 1x3x{SIZE}x{SIZE}" in user.run("cnntk inspect strangers.onnx")
    message = user.run("cnntk infer -m strangers.onnx photos/val", status=2)
    assert "does not state how images become its input pixels_in" in message
    assert user.run("cnntk infer -m strangers.onnx photos/val --preprocessing imagenet").count(".png") == 12
    (user.folder / "labels.txt").write_text("\n".join(CLASSES))
    exported = user.run("cnntk export strangers.onnx --preprocessing imagenet --labels labels.txt")
    assert "wrote          strangers-cnntk.onnx" in exported
    assert (user.folder / "strangers.onnx").read_bytes() == original
    verified = user.run("cnntk verify strangers-cnntk.onnx --against strangers.onnx")
    assert "verdict             passed" in verified
    user.run(
        "cnntk quantize strangers-cnntk.onnx --calibration photos/train --prefer size --max-drop 100 "
        "-o small.onnx"
    )
    assert "p50" in user.run("cnntk bench strangers-cnntk.onnx --against small.onnx --seconds 0.2")
    evaluated = user.run(
        "cnntk evaluate strangers.onnx strangers-cnntk.onnx small.onnx --data photos/val "
        "--preprocessing imagenet"
    )
    assert "Comparison" in evaluated
    assert "'blank' is 1" in evaluated  # of the file without labels, the order of the folders is stated
