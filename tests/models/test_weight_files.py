"""Weights in shards; the other kinds of files are in `test_weights`."""

from __future__ import annotations

import argparse
import collections
import json
import os
from collections.abc import Callable
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
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


PLAIN = {
    "Namespace": argparse.Namespace(lr=0.1, nested=argparse.Namespace(sizes=[1])),
    "numpy numbers": [np.float64(3.5), np.float32(1), np.int64(3), np.bool_(True), np.str_("a")],
    "numpy arrays": [np.arange(6.0).reshape(2, 3), np.array([None, "a"], object), np.dtype("float32")],
    "random state": np.random.RandomState(0).get_state(),
    "collections": [collections.defaultdict(list, a=[1]), collections.deque([1, 2], 3), frozenset({1})],
    "paths": [Path("a/b"), PurePosixPath("/x"), PureWindowsPath("C:/x")],
}


@pytest.mark.parametrize("name", PLAIN)
def test_plain_data_beside_the_weights(tmp_path: Path, name: str) -> None:
    """Nothing of it is read but what containers hold, and torch's list of allowed names is as before."""
    weights, before = torch.nn.Linear(2, 2).state_dict(), set(torch.serialization.get_safe_globals())
    torch.save({"hyper_parameters": PLAIN[name], "state_dict": weights, "epoch": 3}, tmp_path / "w.ckpt")
    content = read_weights_file(tmp_path / "w.ckpt")
    assert content["epoch"] == 3
    assert all(torch.equal(content["state_dict"][key], value) for key, value in weights.items())
    assert set(torch.serialization.get_safe_globals()) == before
    if name == "collections":
        assert content["hyper_parameters"] == [{"a": [1]}, [1, 2], frozenset({1})]


class Command:
    """A pickle that runs a command when it is read."""

    def __init__(self, function: Callable[..., Any], *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call


@pytest.mark.parametrize("function", [os.system, os.mkdir, eval, exec, getattr], ids=lambda f: f.__name__)
def test_code_is_refused_and_does_not_run(tmp_path: Path, function: Callable[..., Any]) -> None:
    ran = tmp_path / "ran"
    text = str(ran) if function is os.mkdir else f"mkdir {ran}"
    if function in (eval, exec):
        text = f"__import__('os').mkdir({str(ran)!r})"
    for beside in (Command(function, text), argparse.Namespace(inner=Command(function, text))):
        torch.save({"args": beside, "w": torch.zeros(2)}, tmp_path / "w.pt")
        with pytest.raises(
            CheckpointError, match=rf"{function.__name__}.*; save module.state_dict\(\) instead"
        ):
            read_weights_file(tmp_path / "w.pt")
        assert not ran.exists()
    if function in (os.mkdir, eval):  # the same bytes run for a reader that allows code
        torch.load(tmp_path / "w.pt", weights_only=False)
        assert ran.exists()


def test_a_key_follows_the_file(tmp_path: Path) -> None:
    assert split_reference("a/b.pt#ema") == (Path("a/b.pt"), "ema")
    assert split_reference("a/b.pt") == (Path("a/b.pt"), "")
    (tmp_path / "run#3.pt").touch()
    assert split_reference(tmp_path / "run#3.pt") == (tmp_path / "run#3.pt", "")
    assert is_weights_file("w.ckpt")
    assert is_weights_file("model.safetensors.index.json")
    assert not is_weights_file("lenet.onnx")
