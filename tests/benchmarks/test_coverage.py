"""Rows and weights of the benchmark that exports many networks."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import nn

from cnntk.exporters.capture import example_inputs
from cnntk.runtime.artifact.spec import TensorSpec


class Net(nn.Module):
    """A residual branch that is 0 before training, a layer scale, a zero head and batch norms."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.branch = nn.Conv2d(8, 8, 1)
        self.branch_norm = nn.BatchNorm2d(8)
        nn.init.zeros_(self.branch_norm.weight)
        self.gamma = nn.Parameter(torch.full((8, 1, 1), 1e-6))
        self.temperature = nn.Parameter(torch.ones(1))
        self.head = nn.Linear(8, 5)
        nn.init.zeros_(self.head.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.norm(self.stem(x)))
        x = x + self.gamma * self.branch_norm(self.branch(x)) * self.temperature
        return self.head(x.mean((2, 3)))


IMAGES = TensorSpec("input", "float32", ("N", 3, 24, 20))


def test_no_branch_is_zero_and_norms_have_statistics_of_photos(trained_like: ModuleType) -> None:
    net = Net().eval()
    stem = net.stem.weight.detach().clone()
    images = trained_like.photo_batch(IMAGES, 4, 0)
    trained_like.make_trained_like(net, images, 7)
    assert not any(module.training for module in net.modules())
    assert torch.equal(net.stem.weight, stem)  # random already
    assert net.temperature.item() == 1
    for name in ("branch_norm.weight", "gamma", "norm.weight"):
        values = net.get_parameter(name)
        assert 0.05 < values.abs().min() < values.abs().max() < 1.5, name
        assert values.std() > 0, name
    assert net.head.weight.std() > 0
    assert net.norm.bias.std() > 0
    activations = net.stem(trained_like.augmented(images, 7))
    torch.testing.assert_close(net.norm.running_mean, activations.mean((0, 2, 3)))
    torch.testing.assert_close(net.norm.running_var, activations.var((0, 2, 3)))
    assert net.norm.momentum == 0.1


def test_the_seed_decides(trained_like: ModuleType) -> None:
    states = []
    for seed in (1, 1, 2):
        net = Net().eval()
        trained_like.make_trained_like(net, torch.ones(2, 3, 24, 20), seed)
        states.append(net.gamma.detach())
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])


def test_photos_fit_the_input(trained_like: ModuleType) -> None:
    for spec in (IMAGES, TensorSpec("input", "float32", ("N", 1, 9, 9)), TensorSpec("x", "int64", ("N", 7))):
        batch, example = trained_like.photo_batch(spec, 2, 0), example_inputs((spec,))[0]
        assert (batch.shape, batch.dtype) == (example.shape, example.dtype)
        assert not torch.equal(batch[0], batch[1])


@pytest.mark.parametrize("way", ["cnntk", "torch"])
def test_both_ways_export_the_same_weights(coverage: ModuleType, way: str, tmp_path: Path) -> None:
    error = coverage.WAYS[way]("lenet", 0, tmp_path)
    assert 0 < error < (1 if way == "cnntk" else 1e-5)
    assert (tmp_path / "weights.safetensors").is_file()


def test_the_summary_counts_networks_that_are_right_with_all_seeds(coverage: ModuleType) -> None:
    rows = [
        {"network": network, "way": way, "seed": seed, "result": result}
        for network, way, seed, result in (
            ("a", "torch", 0, "ok"), ("a", "cnntk", 0, "ok"), ("a", "cnntk", 1, "refused"),
            ("b", "torch", 0, "ok"), ("b", "cnntk", 0, "ok"),
            ("c", "torch", 0, "wrong"), ("c", "cnntk", 0, "ok"),
        )
    ]  # fmt: skip
    assert coverage._summary(rows) == (
        "3 networks; torch gets 2 right; cnntk gets 2 right; of torch's cnntk gets 1 right"
    )


def test_a_wrong_file_of_torch_is_not_right(
    coverage: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative control: the file is exported from a last layer that is 5 % larger."""
    original = torch.onnx.export

    def with_another_bias(module: nn.Module, *args: object, **kwargs: object) -> object:
        weights = next(p for n, p in reversed(list(module.named_parameters())) if n.endswith("weight"))
        with torch.no_grad():
            weights.mul_(1.05)
            result = original(module, *args, **kwargs)
            weights.div_(1.05)
        return result

    monkeypatch.setattr(torch.onnx, "export", with_another_bias)
    assert coverage._torch("lenet", 0, tmp_path) > coverage.RIGHT
