from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from torch import nn

from cnntk.models.initialize import init_cnn, init_normal, initialize
from cnntk.runtime.errors import UsageError


@pytest.fixture
def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(8, 16, 5), nn.BatchNorm2d(16), nn.Flatten(), nn.Linear(400, 300, bias=False)
    )


def test_xavier_fills_its_interval(network: nn.Sequential) -> None:
    network.apply(init_cnn)
    for layer, fan_sum in ((network[0], (8 + 16) * 25), (network[3], 700)):
        bound = math.sqrt(6 / fan_sum)
        assert bound * 0.98 < layer.weight.abs().max() <= bound
        assert layer.weight.var().item() == pytest.approx(bound**2 / 3, rel=0.1)
    assert not network[0].bias.any()
    assert (network[1].weight == 1).all()


def test_torchs_default_differs(network: nn.Sequential) -> None:
    assert network[0].weight.abs().max() < math.sqrt(6 / 600) * 0.98
    assert network[0].bias.any()


def test_normal_is_for_linear_alone(network: nn.Sequential) -> None:
    before = network[0].weight.clone()
    network.apply(init_normal)
    assert network[3].weight.std().item() == pytest.approx(0.01, rel=0.02)
    assert torch.equal(network[0].weight, before)
    network.apply(partial(init_normal, std=0.5))
    assert network[3].weight.std().item() == pytest.approx(0.5, rel=0.02)


def test_initialize_by_name(network: nn.Sequential) -> None:
    assert initialize(network, "normal") is network
    assert network[3].weight.std() < 0.02
    assert initialize(network, "xavier")[3].weight.std() > 0.04


def test_the_seed_decides() -> None:
    def draw(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return initialize(nn.Linear(4, 4), "xavier").weight

    assert torch.equal(draw(1), draw(1))
    assert not torch.equal(draw(1), draw(2))


def test_an_unknown_method_is_refused() -> None:
    with pytest.raises(UsageError, match="'kaiming'; choose one of xavier, normal"):
        initialize(nn.Linear(2, 2), "kaiming")
