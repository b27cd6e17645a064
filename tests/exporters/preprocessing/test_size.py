"""Sizes in the graph are the whole numbers of `Preprocessing.resized_size`."""

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from pixel_graphs import open_session

from cnntk.exporters.preprocessing.node_builder import UINT8, NodeBuilder
from cnntk.exporters.preprocessing.size import resized_size
from cnntk.runtime.artifact.spec import Preprocessing


def sizes_of(p: Preprocessing) -> Any:
    """A session from an image to the size to which it would be resized."""
    image = ir.Value(name="image", type=ir.TensorType(UINT8), shape=ir.Shape(("N", "H", "W", 1)))
    model = ir.Model(ir.Graph([image], [], nodes=[], opset_imports={"": 18}, name="sizes"), ir_version=10)
    value = resized_size(NodeBuilder(model, "preprocess"), image, p)
    assert value.producer() is not None, "a constant"
    model.graph.outputs.append(value)
    return open_session(model)


@pytest.mark.parametrize("resize", ["shortest", "longest"])
@pytest.mark.parametrize(
    ("height", "width"), [(28, 28), (224, 224), (1, 1), (224, 160), (7, 300)], ids=lambda n: str(n)
)
def test_sizes(resize: str, height: int, width: int) -> None:
    rng = np.random.default_rng([height, width])
    for ratio in (1.0, 0.875, 0.9):
        p = Preprocessing("gray", height, width, resize=resize, crop_ratio=ratio)
        session = sizes_of(p)
        for size in [(1, 1), (height, width), (2 * width, 3), *rng.integers(1, 3000, (40, 2)).tolist()]:
            image = np.lib.stride_tricks.as_strided(
                np.zeros(1, np.uint8), (0, *size, 1), (0, 0, 0, 0)
            )  # no pixels: the size is all that counts
            (found,) = session.run(None, {"image": np.ascontiguousarray(image)})
            assert tuple(found) == p.resized_size(*size), (size, p)


def test_a_stretch_needs_no_nodes() -> None:
    model = ir.Model(ir.Graph([], [], nodes=[], opset_imports={"": 18}, name="sizes"), ir_version=10)
    builder = NodeBuilder(model, "preprocess")
    value = resized_size(builder, ir.Value(name="image"), Preprocessing("gray", 5, 7))
    assert builder.nodes == []
    assert value.const_value is not None
    assert value.const_value.numpy().tolist() == [5, 7]
