"""A fixed batch is freed where the graph computes each image alone, and stays where it does not."""

from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest

from cnntk.exporters.options import ExportOptions
from cnntk.exporters.session import GraphSession
from cnntk.exporters.source import Source
from cnntk.exporters.sources import open_source

IMAGES = np.random.default_rng(0).standard_normal((5, 2, 4, 4)).astype(np.float32)

FREED = {
    "declared shapes": "y = Flatten (x)",
    "an inner declared shape": "a = Relu (x)  y = GlobalAveragePool (a)",
    "Reshape to the batch": "s = Constant <value_ints = [B, 32]> ()  y = Reshape (x, s)",
    "Reshape to the batch and an open size": "s = Constant <value_ints = [B, -1]> ()  y = Reshape (x, s)",
    "Reshape that joins images": "s = Constant <value_ints = [8B, 4]> ()  a = Reshape (x, s)  "
                                 "t = Constant <value_ints = [B, 32]> ()  y = Reshape (a, t)",
    "Reshape with an open size inside": "s = Constant <value_ints = [2B, -1, 4]> ()  a = Reshape (x, s)  "
                                        "t = Constant <value_ints = [B, 2, 4, 4]> ()  y = Reshape (a, t)",
    "a computed shape": "s = Shape (x)  i = Constant <value_ints = [0]> ()  b = Gather (s, i)  "
                        "r = Constant <value_ints = [-1]> ()  t = Concat <axis=0> (b, r)  y = Reshape (x, t)",
    "Expand": "a = ReduceMax <keepdims=1> (x, last)  s = Constant <value_ints = [B, 2, 4, 4]> ()  "
              "y = Expand (a, s)",
    "sizes of Resize": "s = Constant <value_ints = [B, 2, 8, 8]> ()  "
                       "y = Resize <mode = \"nearest\"> (x, , , s)",
    "a row for each image": "s = Constant <value_ints = [B, 32, 1]> ()  a = Reshape (x, s)  "
                            "t = Constant <value_ints = [B, 1, 1]> ()  r = Expand (one_number, t)  "
                            "y = Concat <axis=1> (r, a)",
    "the batch behind another axis": "y = Transpose <perm = [1, 0, 2, 3]> (x)",
}  # fmt: skip

FIXED = {
    "a mean over the batch": "a = ReduceMean <keepdims=1> (x, first)  y = Sub (x, a)",
    "statistics of the batch": "y, m, v = BatchNormalization <training_mode=1> (x, one, zero, zero, one)",
    "a softmax over the batch": "y = Softmax <axis=0> (x)",
    "certain images": "y = Gather <axis=0> (x, images)",
    "a sum over the batch": "a = ReduceSum <keepdims=1> (x, first)  y = Add (x, a)",
}


def opened(path: Path, body: str, batch: int, declared: str = "") -> Source:
    for factor in (8, 2):
        body = body.replace(f"{factor}B", str(factor * batch))
    text = body.replace("[B,", f"[{batch},")
    numbers = ", ".join(map(str, range(batch)))
    weights = (
        "int64[1] last = {3}, int64[1] first = {0}, float[2] one = {1.0, 1.0}, float[2] zero = {0.0, 0.0}, "
        "float[1] one_number = {2.0}, "
        f"int64[{batch}] images = {{{numbers}}}"
    )
    graph = f"net (float[{declared or batch},2,4,4] x) => (float y) <{weights}> {{ {text} }}"
    path.write_bytes(
        onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 18]>\n{graph}').SerializeToString()
    )
    return open_source(path, ExportOptions())


def single(source: Source, batch: int) -> list[np.ndarray]:
    """Outputs of the original for each image alone."""
    session = GraphSession(source.original_graph)
    return [session.run({"x": np.repeat(image[None], batch, 0)})["y"] for image in IMAGES]


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("kind", FREED)
def test_a_fixed_batch_is_freed(tmp_path: Path, kind: str, batch: int) -> None:
    source = opened(tmp_path / "m.onnx", FREED[kind], batch)
    assert source.inputs[0].shape == ("N", 2, 4, 4)
    assert len(source.notes) == 1
    assert source.notes[0].startswith(f"the batch was fixed at {batch}; any batch is possible now")
    shape = [str(d) for d in source.graph.graph.outputs[0].shape]
    axis = shape.index("N")
    expected = np.concatenate([np.take(y, [0], axis) for y in single(source, batch)], axis)
    for count in (1, 2, 5):
        actual = GraphSession(source.graph).run({"x": IMAGES[:count]})["y"]
        np.testing.assert_array_equal(actual, np.take(expected, range(count), axis))


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("kind", FIXED)
def test_a_batch_that_can_not_be_freed_stays(tmp_path: Path, kind: str, batch: int) -> None:
    source = opened(tmp_path / "m.onnx", FIXED[kind], batch)
    assert source.inputs[0].shape == (batch, 2, 4, 4)
    assert source.notes[0].startswith(f"the batch was fixed at {batch}, and stays so: ")


def test_a_dynamic_batch_that_is_only_declared_is_freed(tmp_path: Path) -> None:
    source = opened(tmp_path / "m.onnx", FREED["Reshape to the batch"], 1, declared="N")
    assert source.inputs[0].shape == ("N", 2, 4, 4)
    assert source.notes == (
        "the batch was declared dynamic, but the graph takes only 1; any batch is possible now (Reshape y)",
    )
    expected = np.concatenate(single(source, 1))
    np.testing.assert_array_equal(GraphSession(source.graph).run({"x": IMAGES})["y"], expected)


def test_a_dynamic_batch_that_is_only_declared_becomes_fixed(tmp_path: Path) -> None:
    source = opened(tmp_path / "m.onnx", FIXED["certain images"], 1, declared="N")
    assert source.inputs[0].shape == (1, 2, 4, 4)
    assert source.notes[0].startswith("the batch was declared dynamic, but the graph takes only 1, and stays")


def test_a_dynamic_batch_on_which_an_image_depends_is_left_to_the_checks(tmp_path: Path) -> None:
    source = opened(tmp_path / "m.onnx", FIXED["a mean over the batch"], 1, declared="N")
    assert (source.inputs[0].shape, source.notes) == (("N", 2, 4, 4), ())
