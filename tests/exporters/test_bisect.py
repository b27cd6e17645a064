"""Two graphs that part are told apart at the layer that was changed, whatever was rewritten around it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest

from cnntk.exporters.bisect import GraphPair
from cnntk.runtime.artifact.spec import Layer

TEXT = """
<ir_version: 10, opset_import: ["" : 18]>
net (float[N, 3, 8, 8] x) => (float[N, 5] y)
{
    c1 = Conv <pads = [1, 1, 1, 1]> (x, w1, b1)
    n1 = BatchNormalization (c1, s, t, m, v)
    r1 = Relu (n1)
    left = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (r1)
    c2 = Conv <pads = [1, 1, 1, 1]> (left, w2, b2)
    r2 = Relu (c2)
    sum = Add (left, r2)
    flat = Flatten (sum)
    y = Gemm (flat, w3, b3)
}
"""
FOLDED = TEXT.replace("c1 = Conv", "n1 = Conv").replace("    n1 = BatchNormalization (c1, s, t, m, v)\n", "")
ROWS = (
    "stem.conv",
    "stem.norm",
    "stem.act",
    "pool",
    "block.conv",
    "block.act",
    "block.add",
    "flatten",
    "head",
)

INPUTS = [
    {"x": np.random.default_rng(seed).standard_normal((2, 3, 8, 8)).astype(np.float32)} for seed in range(3)
]
Weights = dict[str, np.ndarray]


def weights() -> Weights:
    rng = np.random.default_rng(7)
    shapes = {"w1": (4, 3, 3, 3), "b1": 4, "w2": (4, 4, 3, 3), "b2": 4, "w3": (64, 5), "b3": 5}
    linear = {name: rng.standard_normal(shape) * 0.3 for name, shape in shapes.items()}
    norm = {
        "s": rng.uniform(0.5, 2, 4),
        "t": rng.normal(size=4),
        "m": rng.normal(size=4),
        "v": rng.uniform(0.5, 2, 4),
    }
    return linear | norm


def folded(w: Weights) -> Weights:
    factor = w["s"] / np.sqrt(w["v"] + 1e-5)
    return w | {"w1": w["w1"] * factor[:, None, None, None], "b1": (w["b1"] - w["m"]) * factor + w["t"]}


def written(path: Path, values: Weights, text: str = TEXT) -> Path:
    model = onnx.parser.parse_model(text)
    used = {name for node in model.graph.node for name in node.input} & values.keys()
    for name in sorted(used):
        model.graph.initializer.append(onnx.numpy_helper.from_array(values[name].astype(np.float32), name))
    path.write_bytes(model.SerializeToString())
    return path


def changed(name: str, change: Callable[[np.ndarray], None]) -> Weights:
    values = {n: v.copy() for n, v in weights().items()}
    change(values[name])
    return values


def one_percent(at: tuple[int, ...]) -> Callable[[np.ndarray], None]:
    def change(values: np.ndarray) -> None:
        values[at] *= 1.01

    return change


def swap(values: np.ndarray) -> None:
    values[[1, 3]] = values[[3, 1]]


def shift(values: np.ndarray) -> None:
    values[2] += 0.01


FAULTS = [
    ("w1", one_percent((2, 1, 0, 0)), "stem.conv", (2,)),
    ("w1", swap, "stem.conv", (1, 3)),
    ("b1", shift, "stem.conv", (2,)),
    ("s", shift, "stem.norm", (2,)),
    ("w2", one_percent((3, 0, 1, 1)), "block.conv", (3,)),
    ("b2", shift, "block.conv", (2,)),
    ("w3", one_percent((10, 4)), "head", (4,)),
    ("b3", shift, "head", (2,)),
]


@pytest.mark.parametrize(("tensor", "change", "layer", "channels"), FAULTS)
def test_the_layer_tensor_and_channel_are_named(
    tmp_path: Path, tensor: str, change: Callable[[np.ndarray], None], layer: str, channels: tuple[int, ...]
) -> None:
    first = written(tmp_path / "a.onnx", changed(tensor, change))
    second = written(tmp_path / "b.onnx", weights())
    pair = GraphPair(first, second, rows(TEXT))
    assert pair.alike
    for result in (pair.first_divergence(INPUTS), *pair.weight_differences()):
        assert (result.layer, [w.tensor for w in result.weights]) == (layer, [tensor])
        assert result.weights[0].channels == channels
    assert str(pair.first_divergence(INPUTS)).startswith(f"{layer} (")


@pytest.mark.parametrize(
    ("tensor", "change", "layer"), [(t, c, la) for t, c, la, _ in FAULTS if t not in ("s", "w1", "b1")]
)
def test_a_folded_norm_is_no_divergence(
    tmp_path: Path, tensor: str, change: Callable[[np.ndarray], None], layer: str
) -> None:
    """The folded convolution answers something else, but what comes after it does not."""
    second = written(tmp_path / "b.onnx", weights())
    sound = written(tmp_path / "a.onnx", folded(weights()), FOLDED)
    assert GraphPair(sound, second, rows(FOLDED)).first_divergence(INPUTS) is None
    faulty = written(tmp_path / "c.onnx", folded(changed(tensor, change)), FOLDED)
    pair = GraphPair(faulty, second, rows(FOLDED))
    assert not pair.alike
    assert pair.first_divergence(INPUTS).layer == layer


def test_a_fault_in_a_folded_layer_is_located(tmp_path: Path) -> None:
    values = folded(weights())
    swap(values["w1"])
    pair = GraphPair(
        written(tmp_path / "a.onnx", values, FOLDED), written(tmp_path / "b.onnx", weights()), rows(FOLDED)
    )
    assert pair.first_divergence(INPUTS).layer == "stem.conv"


def test_an_attribute_is_named(tmp_path: Path) -> None:
    text = TEXT.replace(
        "kernel_shape = [2, 2], strides = [2, 2]",
        "kernel_shape = [2, 2], strides = [2, 2], dilations = [2, 2], pads = [1, 1, 0, 0]",
    )
    pair = GraphPair(
        written(tmp_path / "a.onnx", weights(), text), written(tmp_path / "b.onnx", weights()), rows(TEXT)
    )
    result = pair.first_divergence(INPUTS)
    assert (result.layer, set(result.attributes)) == ("pool", {"dilations", "pads"})


def test_the_same_file_has_no_difference(tmp_path: Path) -> None:
    path = written(tmp_path / "a.onnx", weights())
    pair = GraphPair(path, path)
    assert pair.first_divergence(INPUTS) is None
    assert pair.weight_differences() == ()


def test_layers_without_a_spec_are_the_nodes(tmp_path: Path) -> None:
    first = written(tmp_path / "a.onnx", changed("w3", swap))
    result = GraphPair(first, written(tmp_path / "b.onnx", weights())).first_divergence(INPUTS)
    assert result.op == "Gemm"
    assert result.layer


def rows(text: str) -> tuple[Layer, ...]:
    ops = [node.op_type for node in onnx.parser.parse_model(text).graph.node]
    names = [n for n in ROWS if n != "stem.norm" or "BatchNormalization" in ops]
    return tuple(Layer(name, op, (), 0, 0) for name, op in zip(names, ops, strict=True))
