from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from cnntk.exporters.capture import Captured, capture
from cnntk.exporters.checks._inputs import array_inputs
from cnntk.exporters.checks.reference import Float64Reference, ProgramReference
from cnntk.exporters.source import Source
from cnntk.runtime.artifact.spec import TensorSpec

INPUT = (TensorSpec("input", "float64", ("N", 3, 8, 8)),)
INPUTS = array_inputs(INPUT, None)


@pytest.fixture
def double(small_cnn: nn.Module) -> Captured:
    return capture(Source("trial", INPUT, small_cnn.double()))


def reference(result: Captured, kind: Callable = Float64Reference) -> ProgramReference:
    (output,) = [n for n in result.program.graph_module.graph.nodes if n.op == "output"]
    return kind(result.program, {"y": output.args[0][-1].name})


def test_float64_outputs_are_those_of_the_program(double: Captured) -> None:
    plain, estimated = reference(double, ProgramReference), reference(double)
    np.testing.assert_array_equal(
        estimated.run_float64(INPUTS.arrays)["y"], plain.run_float64(INPUTS.arrays)["y"]
    )
    assert np.array_equal(
        plain.run_float64(INPUTS.arrays)["y"], plain.run_native(INPUTS.arrays)["y"]
    )  # tells nothing


def test_its_error_is_that_of_float32_in_steps_of_float64(double: Captured, small_cnn: nn.Module) -> None:
    arrays = INPUTS.batch(1)
    estimated = reference(double)
    exact, single = estimated.run_float64(arrays)["y"], estimated.run_native(arrays)["y"]
    narrow = small_cnn.float()(torch.from_numpy(arrays["input"]).float()).detach().double().numpy()
    error = np.abs(single - exact).max()
    assert 0 < error < 64 * 2.0**-52 * np.abs(exact).max()
    np.testing.assert_allclose(error, np.abs(narrow - exact).max() * 2.0**-29, rtol=0.3)


def test_inner_values_are_moved_as_well(double: Captured) -> None:
    estimated, exact, single = reference(double), {}, {}
    estimated.run_float64(INPUTS.batch(2), exact.__setitem__)
    estimated.run_native(INPUTS.batch(2), single.__setitem__)
    assert single.keys() == exact.keys()
    for name, array in exact.items():
        assert single[name].dtype == np.float64
        np.testing.assert_allclose(single[name], array, rtol=1e-8, atol=1e-13 * np.abs(array).max())
    assert any(not np.array_equal(single[name], exact[name]) for name in exact)
