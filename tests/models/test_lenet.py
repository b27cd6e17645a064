from __future__ import annotations

import pytest
import torch
from torch import nn

from cnntk.models.lenet import lenet
from cnntk.runtime.errors import UsageError

NOTES = nn.Sequential(
    nn.Conv2d(1, 6, kernel_size=5, padding=2),
    nn.Sigmoid(),
    nn.AvgPool2d(kernel_size=2, stride=2),
    nn.Conv2d(6, 16, kernel_size=5),
    nn.Sigmoid(),
    nn.AvgPool2d(kernel_size=2, stride=2),
    nn.Flatten(),
    nn.Linear(16 * 5 * 5, 120),
    nn.Sigmoid(),
    nn.Linear(120, 84),
    nn.Sigmoid(),
    nn.Linear(84, 10),
)


def test_it_is_the_notes_network() -> None:
    network = lenet()
    assert repr(network) == repr(NOTES)
    NOTES.load_state_dict(network.state_dict())
    images = torch.rand(2, 1, 28, 28)
    assert torch.equal(network(images), NOTES(images))


def test_its_weights_are_xavier() -> None:
    torch.manual_seed(0)
    linear = lenet()[9]
    assert linear.weight.abs().max().item() == pytest.approx((6 / (120 + 84)) ** 0.5, rel=0.01)
    assert not linear.bias.any()


@pytest.mark.parametrize("size", [12, 33, (12, 40), [64, 17]], ids=str)
@pytest.mark.parametrize(("classes", "channels"), [(1, 3), (100, 2)])
def test_any_size_channels_and_classes(size: int | tuple[int, int], classes: int, channels: int) -> None:
    height, width = (size, size) if isinstance(size, int) else size
    answer = lenet(classes, channels, size)(torch.zeros(3, channels, height, width))
    assert answer.shape == (3, classes)


def test_what_is_too_small_is_refused() -> None:
    with pytest.raises(UsageError, match=r"lenet: an image of 11×11 .* the smallest that works is 12×12"):
        lenet(image_size=11)
    with pytest.raises(UsageError, match="num_classes is 0"):
        lenet(num_classes=0)
    with pytest.raises(UsageError, match="in_channels is -1"):
        lenet(in_channels=-1)
