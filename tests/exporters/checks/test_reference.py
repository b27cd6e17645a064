import copy
from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import torch
from torch import nn

from cnntk.exporters.checks._inputs import CheckInputs
from cnntk.exporters.checks.reference import GraphReference, ProgramReference


def test_float64_is_the_network_in_float64(
    small_cnn: nn.Module, captured: Callable, inputs: CheckInputs
) -> None:
    program = captured(small_cnn).program
    reference = ProgramReference(program, {"logits": last_node(program)})
    x = torch.from_numpy(inputs.arrays["input"])
    single = small_cnn(x).detach().numpy()
    exact = copy.deepcopy(small_cnn).double()(x.double()).detach().numpy()
    assert np.array_equal(reference.run_native(inputs.arrays)["logits"], single)
    wide = reference.run_float64(inputs.arrays)["logits"]
    assert wide.dtype == np.float64
    np.testing.assert_allclose(wide, exact, rtol=1e-12)
    assert np.abs(wide - single).max() > 0


def test_a_dtype_that_is_baked_in_is_widened(captured: Callable, inputs: CheckInputs) -> None:
    class Baked(nn.Module):
        def forward(self, x):
            scale = torch.full((1,), 1 / 3, dtype=torch.float32)
            return (x.to(torch.float32) * scale).mean((2, 3))

    program = captured(Baked()).program
    reference = ProgramReference(program, {"y": last_node(program)})
    expected = inputs.arrays["input"].astype(np.float64).mean((2, 3)) / 3
    np.testing.assert_allclose(reference.run_float64(inputs.arrays)["y"], expected, atol=1e-7)
    assert reference.run_float64(inputs.arrays)["y"].dtype == np.float64


def test_what_was_replaced_is_passed_over(captured: Callable, inputs: CheckInputs) -> None:
    class Doubled(nn.Module):
        def forward(self, x):
            return (x.relu() * 2).mean((2, 3))

    program = captured(Doubled()).program
    names = [n.name for n in program.graph_module.graph.nodes if n.op == "call_function"]
    doubled = next(n for n in names if n.startswith("mul"))
    plain = ProgramReference(program, {"y": last_node(program)}).run_native(inputs.arrays)["y"]
    halved = ProgramReference(program, {"y": last_node(program)}, {doubled: "relu"}).run_native(
        inputs.arrays
    )["y"]
    np.testing.assert_allclose(halved * 2, plain, rtol=1e-6, atol=1e-38)


def test_inner_values_bear_the_graphs_names(
    small_cnn: nn.Module, captured: Callable, inputs: CheckInputs
) -> None:
    result = captured(small_cnn)
    seen: dict[str, np.ndarray] = {}
    reference = ProgramReference(result.program, {"y": last_node(result.program)})
    reference.run_float64(inputs.arrays, seen.__setitem__)
    layers = [n for n in result.model.graph if n.op_type in ("Conv", "Relu", "Gemm")]
    named = {node.outputs[0].name for node in layers}
    assert named
    assert named <= seen.keys()
    assert reference.shapes()[next(iter(named))][0] == "N"


def test_a_graph_is_a_reference_of_itself(inputs: CheckInputs) -> None:
    model = ir.from_onnx_text(
        '<ir_version: 10, opset_import: ["" : 18]>'
        "g (float[N, 3, 8, 8] input) => (float[N, 3, 1, 1] y) { y = GlobalAveragePool (input) }"
    )
    reference = GraphReference(model, {"mean": "y"})
    expected = inputs.arrays["input"].mean((2, 3), keepdims=True, dtype=np.float64)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(reference.run_float64(inputs.arrays)["mean"], expected, atol=1e-6 * scale)
    np.testing.assert_allclose(reference.run_native(inputs.arrays)["mean"], expected, atol=1e-6 * scale)


def last_node(program: torch.export.ExportedProgram) -> str:
    (output,) = [n for n in program.graph_module.graph.nodes if n.op == "output"]
    return output.args[0][-1].name
