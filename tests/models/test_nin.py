from __future__ import annotations

import pytest
import torch
from torch import nn

from cnntk.models.nin import nin
from cnntk.runtime.errors import UsageError

META = torch.device("meta")


def notes_nin(num_classes: int) -> nn.Sequential:
    def block(out_channels: int, kernel_size: int, strides: int, padding: int) -> nn.Sequential:
        return nn.Sequential(
            nn.LazyConv2d(out_channels, kernel_size, strides, padding),
            nn.ReLU(),
            nn.LazyConv2d(out_channels, kernel_size=1),
            nn.ReLU(),
            nn.LazyConv2d(out_channels, kernel_size=1),
            nn.ReLU(),
        )

    return nn.Sequential(
        block(96, kernel_size=11, strides=4, padding=0),
        nn.MaxPool2d(3, stride=2),
        block(256, kernel_size=5, strides=1, padding=2),
        nn.MaxPool2d(3, stride=2),
        block(384, kernel_size=3, strides=1, padding=1),
        nn.MaxPool2d(3, stride=2),
        nn.Dropout(0.5),
        block(num_classes, kernel_size=3, strides=1, padding=1),
        nn.AdaptiveAvgPool2d((1, 1)),
        nn.Flatten(),
    )


@pytest.mark.parametrize(("channels", "size"), [(3, 224), (1, 67)])
def test_it_is_the_notes_network(channels: int, size: int) -> None:
    with META:
        notes = notes_nin(7)
        answer = notes(torch.empty(2, channels, size, size))
        network = nin(7, channels, size)
        assert network(torch.empty(2, channels, size, size)).shape == answer.shape == (2, 7)
    assert repr(network) == repr(notes)


def test_real_numbers_go_through() -> None:
    torch.manual_seed(0)
    network = nin(3, image_size=67).eval()
    with torch.no_grad():
        answer = network(torch.rand(2, 3, 67, 67))
    assert answer.isfinite().all()
    assert answer.min() >= 0
    assert not torch.equal(answer[0], answer[1])


def test_what_does_not_work_is_refused() -> None:
    with META, pytest.raises(UsageError, match=r"nin: an image of 66×80 .* the smallest that works is 67×67"):
        nin(image_size=(66, 80))
    with META, pytest.raises(UsageError, match="nin: in_channels is 0"):
        nin(in_channels=0)
