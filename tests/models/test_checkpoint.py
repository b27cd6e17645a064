from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from cnntk.models.checkpoint import SPEC_FILE, WEIGHTS_FILE, load_checkpoint, save_checkpoint
from cnntk.models.lenet import lenet
from cnntk.models.transfer import NewHead
from cnntk.models.zoo import build
from cnntk.runtime.artifact.spec import ModelSpec, Network, TensorSpec
from cnntk.runtime.errors import CheckpointError, UnsupportedArtifact, UsageError

SPEC = ModelSpec(
    name="lenet",
    labels=tuple("0123456789"),
    inputs=(TensorSpec("input", "float32", ("N", 1, 28, 28)),),
    network=Network("lenet", {"num_classes": 10}),
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_checkpoint(tmp_path / "run", lenet(), SPEC)
    return tmp_path / "run"


@pytest.mark.parametrize("inside", ["", WEIGHTS_FILE])
def test_there_and_back(tmp_path: Path, inside: str) -> None:
    module, images = lenet(), torch.rand(2, 1, 28, 28)
    save_checkpoint(tmp_path / "run", module.train(), SPEC)
    assert module.training
    loaded = load_checkpoint(tmp_path / "run" / inside)
    assert loaded.spec == SPEC
    assert not loaded.module.training
    assert torch.equal(loaded.module(images), module(images))
    assert not torch.equal(build(Network("lenet"))(images), module(images))  # fresh weights answer otherwise


def test_a_network_with_a_new_head(tmp_path: Path) -> None:
    network = Network(
        "cnntk.models.transfer:zoo_with_new_head",
        {"body": "lenet", "body_kwargs": {}, "num_classes": 3, "frozen": True, "input_shape": [1, 28, 28]},
    )
    module, images = build(network), torch.rand(2, 1, 28, 28)
    save_checkpoint(tmp_path / "run", module, replace(SPEC, network=network, labels=("a", "b", "c")))
    loaded = load_checkpoint(tmp_path / "run").module
    assert isinstance(loaded, NewHead)
    assert not loaded.body[0].weight.requires_grad
    assert torch.equal(loaded(images), module.eval()(images))


def test_only_the_two_files_are_left(folder: Path) -> None:
    assert sorted(p.name for p in folder.iterdir()) == [WEIGHTS_FILE, SPEC_FILE]
    assert [p.name for p in folder.parent.iterdir()] == ["run"]


def test_saving_again_replaces_and_leaves_other_files(folder: Path) -> None:
    (folder / "notes.txt").write_text("keep")
    module = lenet(3)
    save_checkpoint(folder, module, replace(SPEC, network=Network("lenet", {"num_classes": 3})))
    assert load_checkpoint(folder).module[-1].out_features == 3
    assert sorted(p.name for p in folder.iterdir()) == [WEIGHTS_FILE, "notes.txt", SPEC_FILE]


class Unsavable(nn.Linear):
    def get_extra_state(self) -> str:
        return "no tensor"

    def set_extra_state(self, state: object) -> None: ...


def test_a_failure_leaves_nothing_of_a_new_one(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="expected a tensor"):
        save_checkpoint(tmp_path / "run", Unsavable(2, 2), SPEC)
    with pytest.raises(TypeError, match="JSON"):
        save_checkpoint(tmp_path / "run", lenet(), replace(SPEC, provenance={"when": object()}))
    assert list(tmp_path.iterdir()) == []


def test_a_failure_leaves_the_old_one_as_it_was(folder: Path) -> None:
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    with pytest.raises(CheckpointError, match="expected a tensor"):
        save_checkpoint(folder, Unsavable(2, 2), SPEC)
    with pytest.raises(TypeError, match="JSON"):
        save_checkpoint(folder, lenet(), replace(SPEC, provenance={"when": object()}))
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before


def test_where_no_checkpoint_can_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="is a file; pass a folder"):
        save_checkpoint(tmp_path / "file", lenet(), SPEC)
    with pytest.raises(UsageError, match="does not exist; create it first"):
        save_checkpoint(tmp_path / "no" / "run", lenet(), SPEC)


@pytest.mark.parametrize("name", [WEIGHTS_FILE, SPEC_FILE])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(UsageError, match=rf"{name}: no such file"):
        load_checkpoint(folder)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nowhere: no such file"):
        load_checkpoint(tmp_path / "nowhere")


def test_damaged_weights_are_refused(folder: Path) -> None:
    file = folder / WEIGHTS_FILE
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match=r"model.safetensors: not a valid safetensors file"):
        load_checkpoint(folder)


def test_weights_of_another_network_are_refused(folder: Path) -> None:
    spec = replace(SPEC, network=Network("lenet", {"num_classes": 4}))
    (folder / SPEC_FILE).write_text(spec.to_json())
    with pytest.raises(
        CheckpointError, match=r"'11.weight' is real \(10, 84\), the network has real \(4, 84\)"
    ):
        load_checkpoint(folder)


def test_a_spec_without_network_is_refused(folder: Path) -> None:
    (folder / SPEC_FILE).write_text(replace(SPEC, network=None).to_json())
    with pytest.raises(CheckpointError, match=r"spec.json: names no network; .* load_weights"):
        load_checkpoint(folder)


@pytest.mark.parametrize("text", [b"", b"{", b"\xff\xfe", b"[]", b'{"spec": 1}'], ids=repr)
def test_a_damaged_spec_is_refused(folder: Path, text: bytes) -> None:
    (folder / SPEC_FILE).write_bytes(text)
    with pytest.raises(CheckpointError, match=r"spec.json"):
        load_checkpoint(folder)


def test_a_later_spec_is_refused(folder: Path) -> None:
    data = json.loads((folder / SPEC_FILE).read_text())
    (folder / SPEC_FILE).write_text(json.dumps({**data, "spec": 2}))
    with pytest.raises(UnsupportedArtifact, match="spec version 2"):
        load_checkpoint(folder)


def test_a_network_that_is_not_here_is_named(folder: Path) -> None:
    (folder / SPEC_FILE).write_text(replace(SPEC, network=Network("lenot")).to_json())
    with pytest.raises(UsageError, match="unknown network 'lenot'; did you mean 'lenet'"):
        load_checkpoint(folder)


NETS = (
    "from torch import nn\ndef net(): return nn.Sequential(nn.Flatten(), nn.Linear(4, 4), nn.Linear(4, 3))\n"
)


@pytest.mark.parametrize("below_a_new_head", [False, True])
def test_a_factorys_file_may_move_along(tmp_path: Path, below_a_new_head: bool) -> None:
    (tmp_path / "old").mkdir()
    file = tmp_path / "old" / "nets.py"
    file.write_text(NETS)
    network = Network(f"{file}:net")
    if below_a_new_head:
        kwargs = {"body": network.factory, "num_classes": 3, "input_shape": [1, 2, 2]}
        network = Network("cnntk.models.transfer:zoo_with_new_head", kwargs)
    module, images = build(network), torch.rand(2, 1, 2, 2)
    save_checkpoint(tmp_path / "old" / "run", module, replace(SPEC, network=network))
    (tmp_path / "old").rename(tmp_path / "new")
    loaded = load_checkpoint(tmp_path / "new" / "run", trust=True)
    assert torch.equal(loaded.module(images), module(images))
    assert loaded.spec.network is not None
    assert build(loaded.spec.network)(images).shape == (2, 3)
    (tmp_path / "new" / "nets.py").unlink()
    beside = tmp_path / "new" / "nets.py"
    with pytest.raises(UsageError, match=rf"neither {file} nor {beside};"):
        load_checkpoint(tmp_path / "new" / "run")
