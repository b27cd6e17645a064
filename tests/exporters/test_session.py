from collections.abc import Callable

import numpy as np
import pytest
from torch import nn

from cnntk.exporters.capture import capture
from cnntk.exporters.session import Arrays, GraphSession, inner_nodes, inner_shapes
from cnntk.exporters.source import Source
from cnntk.runtime.artifact.spec import TensorSpec
from cnntk.runtime.errors import InferenceError

INPUT = (TensorSpec("input", "float32", ("N", 3, 8, 8)),)


@pytest.fixture
def captured() -> Callable:
    return lambda module: capture(Source("net", INPUT, module.eval()))


def images(count: int) -> Arrays:
    return {"input": np.random.default_rng(0).random((count, 3, 8, 8), np.float32)}


def test_every_inner_value_is_computed_as_torch_does(small_cnn: nn.Module, captured: Callable) -> None:
    model = captured(small_cnn).model
    nodes = inner_nodes(model)
    values = GraphSession(model, list(nodes)).run(images(2))
    assert {node.op_type for node in nodes.values()} >= {"Conv", "Relu", "MaxPool", "Gemm"}
    (relu,) = [name for name, node in nodes.items() if node.op_type == "Relu"]
    assert values[relu].shape == (2, 4, 8, 8)
    assert values[relu].min() == 0 < values[relu].max()


def test_shapes_are_those_of_the_values(small_cnn: nn.Module, captured: Callable) -> None:
    model = captured(small_cnn).model
    outputs = list(model.graph.outputs)
    values = GraphSession(model, list(inner_nodes(model))).run(images(3))
    shapes = inner_shapes(model, {3: images(3), 1: images(1)})
    assert {name: array.shape for name, array in values.items()}.items() <= shapes[3].items()
    assert shapes[3]["input"] == (3, 3, 8, 8)
    assert list(model.graph.outputs) == outputs
    assert shapes[1] != shapes[3]


def test_a_value_that_is_read_again_is_not_lost(small_cnn: nn.Module, captured: Callable) -> None:
    model = captured(small_cnn).model
    before, after = (GraphSession(model, list(inner_nodes(model))).run(images(1)) for _ in range(2))
    assert all(np.array_equal(before[k], after[k]) for k in before)


def test_inputs_that_the_graph_lacks_are_ignored_and_missing_ones_refused(
    small_cnn: nn.Module, captured: Callable
) -> None:
    session = GraphSession(captured(small_cnn).model)
    assert session.inputs == INPUT
    outputs = session.run({**images(1), "other": np.zeros(1)})
    assert list(outputs) == session.names
    with pytest.raises(InferenceError, match=r"onnxruntime failed in the graph: .*input"):
        session.run({"other": np.zeros(1)})
