"""Weights in shards; the other kinds of files are in `test_weights`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from cnntk.models.weight_files import read_weights_file
from cnntk.models.weights_reference import is_weights_file, split_reference
from cnntk.runtime.errors import CheckpointError, UsageError


def sharded(folder: Path, suffix: str = ".safetensors") -> tuple[Path, dict[str, str]]:
    save: Any = save_file if suffix == ".safetensors" else torch.save
    shards = {"a": f"model-1-of-2{suffix}", "b": f"model-2-of-2{suffix}"}
    for number, (name, shard) in enumerate(shards.items()):
        save({name: torch.full((2,), float(number))}, folder / shard)
    index = folder / f"model{suffix}.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 16}, "weight_map": shards}))
    return index, shards


@pytest.mark.parametrize("suffix", [".safetensors", ".bin"])
def test_shards_are_joined(tmp_path: Path, suffix: str) -> None:
    state = read_weights_file(sharded(tmp_path, suffix)[0])
    assert {name: value.tolist() for name, value in state.items()} == {"a": [0, 0], "b": [1, 1]}


@pytest.mark.parametrize(
    ("weight_map", "message"),
    [
        ({"a": "../model-1-of-2.safetensors"}, "names the shard '../model-1-of-2.safetensors'; expected"),
        ({"a": "/etc/passwd"}, "names the shard '/etc/passwd'; expected a weights file of its folder"),
        ({"a": "model.safetensors.index.json"}, "names the shard"),
        ({"a": 5}, "names the shard 5"),
        ({"c": "model-1-of-2.safetensors"}, "tensor 'c' is not in its shard 'model-1-of-2.safetensors'"),
        ([], "not a valid index of shards"),
        (None, "not a valid index of shards"),
    ],
)
def test_an_index_that_names_something_else(tmp_path: Path, weight_map: Any, message: str) -> None:
    index, _ = sharded(tmp_path)
    index.write_text(json.dumps({"weight_map": weight_map}))
    with pytest.raises(CheckpointError, match=message):
        read_weights_file(index)


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    index, shards = sharded(tmp_path)
    (tmp_path / shards["b"]).unlink()
    with pytest.raises(UsageError, match=r"model-2-of-2.safetensors: no such file"):
        read_weights_file(index)
    index.write_bytes(b"\xff{")
    with pytest.raises(CheckpointError, match="not a valid index of shards"):
        read_weights_file(index)


@pytest.mark.filterwarnings("ignore:.*:DeprecationWarning")
def test_torchscript_is_refused_by_name(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), tmp_path / "w.pt")
    with pytest.raises(CheckpointError, match=r"w.pt: a TorchScript archive, which contains code; save"):
        read_weights_file(tmp_path / "w.pt")
    torch.save(torch.nn.Linear(2, 2).state_dict(), tmp_path / "w.pt")
    assert read_weights_file(tmp_path / "w.pt").keys() == {"weight", "bias"}


def test_a_key_follows_the_file(tmp_path: Path) -> None:
    assert split_reference("a/b.pt#ema") == (Path("a/b.pt"), "ema")
    assert split_reference("a/b.pt") == (Path("a/b.pt"), "")
    (tmp_path / "run#3.pt").touch()
    assert split_reference(tmp_path / "run#3.pt") == (tmp_path / "run#3.pt", "")
    assert is_weights_file("w.ckpt")
    assert is_weights_file("model.safetensors.index.json")
    assert not is_weights_file("lenet.onnx")
