from __future__ import annotations

import pytest
import torch
from torch import nn

from cnntk.models.alexnet import alexnet
from cnntk.runtime.errors import UsageError

META = torch.device("meta")


def notes_alexnet(num_classes: int) -> nn.Sequential:
    return nn.Sequential(
        nn.LazyConv2d(96, kernel_size=11, stride=4, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(kernel_size=3, stride=2),
        nn.LazyConv2d(256, kernel_size=5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(kernel_size=3, stride=2),
        nn.LazyConv2d(384, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.LazyConv2d(384, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.LazyConv2d(256, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(kernel_size=3, stride=2),
        nn.Flatten(),
        nn.LazyLinear(4096),
        nn.ReLU(),
        nn.Dropout(p=0.5),
        nn.LazyLinear(4096),
        nn.ReLU(),
        nn.Dropout(p=0.5),
        nn.LazyLinear(num_classes),
    )


@pytest.mark.parametrize(("channels", "size"), [(3, 224), (1, 65), (4, 100)])
def test_it_is_the_notes_network(channels: int, size: int) -> None:
    with META:
        notes = notes_alexnet(7)
        answer = notes(torch.empty(2, channels, size, size))
        network = alexnet(7, channels, size)
        assert network(torch.empty(2, channels, size, size)).shape == answer.shape == (2, 7)
    assert repr(network) == repr(notes)


def test_real_numbers_go_through() -> None:
    torch.manual_seed(0)
    network = alexnet(3, image_size=65).eval()
    with torch.no_grad():
        answer = network(torch.rand(2, 3, 65, 65))
    assert answer.isfinite().all()
    assert not torch.equal(answer[0], answer[1])


def test_dropout() -> None:
    with META:
        assert [m.p for m in alexnet(dropout=0.1).modules() if isinstance(m, nn.Dropout)] == [0.1, 0.1]


def test_what_is_too_small_is_refused() -> None:
    with (
        META,
        pytest.raises(UsageError, match=r"alexnet: an image of 64×64 .* the smallest that works is 65×65"),
    ):
        alexnet(image_size=64)
    with META, pytest.raises(UsageError, match="alexnet: num_classes is 0"):
        alexnet(num_classes=0)
