"""Receptive fields against the pixels that a gradient finds."""

import pytest
import torch
from torch import nn

from cnntk.exporters.capture import capture
from cnntk.exporters.shapes._receptive import receptive_fields
from cnntk.exporters.shapes.shape_table import layer_table, value_shapes
from cnntk.exporters.source import Source
from cnntk.runtime.artifact.spec import Layer, TensorSpec


def rows(module: nn.Module, *shape: int) -> tuple[Layer, ...]:
    spec = TensorSpec("input", "float32", ("N", *shape))
    return layer_table(capture(Source("net", (spec,), module=module.eval())).model)


def seen_pixels(module: nn.Module, size: int) -> int:
    """The rows of an image that one output in the middle depends on."""
    image = torch.randn(1, 1, size, size, requires_grad=True)
    answer = module(image)
    middle = answer.shape[2] // 2
    answer[0, :, middle, middle].sum().backward()
    reached = image.grad[0, 0].abs().sum(1).nonzero()
    return int(reached.max() - reached.min()) + 1


class Branches(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.wide = nn.Conv2d(1, 2, 7, padding=3)
        self.narrow = nn.Conv2d(1, 2, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.narrow(x) + self.wide(x)


class Attention(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = x.flatten(2).transpose(1, 2)
        return (tokens @ tokens.transpose(1, 2)).softmax(-1) @ tokens


@pytest.mark.parametrize(
    "module",
    [
        nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.Conv2d(2, 2, 3, 2), nn.Conv2d(2, 2, 3, dilation=2)),
        nn.Sequential(nn.Conv2d(1, 2, 5), nn.AvgPool2d(2), nn.Conv2d(2, 2, 5), nn.AvgPool2d(2)),
        nn.Sequential(nn.AvgPool2d(4), nn.ConvTranspose2d(1, 2, 6, stride=2), nn.Conv2d(2, 2, 2)),
        Branches(),
    ],
    ids=["strides", "lenet", "up", "branches"],
)  # fmt: skip
def test_the_gradient_agrees(module: nn.Module) -> None:
    field = rows(module, 1, 48, 48)[-1].receptive_field
    coarse_step = 4 if any(isinstance(m, nn.ConvTranspose2d) for m in module.modules()) else 0
    assert abs(field - seen_pixels(module, 48)) <= coarse_step


def test_a_dense_layer_and_pooling_see_the_whole_map() -> None:
    dense = rows(nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(72, 4), nn.Linear(4, 4)), 1, 8, 8)
    assert [r.receptive_field for r in dense] == [3, 3, 8, 8]
    pooled = rows(nn.Sequential(nn.Conv2d(1, 2, 3), nn.AdaptiveAvgPool2d(1)), 1, 8, 8)
    assert pooled[-1].receptive_field == 8


def test_attention_sees_everything_and_tokens_before_it_do_not() -> None:
    result = rows(nn.Sequential(nn.Conv2d(3, 4, 4, stride=4), Attention()), 3, 16, 16)
    assert [r.receptive_field for r in result if r.op == "Transpose"] == [4, 4]
    assert {r.receptive_field for r in result[-3:]} == {16}


def test_vectors_have_none() -> None:
    assert [r.receptive_field for r in rows(nn.Sequential(nn.Linear(4, 4)), 4)] == [None]


def test_jump_and_image() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.MaxPool2d(2))
    spec = TensorSpec("input", "float32", ("N", 3, 32, 16))
    model = capture(Source("net", (spec,), module=module.eval())).model
    fields = receptive_fields(model, value_shapes(model))
    assert fields[model.graph.outputs[0]].step == 4
    assert fields[model.graph.outputs[0]].image == (32, 16)
