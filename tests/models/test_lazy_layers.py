import pytest
import torch
from torch import nn

from cnntk.models.lazy_layers import give_shapes
from cnntk.runtime.errors import UsageError


def lazy() -> nn.Sequential:
    return nn.Sequential(
        nn.LazyConv2d(4, 3), nn.LazyBatchNorm2d(), nn.Dropout(), nn.Flatten(), nn.LazyLinear(5)
    )


def test_lazy_layers_become_plain_ones_and_nothing_else_changes() -> None:
    module = lazy()
    module[2].eval()
    assert give_shapes(module, [torch.zeros(1, 3, 8, 8)])
    assert [type(layer) for layer in module] == [nn.Conv2d, nn.BatchNorm2d, nn.Dropout, nn.Flatten, nn.Linear]
    assert module[4].weight.shape == (5, 4 * 36)
    assert [layer.training for layer in module] == [True, True, False, True, True]
    assert torch.equal(module[1].running_mean, torch.zeros(4))
    assert int(module[1].num_batches_tracked) == 0


def test_a_network_without_lazy_layers_is_not_run() -> None:
    assert not give_shapes(nn.Linear(3, 4), [torch.zeros(1, 7)])


def test_an_input_that_does_not_fit() -> None:
    module = nn.Sequential(nn.Linear(3, 4), nn.LazyLinear(2))
    with pytest.raises(UsageError, match=r"Sequential: .* fails on an input of shape 7: .*; pass the shape"):
        give_shapes(module, [torch.zeros(1, 7)])
