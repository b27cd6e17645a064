from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from cnntk.models.vgg import vgg, vgg11, vgg13, vgg16, vgg19
from cnntk.runtime.errors import UsageError

META = torch.device("meta")
SMALL = ((1, 4), (2, 8))


def notes_vgg(arch: tuple[tuple[int, int], ...], num_classes: int) -> nn.Sequential:
    def block(num_convs: int, out_channels: int) -> nn.Sequential:
        layers: list[nn.Module] = []
        for _ in range(num_convs):
            layers.append(nn.LazyConv2d(out_channels, kernel_size=3, padding=1))
            layers.append(nn.ReLU())
        layers.append(nn.MaxPool2d(kernel_size=2, stride=2))
        return nn.Sequential(*layers)

    return nn.Sequential(
        *(block(*b) for b in arch),
        nn.Flatten(),
        nn.LazyLinear(4096),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.LazyLinear(4096),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.LazyLinear(num_classes),
    )


@pytest.mark.parametrize("size", [4, 30])
def test_it_is_the_notes_network(size: int) -> None:
    with META:
        notes = notes_vgg(SMALL, 7)
        notes(torch.empty(1, 2, size, size))
        assert repr(vgg(SMALL, 7, 2, size)) == repr(notes)


# Torchvision's published counts for 1000 classes at 224x224: the same layers.
COUNTS = [
    (vgg11, 8, 132_863_336),
    (vgg13, 10, 133_047_848),
    (vgg16, 13, 138_357_544),
    (vgg19, 16, 143_667_240),
]


@pytest.mark.parametrize(("make", "convolutions", "parameters"), COUNTS)
def test_the_usual_ones(make: Callable[..., nn.Sequential], convolutions: int, parameters: int) -> None:
    with META:
        network = make(1000)
        assert network(torch.empty(2, 3, 224, 224)).shape == (2, 1000)
    assert sum(isinstance(m, nn.Conv2d) for m in network.modules()) == convolutions
    assert sum(p.numel() for p in network.parameters()) == parameters


def test_arguments_reach_the_network() -> None:
    with META:
        network = vgg11(5, 1, 64, 0.2)
        assert network(torch.empty(1, 1, 64, 64)).shape == (1, 5)
    assert [m.p for m in network.modules() if isinstance(m, nn.Dropout)] == [0.2, 0.2]


def test_real_numbers_go_through() -> None:
    torch.manual_seed(0)
    network = vgg([[1, 4]], 3, image_size=8).eval()  # lists, as JSON brings them
    answer = network(torch.rand(2, 3, 8, 8))
    assert answer.isfinite().all()
    assert not torch.equal(answer[0], answer[1])


def test_what_does_not_work_is_refused() -> None:
    with META, pytest.raises(UsageError, match=r"31×31 .* smallest that works is 32×32"):
        vgg11(image_size=31)
    with META, pytest.raises(UsageError, match="arch is empty"):
        vgg(())
    with META, pytest.raises(UsageError, match="num_convs is 0"):
        vgg(((0, 8),))
