"""Each check with a network that it is about, and one that it must leave alone."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
import torch
from torch import nn

from cnntk.exporters.capture import capture
from cnntk.exporters.graph_lint import _rules as rules
from cnntk.exporters.graph_lint._rules import RULES, LintedGraph, analyze
from cnntk.exporters.source import Source
from cnntk.runtime.artifact.spec import TensorSpec

Check = Callable[[LintedGraph], Iterator[str]]


def seen(module: nn.Module, *shape: int) -> LintedGraph:
    spec = TensorSpec("input", "float32", ("N", *shape))
    return analyze(capture(Source("net", (spec,), module=module.eval())).model)


def warnings(check: Check, *layers: nn.Module, size: int = 16, channels: int = 3) -> list[str]:
    """Runs a rule on layers in a row, each named by its index."""
    return list(check(analyze(graph(layers, (channels, size, size)))))


def graph(layers: Sequence[nn.Module], shape: tuple[int, ...]) -> ir.Model:
    """The graph by hand: torch's own export takes a second."""
    value = ir.val("input", ir.DataType.FLOAT, ["N", *shape])
    inputs, nodes, weights = [value], [], []
    for i, layer in enumerate(layers):
        layer_weights = [
            ir.val(f"{i}.{n}", const_value=ir.tensor(p.detach().numpy())) for n, p in learned(layer)
        ]
        op, attributes = OPS[type(layer)](layer)
        nodes.append(ir.node(op, [value, *layer_weights], attributes, name=str(i)))
        value = nodes[-1].outputs[0]
        value.name = f"out{i}"
        weights += layer_weights
    built = ir.Graph(inputs, [value], nodes=nodes, initializers=weights, opset_imports={"": 18})
    return ir.Model(built, ir_version=10)


def learned(layer: nn.Module) -> list[tuple[str, torch.Tensor]]:
    names = ("weight", "bias", "running_mean", "running_var")
    return [(name, getattr(layer, name)) for name in names if getattr(layer, name, None) is not None]


def sliding(layer: nn.Conv2d) -> dict[str, object]:
    return {"pads": [*layer.padding] * 2, "strides": layer.stride, "group": layer.groups}


def pooling(layer: nn.MaxPool2d) -> dict[str, object]:
    return {"kernel_shape": [layer.kernel_size] * 2, "strides": [layer.stride] * 2}


OPS: dict[type[nn.Module], Callable[[Any], tuple[str, dict[str, Any]]]] = {
    nn.AdaptiveAvgPool2d: lambda m: ("GlobalAveragePool", {}),
    nn.BatchNorm2d: lambda m: ("BatchNormalization", {}),
    nn.Conv2d: lambda m: ("Conv", sliding(m)),
    nn.ConvTranspose2d: lambda m: ("ConvTranspose", sliding(m)),
    nn.Flatten: lambda m: ("Flatten", {}),
    nn.Identity: lambda m: ("Identity", {}),
    nn.Linear: lambda m: ("Gemm", {"transB": 1}),
    nn.MaxPool2d: lambda m: ("MaxPool", pooling(m)),
    nn.ReLU: lambda m: ("Relu", {}),
    nn.Softmax: lambda m: ("Softmax", {"axis": -1}),
}


def changed(layer: nn.Module, change: Callable[[torch.Tensor], object]) -> nn.Module:
    with torch.no_grad():
        change(layer.weight)
    return layer


def conv(before: int, after: int, kernel: int = 3, **options: int) -> nn.Conv2d:
    return nn.Conv2d(before, after, kernel, padding=kernel // 2, **options)


def test_a_1x1_convolution_without_a_nonlinearity() -> None:
    check = rules.pointwise_without_nonlinearity
    assert warnings(check, conv(3, 16), conv(16, 16, 1), nn.ReLU()) == [
        "1: 1x1 convolution without a nonlinearity between it and 0"
    ]
    assert warnings(check, conv(3, 16, 1), nn.BatchNorm2d(16), conv(16, 8), nn.ReLU()) != []


@pytest.mark.parametrize(
    "layers",
    [
        [conv(3, 16), nn.ReLU(), conv(16, 16, 1)],
        [conv(3, 16), conv(16, 4, 1), conv(4, 32, 1)][1:],
        [conv(16, 16, groups=16), conv(16, 32, 1)],
    ],
    ids=["nonlinearity", "bottleneck", "separable"],
)
def test_a_1x1_convolution_for_a_reason(layers: list[nn.Module]) -> None:
    check = rules.pointwise_without_nonlinearity
    assert warnings(check, *layers, channels=3 if layers[0].in_channels == 3 else 16) == []


def test_two_linear_layers_with_nothing_between() -> None:
    check = rules.linear_chain
    dense = [nn.Flatten(), nn.Linear(768, 32), nn.Linear(32, 10)]
    assert warnings(check, *dense) == ["2: nothing nonlinear between it and 1: together they are one layer"]
    assert warnings(check, conv(3, 4), conv(4, 4)) != []
    assert warnings(check, conv(3, 4), nn.Flatten(), nn.Linear(1024, 10)) != []
    assert warnings(check, *dense[:2], nn.ReLU(), dense[2]) == []
    assert warnings(check, nn.Flatten(), nn.Linear(768, 4), nn.Linear(4, 10)) == []
    assert warnings(check, nn.Conv2d(3, 4, (1, 3)), nn.Conv2d(4, 4, (3, 1))) == []


class Shared(nn.Module):
    """What is between is read twice, so the two are not one."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        between = self.first(x)
        return between + self.second(between)


def test_what_is_read_twice_is_needed() -> None:
    assert list(rules.linear_chain(seen(Shared(), 4))) == []


def test_layers_without_effect() -> None:
    check = rules.without_effect
    assert warnings(check, conv(3, 4), nn.ReLU(), nn.MaxPool2d(2), nn.ReLU()) == [
        "3: Relu without effect: 2 has no negative outputs"
    ]
    assert warnings(check, conv(3, 4), nn.MaxPool2d(1)) == [
        "1: MaxPool without effect: its window is one pixel"
    ]
    assert "it runs over one element" in warnings(check, nn.Flatten(), nn.Linear(768, 1), nn.Softmax(-1))[0]
    assert "its output is its input" in warnings(check, conv(3, 4), nn.Identity())[0]
    assert warnings(check, conv(3, 4), nn.ReLU(), conv(4, 4), nn.ReLU(), nn.MaxPool2d(2)) == []
    assert warnings(check, nn.Flatten(), nn.Linear(768, 2), nn.Softmax(-1)) == []


@pytest.mark.parametrize(
    ("op", "constant", "count"), [("Mul", 1, 1), ("Add", 0, 1), ("Mul", 0, 0), ("Add", 1, 0)]
)
def test_a_neutral_constant(op: str, constant: float, count: int) -> None:
    model = graph([nn.ReLU(), nn.ReLU()], (3, 4, 4))
    number = ir.val("number", const_value=ir.tensor(np.array(constant, np.float32)))
    model.graph.register_initializer(number)
    scaled = ir.node(op, [model.graph.node(0).outputs[0], number], name="scaled")
    scaled.outputs[0].name = "scaled"
    model.graph.insert_after(model.graph.node(0), scaled)
    model.graph.node("1").replace_input_with(0, scaled.outputs[0])
    lines = [line for line in rules.without_effect(analyze(model)) if line.startswith("scaled")]
    assert len(lines) == count


def test_zero_weights_and_dead_channels() -> None:
    zero = changed(conv(3, 4), torch.Tensor.zero_)
    assert warnings(rules.zero_weights, zero) == ["0: all weights are zero, so it ignores its input"]
    assert warnings(rules.dead_channels, zero) == []
    dead = changed(conv(3, 4), lambda w: w[1].zero_())
    assert warnings(rules.dead_channels, dead) == ["0: 1 of 4 channels are dead, all their weights zero (1)"]
    assert warnings(rules.zero_weights, dead) == []
    dense = changed(nn.Linear(768, 20), lambda w: w[:10].zero_())
    assert "10 of 20 channels are dead" in warnings(rules.dead_channels, nn.Flatten(), dense)[0]
    up = changed(nn.ConvTranspose2d(3, 4, 2), lambda w: w[:, 2].zero_())
    assert "(2)" in warnings(rules.dead_channels, up)[0]
    assert warnings(rules.dead_channels, conv(3, 4)) == []


def test_denormal_weights() -> None:
    tiny = changed(conv(3, 4), lambda w: w[0, 0, 0].fill_(1e-40))
    assert warnings(rules.denormal_weights, tiny) == ["0: 3 of 108 weights are denormal (below 1.2e-38)"]
    assert warnings(rules.denormal_weights, changed(conv(3, 4), lambda w: w[0].zero_())) == []


def test_a_huge_range() -> None:
    wide = changed(conv(3, 4), lambda w: w[0, 0, 0, 0].fill_(-1e5))
    assert "0: its largest weight, 1e+05" in warnings(rules.dynamic_range, wide)[0]
    assert warnings(rules.dynamic_range, conv(3, 4)) == []


def test_a_window_wider_than_its_map() -> None:
    check = rules.window_wider_than_map
    assert warnings(check, conv(3, 4), size=1) == [
        "0: its window 3x3 is wider than its map 1x1: some taps see only padding"
    ]
    assert warnings(check, conv(3, 4), size=2) == []
    assert warnings(check, conv(3, 4, 7), size=7) == []


def test_a_field_that_does_not_fit_the_input() -> None:
    check = rules.field_and_input
    pool = nn.AdaptiveAvgPool2d(1)
    assert warnings(check, conv(3, 4), nn.ReLU(), pool, size=32) == [
        "2: its pooled map has a receptive field of 3 pixels in an image of 32x32"
    ]
    assert warnings(check, conv(3, 4, 11), nn.ReLU(), pool, size=32) == []
    deep = [layer for _ in range(20) for layer in (conv(4, 4, 11), nn.ReLU())]
    assert "most of that is padding" in warnings(check, conv(3, 4), *deep, pool)[0]
    assert warnings(check, conv(3, 4), nn.ReLU(), nn.Flatten(), nn.Linear(4096, 2), size=32) == []


class Gated(nn.Module):
    """Squeeze and excitation: the pooling of its gate sees little, and the map goes on."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * x.mean((2, 3), keepdim=True).sigmoid()


def test_a_gate_is_no_head() -> None:
    network = nn.Sequential(conv(3, 4), Gated(), conv(4, 4), nn.ReLU())
    assert list(rules.field_and_input(seen(network, 3, 32, 32))) == []


def test_a_sound_network_has_none(small_cnn: nn.Module) -> None:
    network = nn.Sequential(*(m for m in small_cnn if not isinstance(m, nn.Dropout)))
    view_of = seen(network, 3, 8, 8)
    assert [line for check in RULES for line in check(view_of)] == []
