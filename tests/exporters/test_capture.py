import onnx_ir as ir
import pytest
import torch
from torch import nn

from cnntk.exporters.capture import IR_VERSION, OPSET, capture
from cnntk.runtime.errors import CaptureError


def test_the_graph_has_a_free_batch_and_no_dropout(small_cnn: nn.Module) -> None:
    model = capture(small_cnn, (3, 8, 8), "input")
    assert (model.ir_version, model.opset_imports[""]) == (IR_VERSION, OPSET) == (10, 18)
    (taken,) = model.graph.inputs
    assert taken.name == "input"
    assert [str(taken.shape[0]), *taken.shape[1:]] == ["N", 3, 8, 8]
    kinds = {node.op_type for node in model.graph}
    assert {"Conv", "Relu", "MaxPool", "Gemm"} <= kinds
    assert "Dropout" not in kinds


def test_what_torch_cannot_capture_is_one_line(branching: nn.Module) -> None:
    with pytest.raises(CaptureError, match="Branching: torch can't export it") as caught:
        capture(branching, (3, 8, 8), "input")
    assert "\n" not in str(caught.value)


def test_the_users_warning_filters_and_log_levels_stay(small_cnn: nn.Module) -> None:
    import logging
    import warnings

    before = (list(warnings.filters), logging.getLogger("torch.onnx").level)
    capture(small_cnn, (3, 8, 8), "input")
    assert (list(warnings.filters), logging.getLogger("torch.onnx").level) == before


def test_a_batch_that_is_baked_in_shows(small_cnn: nn.Module) -> None:
    """The control: a module that fixes its batch does not come out with a free one."""

    class Fixed(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.reshape(2, -1)

    try:
        model = capture(Fixed().eval(), (3, 8, 8), "input")
    except CaptureError:
        return
    assert isinstance(model.graph.inputs[0].shape[0], int | ir.SymbolicDim)
    assert model.graph.outputs[0].shape[0] == 2
