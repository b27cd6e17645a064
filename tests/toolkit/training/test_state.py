"""The state of a training goes through its file unchanged."""

from pathlib import Path

import pytest
import torch
from torch import nn

from cnntk.runtime.errors import CheckpointError
from cnntk.training.report import EpochResult
from cnntk.training.state import TrainingState

HISTORY = (EpochResult(1, 0.1 + 0.2, 0.5, 1 / 3, 1.5),)
OPTIMIZERS = {
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.1),
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
    "sgd without momentum": lambda p: torch.optim.SGD(p, lr=0.1),
}


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))


def step(module: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    module(torch.arange(12.0).reshape(4, 3)).square().sum().backward()
    optimizer.step()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_there_and_back(name: str, tmp_path: Path) -> None:
    module, again = network(), network()
    optimizer, other = (OPTIMIZERS[name](m.parameters()) for m in (module, again))
    step(module, optimizer)
    TrainingState.of(module, optimizer, {"seed": 3}, HISTORY).save(tmp_path / "state")
    state = TrainingState.load(tmp_path / "state")
    assert (state.settings, state.history) == ({"seed": 3}, HISTORY)
    state.restore(again, other)
    for m, o in ((module, optimizer), (again, other)):
        step(m, o)
    assert all(
        torch.equal(a, b)
        for a, b in zip(module.state_dict().values(), again.state_dict().values(), strict=True)
    )


def test_before_the_first_epoch_there_are_no_tensors(tmp_path: Path) -> None:
    TrainingState({"seed": 3}).save(tmp_path / "state")
    state = TrainingState.load(tmp_path / "state")
    assert (state.settings, state.history, dict(state.tensors)) == ({"seed": 3}, (), {})


def test_tied_weights(tmp_path: Path) -> None:
    module = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    module[1].weight = module[0].weight
    optimizer = OPTIMIZERS["adamw"](module.parameters())
    step(module, optimizer)
    TrainingState.of(module, optimizer, {}, HISTORY).save(tmp_path / "state")
    assert torch.equal(TrainingState.load(tmp_path / "state").tensors["weights.1.weight"], module[0].weight)


@pytest.mark.parametrize("damage", ["empty", "short", "text", "no header"])
def test_damage_is_named(damage: str, tmp_path: Path) -> None:
    file = tmp_path / "training.safetensors"
    TrainingState({"seed": 3}, HISTORY, {"weights.a": torch.zeros(9)}).save(file)
    whole = file.read_bytes()
    file.write_bytes(
        {
            "empty": b"",
            "short": whole[:-5],
            "text": b"x" * 99,
            "no header": whole.replace(b'"cnntk"', b'"other"'),
        }[damage]
    )
    with pytest.raises(CheckpointError, match=r"training\.safetensors: is damaged .*--force"):
        TrainingState.load(file)


def test_another_network() -> None:
    module, other = network(), nn.Linear(3, 3)
    state = TrainingState.of(module, OPTIMIZERS["sgd"](module.parameters()), {}, HISTORY)
    with pytest.raises(CheckpointError, match="belongs to another network"):
        state.restore(other, OPTIMIZERS["sgd"](other.parameters()))
