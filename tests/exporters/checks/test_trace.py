from collections.abc import Callable

import numpy as np
from torch import nn

from cnntk.exporters.checks.inputs import Trials
from cnntk.exporters.checks.trace import ShapeTrace, Trace


def test_every_inner_value_is_seen_and_computed_as_torch_does(
    small_cnn: nn.Module, captured: Callable, trials: Trials
) -> None:
    model = captured(small_cnn).model
    trace = Trace(model)
    values = trace(trials.batch(2))
    assert {node.op_type for node in trace.nodes.values()} >= {"Conv", "Relu", "MaxPool", "Gemm"}
    (relu,) = [name for name, node in trace.nodes.items() if node.op_type == "Relu"]
    assert values[relu].shape == (2, 4, 8, 8)
    assert values[relu].min() == 0 < values[relu].max()


def test_shapes_are_those_of_the_values(small_cnn: nn.Module, captured: Callable, trials: Trials) -> None:
    model = captured(small_cnn).model
    outputs = list(model.graph.outputs)
    values, shapes = Trace(model)(trials.batch(3)), ShapeTrace(model)(trials.batch(3))
    assert {name: array.shape for name, array in values.items()}.items() <= shapes.items()
    assert shapes["input"] == (3, 3, 8, 8)
    assert list(model.graph.outputs) == outputs
    assert ShapeTrace(model)(trials.batch(1)) != shapes


def test_a_value_that_is_read_again_is_not_lost(
    small_cnn: nn.Module, captured: Callable, trials: Trials
) -> None:
    model = captured(small_cnn).model
    before = Trace(model)(trials.batch(1))
    after = Trace(model)(trials.batch(1))
    assert all(np.array_equal(before[k], after[k]) for k in before)
