"""A network that was trained on scikit-learn's digits in a second, large enough that integers are faster."""

from __future__ import annotations

import copy
import functools
import tempfile
from pathlib import Path

import torch
from torch import nn

from cnntk.data import ArrayImages, open_data
from cnntk.exporters import export

SIDE = 16


def network() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(32 * (SIDE // 4) ** 2, 64),
        nn.ReLU(),
        nn.Linear(64, 10),
    )


@functools.cache
def trained() -> nn.Module:
    train = open_data("digits").train
    images = train.images
    assert isinstance(images, ArrayImages)
    x = torch.from_numpy(images.pixels).permute(0, 3, 1, 2).float() / 255
    x, y = nn.functional.interpolate(x, (SIDE, SIDE), mode="bilinear"), torch.from_numpy(train.labels)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = network()
        optimizer = torch.optim.AdamW(net.parameters(), 3e-3)
        for _ in range(4):
            for rows in torch.randperm(len(y)).split(64):
                optimizer.zero_grad()
                nn.functional.cross_entropy(net(x[rows]), y[rows]).backward()
                optimizer.step()
    return net.eval()


def lopsided() -> nn.Module:
    """The same function, with one channel that is so large that the steps of 8 bits swallow the others."""
    net = copy.deepcopy(trained())
    first, second = net[2], net[5]
    assert isinstance(first, nn.Conv2d)
    assert isinstance(second, nn.Conv2d)
    with torch.no_grad():
        assert first.bias is not None
        first.weight[3] *= 3000
        first.bias[3] *= 3000
        second.weight[:, 3] /= 3000
    return net


@functools.cache
def artifact(which: str = "trained") -> bytes:
    """The trained network as an artifact that takes images, called ``digits``; or the ``lopsided`` one."""
    net = trained() if which == "trained" else lopsided()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "digits.onnx"
        labels = [str(n) for n in range(10)]
        export(net, file, input_shape=(1, SIDE, SIDE), preprocessing={"scale": "1/255"}, labels=labels)
        return file.read_bytes()
