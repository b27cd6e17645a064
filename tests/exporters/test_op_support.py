from pathlib import Path

import onnx
import pytest
import torch
from torch import nn

from cnntk.exporters import export
from cnntk.exporters._op_support import ensure_runnable, missing_kernel
from cnntk.exporters.options import ExportOptions
from cnntk.exporters.sources import open_source
from cnntk.runtime.errors import CaptureError, InferenceError, UnsupportedArtifact

SHAPE = (3, 8, 8)


def opened(module: nn.Module, dtype: str = "auto"):
    return open_source(module.eval(), ExportOptions(SHAPE, dtype=dtype))


def test_float64_stays_where_onnxruntime_runs_it() -> None:
    source = opened(nn.Sequential(nn.Flatten(), nn.Linear(192, 4)).double())
    assert ensure_runnable(source, "auto") is source


def test_float64_becomes_float32_where_it_does_not(small_cnn: nn.Module) -> None:
    source = opened(small_cnn.double())
    result = ensure_runnable(source, "auto")
    assert result.inputs[0].dtype == "float32"
    assert result.provenance == {"dtype": "float32", "cast_from": "float64"}
    assert result.source_before_cast.module is not None
    assert "no float64 kernel on the CPU for Conv 'node_conv2d' (module 0" in result.notes[-1]
    assert ensure_runnable(source, "float64") is source


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_other_types_stay(small_cnn: nn.Module, dtype: torch.dtype) -> None:
    source = opened(small_cnn.to(dtype))
    assert ensure_runnable(source, "auto") is source


class Inside(nn.Module):
    """In float32, but for a step in bfloat16 of its own."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x.bfloat16()).float().mean((2, 3))


class Fixed(nn.Module):
    """Takes its type from its code and not from its weights."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x.float()).mean((2, 3))


def test_what_can_not_be_run_says_which_node_and_what_to_do(small_cnn: nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    with pytest.raises(
        CaptureError, match=r"no float64 kernel .* for Conv 'node_conv2d' \(module 0.*--dtype float32"
    ):
        export(small_cnn.double(), path, input_shape=SHAPE, dtype="float64")
    with pytest.raises(
        CaptureError, match=r"no bfloat16 kernel .*test_op_support\.py:\d+.*remove that conversion"
    ):
        export(Inside().eval(), path, input_shape=SHAPE)
    with pytest.raises(
        CaptureError, match=r"test_op_support\.py:\d+.*cast from float32 to float16: .*; its code must"
    ):
        export(Fixed().eval(), path, input_shape=SHAPE, dtype="float16")
    batch = {0: torch.export.Dim("N")}
    example = (torch.zeros(2, *SHAPE, dtype=torch.float64),)
    program = torch.export.export(small_cnn.double(), example, dynamic_shapes=(batch,))
    with pytest.raises(CaptureError, match=r"no float64 kernel .*; capture the module again in float32"):
        export(program, path)
    assert not path.exists()


def test_an_error_with_another_cause_is_not_explained(small_cnn: nn.Module) -> None:
    from cnntk.exporters.capture import capture

    model = capture(opened(small_cnn)).model
    assert missing_kernel(model, InferenceError("onnxruntime can't run the graph: out of memory")) is None


@pytest.mark.parametrize("kind", ["double", "bfloat16"])
def test_somebodys_file_without_kernels(tmp_path: Path, kind: str) -> None:
    model = onnx.parser.parse_model(
        f'<ir_version: 10, opset_import: ["" : 22]> '
        f"g ({kind}[N, 3, 8, 8] x, {kind}[4, 3, 3, 3] w) => ({kind}[N, 4, 6, 6] y) {{ y = Conv (x, w) }}"
    )
    onnx.save(model, tmp_path / "theirs.onnx")
    with pytest.raises(UnsupportedArtifact, match=r"theirs\.onnx: onnxruntime .* can't run it: .*for Conv"):
        export(tmp_path / "theirs.onnx", tmp_path / "m.onnx")
