from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from cnntk.exporters.capture import Captured, capture
from cnntk.exporters.checks.doubles import DoubleReference
from cnntk.exporters.checks.inputs import trial_inputs
from cnntk.exporters.checks.reference import ProgramReference
from cnntk.exporters.source import Source
from cnntk.runtime.artifact.spec import TensorSpec

INPUT = (TensorSpec("input", "float64", ("N", 3, 8, 8)),)
TRIALS = trial_inputs(INPUT, None)


@pytest.fixture
def double(small_cnn: nn.Module) -> Captured:
    return capture(Source("trial", INPUT, small_cnn.double()))


def reference(found: Captured, kind: Callable = DoubleReference) -> ProgramReference:
    (output,) = [n for n in found.program.graph_module.graph.nodes if n.op == "output"]
    return kind(found.program, {"y": output.args[0][-1].name})


def test_its_exact_answers_are_the_programs_own(double: Captured) -> None:
    plain, found = reference(double, ProgramReference), reference(double)
    np.testing.assert_array_equal(found.exact(TRIALS.arrays)["y"], plain.exact(TRIALS.arrays)["y"])
    assert np.array_equal(plain.exact(TRIALS.arrays)["y"], plain.single(TRIALS.arrays)["y"])  # tells nothing


def test_its_own_error_is_that_of_float32_in_float64s_steps(double: Captured, small_cnn: nn.Module) -> None:
    arrays = TRIALS.batch(1)
    found = reference(double)
    exact, single = found.exact(arrays)["y"], found.single(arrays)["y"]
    narrow = small_cnn.float()(torch.from_numpy(arrays["input"]).float()).detach().double().numpy()
    error = np.abs(single - exact).max()
    assert 0 < error < 64 * 2.0**-52 * np.abs(exact).max()
    np.testing.assert_allclose(error, np.abs(narrow - exact).max() * 2.0**-29, rtol=0.3)


def test_inner_values_are_moved_as_well(double: Captured) -> None:
    found, exact, single = reference(double), {}, {}
    found.exact(TRIALS.batch(2), exact.__setitem__)
    found.single(TRIALS.batch(2), single.__setitem__)
    assert single.keys() == exact.keys()
    for name, array in exact.items():
        assert single[name].dtype == np.float64
        np.testing.assert_allclose(single[name], array, rtol=1e-8, atol=1e-13 * np.abs(array).max())
    assert any(not np.array_equal(single[name], exact[name]) for name in exact)
