"""Weights that are named as a source: what the user has to type."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from cnntk.exporters.options import ExportOptions
from cnntk.exporters.sources import open_source
from cnntk.models.lenet import lenet
from cnntk.models.nin import nin
from cnntk.runtime.errors import CheckpointError, UsageError


def commands(content: Any) -> list[str]:
    torch.save(content, "w.pth")
    with pytest.raises(UsageError, match=r"w.pth: weights without their network; ") as raised:
        open_source("w.pth", ExportOptions())
    return raised.value.__notes__


def test_the_network_is_named_where_the_zoo_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    state = lenet(num_classes=7, in_channels=3).state_dict()
    command = "  cnntk export lenet --kwargs num_classes=7 --input 3x28x28 --weights w.pth"
    assert commands(state) == [command]
    assert commands({"ema": {f"module.{k}": v for k, v in state.items()}, "epoch": 3}) == [command]
    assert commands({"model": state, "net": {k: v + 1 for k, v in state.items()}}) == [command]
    assert commands(nin(num_classes=5).state_dict()) == [
        "  cnntk export nin --kwargs num_classes=5 --weights w.pth"
    ]
    source = open_source("nin", ExportOptions(weights="w.pth", kwargs={"num_classes": 5}))
    assert source.provenance == {"weights": "w.pth"}


def test_networks_of_the_folder_are_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    state = nn.Linear(3, 4).state_dict()
    assert commands(state)[0] == "  cnntk export FILE.py:NAME --input CxHxW --weights w.pth"
    Path("nets.py").write_text("from torch import nn\nNet = nn.Linear(3, 4)\n")
    Path("broken.py").write_text("def (")
    assert commands(state) == ["  cnntk export nets.py:Net --input CxHxW --weights w.pth"]


def test_damaged_weights_are_named(tmp_path: Path) -> None:
    (tmp_path / "w.ckpt").write_bytes(b"hello")
    with pytest.raises(CheckpointError, match=r"w.ckpt: "):
        open_source(tmp_path / "w.ckpt", ExportOptions())
