"""What a text names as a source, and what is said of it before torch is imported."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cnntk.exporters.options import ExportOptions, format_input, parse_input
from cnntk.exporters.source_kind import check_source, source_kind
from cnntk.runtime.errors import CnntkError, UsageError

NETS = "from torch import nn\nLeNet = nn.Sequential()\nclass Net(nn.Module): ...\nsize = 3\n"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("nets.py").write_text(NETS)
    Path("w.pt").touch()
    Path("run").mkdir()
    Path("run/spec.json").touch()
    Path("run/model.safetensors").touch()
    Path("alone.safetensors").touch()
    return tmp_path


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("lenet", "zoo"),
        ("nets.py:Net", "factory"),
        ("package.module:Net", "factory"),
        ("nets.py", "python file"),
        ("run", "checkpoint"),
        ("run/model.safetensors", "checkpoint"),
        ("alone.safetensors", "weights"),
        ("w.pt", "weights"),
        ("w.pt#ema", "weights"),
        ("best.ckpt", "weights"),
        ("model.safetensors.index.json", "weights"),
        ("m.pt2", "pt2"),
        ("m.onnx", "onnx"),
        ("timm:resnet18", "timm"),
        ("transformers:a/b", "transformers"),
        ("torchvision.models:resnet18", "torchvision.models"),
        ("a/b", "folder"),
    ],
)
def test_kinds(text: str, kind: str) -> None:
    assert source_kind(text) == kind


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nothing.py:X", "nothing.py: no such file"),
        ("nets.py:Nett", r"nets.py:Nett: nets.py has no 'Nett'; its networks are LeNet, Net"),
        ("nets.py:Net", "the input shape is missing; pass it like --input 3x224x224"),
        ("no_such_package:X", "No module named 'no_such_package'"),
        ("cnntk.models.lenet:lenett", "cnntk.models.lenet has no 'lenett'; its networks are lenet"),
        ("lenett", "unknown network 'lenett'; did you mean 'lenet'"),
        ("lenet", r"--random to try it .*, or train it first \(cnntk train lenet --data DATA\)"),
        ("gone.onnx", "gone.onnx: no such file"),
        ("gone.pt2", "gone.pt2: no such file"),
        ("gone.pth", "gone.pth: no such file"),
        ("a/b", "a/b: no such checkpoint"),
        (".", "not a checkpoint folder of cnntk, but one of weights without their network"),
    ],
)
def test_wrong_use(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as raised:
        check_source(text, ExportOptions())
    assert "\n" not in str(raised.value)


def test_missing_weights_are_said_first() -> None:
    with pytest.raises(UsageError, match=r"gone.pt: no such file \(expected weights\)"):
        check_source("nets.py:Net", ExportOptions((3, 8, 8), "gone.pt"))
    check_source("nets.py:Net", ExportOptions((3, 8, 8), "w.pt#ema"))
    check_source("nets.py:Net", ExportOptions(), needs_input=False)
    check_source("w.pt", ExportOptions())


def notes(text: str, **options: Any) -> list[str]:
    with pytest.raises(UsageError) as raised:
        check_source(text, ExportOptions(**options))
    return raised.value.__notes__


def test_a_python_file_lists_its_networks() -> None:
    commands = ["  cnntk export nets.py:LeNet --input CxHxW", "  cnntk export nets.py:Net --input CxHxW"]
    assert notes("nets.py")[:2] == commands
    assert notes("nets.py", input_shape=(1, 28, 28))[0].endswith("--input 1x28x28")
    Path("w.safetensors").touch()
    with_weights = notes("nets.py", weights="w.safetensors")
    assert with_weights == [f"{command} --weights w.safetensors" for command in commands]
    Path("empty.py").write_text("size = 3")
    with pytest.raises(
        UsageError, match=r"empty.py: not a network; name the function, class or module in it"
    ):
        check_source("empty.py", ExportOptions())


@pytest.mark.parametrize(
    ("config", "files", "command"),
    [
        ({"model_type": "vit"}, ["model.safetensors"], "cnntk export transformers:hub"),
        (
            {"architecture": "resnet18", "num_classes": 5},
            ["model.safetensors"],
            "cnntk export timm:resnet18 --kwargs num_classes=5 --weights hub/model.safetensors",
        ),
        ({}, ["a.bin", "pytorch_model.bin.index.json"], "--weights hub/pytorch_model.bin.index.json"),
    ],
)
def test_folders_of_others(config: dict[str, Any], files: list[str], command: str) -> None:
    Path("hub").mkdir()
    Path("hub/config.json").write_text(json.dumps(config))
    for name in files:
        Path("hub", name).touch()
    assert command in notes("hub")[0]


def test_a_folder_of_nothing() -> None:
    Path("hub").mkdir()
    for config in (b"\xff", b"[]", b"{}"):
        Path("hub/config.json").write_bytes(config)
        with pytest.raises(CnntkError, match=r"hub: not a checkpoint folder; expected spec.json"):
            check_source("hub", ExportOptions())


@pytest.mark.parametrize("text", ["1x28x28", "image=3x64x64,tabular=5", "ids=77:int64"])
def test_inputs_are_formatted_as_they_are_parsed(text: str) -> None:
    assert format_input(parse_input(text)) == text


@pytest.mark.parametrize(
    "command",
    [
        ["export", "nothing.py:X"],
        ["export", "nets.py"],
        ["export", "nets.py:Nett", "--input", "1x2x2"],
        ["export", "run-that-is-not/there"],
        ["verify", "--against", "nothing.py:X"],
        ["bench", "--against", "torch:nothing.py:X"],
    ],
)
def test_wrong_use_loads_nothing_heavy(command: list[str]) -> None:
    code = (
        "import sys; from cnntk.cli import main; status = main(sys.argv[1:]); "
        "heavy = {'torch', 'onnx', 'onnxruntime', 'numpy'} & sys.modules.keys(); "
        "print(status, *heavy)"
    )
    result = subprocess.run([sys.executable, "-c", code, *command], capture_output=True, text=True)
    assert result.stdout.split() == ["2"]
    assert "\ncnntk: " in f"\n{result.stderr}"
