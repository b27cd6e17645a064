"""Which calls of a network's code load weights, and what its seeds become meanwhile."""

from __future__ import annotations

from pathlib import Path

import safetensors.torch
import torch
from torch import nn

from cnntk.exporters.sources._loading import LoadingCalls, observe_loading


def test_calls_are_recorded_and_functions_restored(tmp_path: Path) -> None:
    functions = torch.load, torch.manual_seed, nn.Module.load_state_dict, safetensors.torch.load_file
    calls, module = LoadingCalls(), nn.Linear(2, 2)
    torch.save(module.state_dict(), tmp_path / "w.pt")
    with observe_loading(calls, 0):
        nn.Linear(2, 2)
    assert calls.text == ""
    with observe_loading(calls, 0):
        module.load_state_dict(torch.load(tmp_path / "w.pt", weights_only=True))
    assert calls.text == "load, load_state_dict"
    after = torch.load, torch.manual_seed, nn.Module.load_state_dict, safetensors.torch.load_file
    assert functions == after


def test_a_fixed_seed_gives_other_numbers_in_each_build() -> None:
    def drawn(seed: int) -> list[float]:
        with torch.random.fork_rng(devices=[]), observe_loading(LoadingCalls(), seed):
            torch.manual_seed(5)
            return torch.rand(3).tolist()

    assert drawn(0) == drawn(0)
    assert drawn(0) != drawn(1)
