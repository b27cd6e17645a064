from __future__ import annotations

import pytest
import torch
from torch import nn

from cnntk.models._blocks import dense_head, nin_block, vgg_block


def convolutions(block: nn.Sequential) -> list[tuple[int, int, tuple[int, ...]]]:
    return [(m.in_channels, m.out_channels, m.kernel_size) for m in block if isinstance(m, nn.Conv2d)]


@pytest.mark.parametrize("num_convs", [1, 2, 4])
def test_vgg_block(num_convs: int) -> None:
    block = vgg_block(3, 8, num_convs)
    assert convolutions(block) == [(3, 8, (3, 3)), *[(8, 8, (3, 3))] * (num_convs - 1)]
    assert [type(m) for m in block] == [nn.Conv2d, nn.ReLU] * num_convs + [nn.MaxPool2d]
    assert block(torch.zeros(2, 3, 10, 13)).shape == (2, 8, 5, 6)


def test_nin_block() -> None:
    block = nin_block(3, 8, kernel_size=5, stride=2, padding=1)
    assert convolutions(block) == [(3, 8, (5, 5)), (8, 8, (1, 1)), (8, 8, (1, 1))]
    assert [type(m) for m in block] == [nn.Conv2d, nn.ReLU] * 3
    assert block(torch.zeros(2, 3, 11, 11)).shape == (2, 8, 5, 5)
    assert nin_block(3, 8, (5, 3), (2, 1), (1, 0))(torch.zeros(1, 3, 11, 11)).shape == (1, 8, 5, 9)


def test_dense_head() -> None:
    head = dense_head(12, 5, dropout=0.25, width=7)
    hidden = [nn.Linear, nn.ReLU, nn.Dropout]
    assert [type(m) for m in head] == [nn.Flatten, *hidden, *hidden, nn.Linear]
    assert [(m.in_features, m.out_features) for m in head if isinstance(m, nn.Linear)] == [
        (12, 7),
        (7, 7),
        (7, 5),
    ]
    assert {m.p for m in head if isinstance(m, nn.Dropout)} == {0.25}
    assert head(torch.zeros(2, 3, 2, 2)).shape == (2, 5)
