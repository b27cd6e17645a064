from __future__ import annotations

import random
import types
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from cnntk.models.lenet import lenet
from cnntk.models.weights import load_weights, write_weights
from cnntk.runtime.errors import CheckpointError, UsageError


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encode = nn.Linear(4, 4, bias=False)
        self.decode = nn.Linear(4, 4, bias=False)
        self.decode.weight = self.encode.weight
        self.register_buffer("slice", torch.arange(10.0)[2:7])  # a part of a larger storage
        self.norm = nn.BatchNorm2d(2)


def assert_same(left: nn.Module, right: nn.Module) -> None:
    torch.testing.assert_close(left.state_dict(), right.state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize("make", [lenet, Tied])
def test_safetensors_there_and_back(tmp_path: Path, make: Any) -> None:
    module, other, file = make(), make(), tmp_path / "w.safetensors"
    write_weights(module, file)
    load_weights(other, file)
    assert_same(module, other)


def test_tied_weights_are_written_once_and_stay_tied(tmp_path: Path) -> None:
    module, file = Tied(), tmp_path / "w.safetensors"
    write_weights(module, file)
    assert "decode.weight" not in load_file(file)
    other = Tied()
    load_weights(other, file)
    assert other.decode.weight is other.encode.weight
    state = load_file(file)
    state["decode.weight"] = state.pop("encode.weight")  # another writer may keep the other name
    save_file(state, file)
    load_weights(other, file)
    assert_same(module, other)


@pytest.mark.parametrize("view", [lambda t: t, lambda t: t.T], ids=["same", "transposed"])
def test_weights_that_share_memory_without_being_one_parameter(tmp_path: Path, view: Any) -> None:
    module, file = Tied(), tmp_path / "w.safetensors"
    module.decode.weight = nn.Parameter(view(module.encode.weight.data))
    write_weights(module, file)
    other = Tied()
    other.decode.weight = nn.Parameter(torch.zeros(4, 4))
    load_weights(other, file)
    assert torch.equal(other.decode.weight, view(module.encode.weight))
    assert torch.equal(other.encode.weight, module.encode.weight)


def test_others_may_read_the_file(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    write_weights(lenet(), tmp_path / "w.safetensors")
    assert (tmp_path / "w.safetensors").stat().st_mode == (tmp_path / "plain").stat().st_mode


class Noted(nn.Linear):
    def get_extra_state(self) -> dict[str, str]:
        return {"note": "text"}

    def set_extra_state(self, state: object) -> None: ...


@pytest.mark.parametrize("module", [Noted(2, 2), nn.LazyLinear(2)], ids=["extra state", "lazy"])
def test_what_is_no_tensor_can_not_be_written(tmp_path: Path, module: nn.Module) -> None:
    with pytest.raises(CheckpointError, match=f"of {type(module).__name__} is .* expected a tensor"):
        write_weights(module, tmp_path / "w.safetensors")


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".ckpt", ".bin"])
@pytest.mark.parametrize("wrapper", [None, "state_dict", "model"])
def test_torch_files(tmp_path: Path, suffix: str, wrapper: str | None) -> None:
    module, other, file = lenet(), lenet(), tmp_path / f"w{suffix}"
    state: Any = module.state_dict()
    torch.save({wrapper: state, "epoch": 3} if wrapper else state, file)
    load_weights(other, file)
    assert_same(module, other)


def test_half_precision_is_widened(tmp_path: Path) -> None:
    module, other, file = lenet(), lenet(), tmp_path / "w.pt"
    torch.save({k: v.half() for k, v in module.state_dict().items()}, file)
    load_weights(other, file)
    assert_same(module.half().float(), other)


def changed(change: str) -> dict[str, Any]:
    state: dict[str, Any] = dict(lenet().state_dict())
    match change:
        case "missing":
            del state["3.bias"]
        case "unexpected":
            state["12.weight"] = torch.zeros(1)
        case "shape":
            state["11.bias"] = torch.zeros(9)
        case "integers":
            state["11.bias"] = torch.zeros(10, dtype=torch.int64)
    return state


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("missing", "belongs to another network: tensor '3.bias' is missing"),
        ("unexpected", "tensor '12.weight' is unexpected"),
        ("shape", r"tensor '11.bias' is real \(9,\), the network has real \(10,\)"),
        ("integers", r"tensor '11.bias' is int64 \(10,\), the network has real \(10,\)"),
    ],
)
def test_what_does_not_fit_is_named_and_nothing_is_loaded(
    tmp_path: Path, suffix: str, change: str, message: str
) -> None:
    file, module, before = tmp_path / f"w{suffix}", lenet(), lenet()
    before.load_state_dict(module.state_dict())
    save = save_file if suffix == ".safetensors" else torch.save
    save(changed(change), file)
    with pytest.raises(CheckpointError, match=rf"w\{suffix}: .*{message}"):
        load_weights(module, file)
    assert_same(module, before)
    save(changed("nothing"), file)
    load_weights(module, file)


def test_another_network_is_refused_in_one_line(tmp_path: Path) -> None:
    write_weights(nn.Sequential(nn.Conv2d(1, 6, 5)), tmp_path / "w.safetensors")
    with pytest.raises(CheckpointError, match=r"'3.weight' \(and 7 more\) is missing") as raised:
        load_weights(lenet(), tmp_path / "w.safetensors")
    assert "\n" not in str(raised.value)


def test_a_file_that_needs_code_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "w.pt"
    for content in (lenet(), {"state_dict": lenet().state_dict(), "args": types.SimpleNamespace(lr=1)}):
        torch.save(content, file)
        with pytest.raises(
            CheckpointError, match=r"w.pt: needs \S+ to be read, which could run code"
        ) as raised:
            load_weights(lenet(), file)
        assert "\n" not in str(raised.value)


@pytest.mark.parametrize("content", [torch.zeros(3), [1, 2], 5], ids=["tensor", "list", "number"])
def test_a_file_without_a_state_dict_is_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(CheckpointError, match=rf"contains {type(content).__name__}, expected a state dict"):
        load_weights(lenet(), tmp_path / "w.pt")


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
@pytest.mark.parametrize("content", [b"", b"hello world", bytes(1000)], ids=["empty", "text", "zeros"])
def test_what_is_no_such_file_is_refused(tmp_path: Path, suffix: str, content: bytes) -> None:
    file = tmp_path / f"w{suffix}"
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"w\{suffix}: not a valid "):
        load_weights(lenet(), file)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_a_damaged_file_is_loaded_or_refused_but_nothing_else(tmp_path: Path, suffix: str) -> None:
    file, chance, module = tmp_path / f"w{suffix}", random.Random(0), nn.Linear(3, 2)
    (save_file if suffix == ".safetensors" else torch.save)(module.state_dict(), file)
    whole, refusals = file.read_bytes(), []
    for _ in range(150):
        damaged = bytearray(whole[: chance.choice([len(whole), chance.randrange(len(whole))])])
        for _ in range(chance.randrange(4)):
            damaged[chance.randrange(len(damaged) or 1) : 1] = bytes([chance.randrange(256)])
        file.write_bytes(damaged)
        try:
            load_weights(module, file)
        except CheckpointError as error:
            refusals.append(str(error))
    assert len(refusals) > 60
    assert not [refusal for refusal in refusals if "\n" in refusal]


def test_what_is_no_weights_file_at_all_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        load_weights(lenet(), tmp_path / "w.pt")
    (tmp_path / "w.npz").touch()
    with pytest.raises(
        UsageError,
        match=r"suffix '.npz'; expected weights as .safetensors, .pt, .pth, .ckpt, .bin or index.json",
    ):
        load_weights(lenet(), tmp_path / "w.npz")


class Versioned(nn.Linear):
    """Refuses a state dict without a version, as torchvision's MNASNet does."""

    _version = 2

    def _load_from_state_dict(self, state: Any, prefix: str, local_metadata: Any, *args: Any) -> None:
        self.loaded = local_metadata["version"]
        super()._load_from_state_dict(state, prefix, local_metadata, *args)


@pytest.mark.parametrize(("suffix", "version"), [(".pth", 1), (".safetensors", 2)])
def test_versions_of_modules_are_passed_on(tmp_path: Path, suffix: str, version: int) -> None:
    module, path = Versioned(2, 3), tmp_path / f"w{suffix}"
    state = module.state_dict()
    state._metadata[""]["version"] = 1
    torch.save(state, path) if suffix == ".pth" else save_file(state, path)
    load_weights(module, path)
    assert module.loaded == version
