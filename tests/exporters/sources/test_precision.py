import copy
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from cnntk.exporters.options import ExportOptions
from cnntk.exporters.source import Source
from cnntk.exporters.sources import open_source
from cnntk.exporters.sources.precision import cast_source, weight_dtypes
from cnntk.runtime.artifact.spec import TensorSpec
from cnntk.runtime.errors import UsageError

SHAPE = (3, 8, 8)


def opened(module: nn.Module, dtype: Any = "auto", shape: Any = SHAPE) -> Source:
    return open_source(module, ExportOptions(shape, dtype=dtype))


def dtypes(source: Source) -> set[str]:
    tensors = (*source.module.parameters(), *source.module.buffers())
    return {str(t.dtype).removeprefix("torch.") for t in tensors if t.is_floating_point()}


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_auto_leaves_it_as_it_is(small_cnn: nn.Module, dtype: str) -> None:
    source = opened(small_cnn.to(getattr(torch, dtype)))
    assert (dtypes(source), source.inputs[0].dtype) == ({dtype}, dtype)
    assert (source.notes, source.provenance, source.source_before_cast) == ((), {}, None)


def test_bfloat16_is_widened_exactly(small_cnn: nn.Module) -> None:
    network = small_cnn.bfloat16()
    source = opened(network)
    assert (dtypes(source), source.inputs[0].dtype) == ({"float32"}, "float32")
    for name, tensor in network.state_dict().items():
        assert torch.equal(source.module.state_dict()[name].to(tensor.dtype), tensor)
    assert source.provenance == {"dtype": "float32", "cast_from": "bfloat16"}
    assert "bfloat16" in source.notes[0]
    assert source.source_before_cast is None  # nothing was lost


def test_only_what_is_bfloat16_is_widened(small_cnn: nn.Module) -> None:
    small_cnn[-1].bfloat16()
    assert dtypes(opened(small_cnn)) == {"float32"}
    small_cnn[0].half()
    small_cnn[-1].bfloat16()
    source = opened(small_cnn)
    assert dtypes(source) == {"float16", "float32"}
    assert source.inputs[0].dtype == "float16"


@pytest.mark.parametrize(
    ("before", "after", "loses"),
    [
        ("float32", "float16", True),
        ("float64", "float16", True),
        ("bfloat16", "float16", True),
        ("float64", "float32", True),
        ("float16", "float32", False),
        ("bfloat16", "float32", False),
        ("float32", "float64", False),
    ],
)
def test_a_cast(small_cnn: nn.Module, before: str, after: str, loses: bool) -> None:
    network = small_cnn.to(getattr(torch, before))
    source = opened(network, after)
    assert (dtypes(source), source.inputs[0].dtype) == ({after}, after)
    assert source.notes == (f"cast from {before} to {after} by --dtype",)
    assert {t.dtype for t in network.parameters()} == {getattr(torch, before)}
    assert (source.source_before_cast is not None) is loses
    if loses:  # in a type whose own rounding is far below that of the cast
        wide = "float32" if before == "bfloat16" else before
        assert (dtypes(source.source_before_cast), source.source_before_cast.inputs[0].dtype) == (
            {wide},
            wide,
        )


def test_inputs_of_other_types_stay() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(5, 3)

        def forward(self, ids: torch.Tensor, image: torch.Tensor, exact: torch.Tensor) -> torch.Tensor:
            return self.embed(ids).sum(1) + image + exact.to(image.dtype)

    shape = {
        "ids": TensorSpec("ids", "int64", ("N", 4)),
        "image": (3,),
        "exact": TensorSpec("exact", "float64", ("N", 3)),
    }
    source = opened(Two(), "float16", shape)
    assert [s.dtype for s in source.inputs] == ["int64", "float16", "float64"]


def test_a_network_without_weights() -> None:
    source = opened(nn.Flatten(), "float16")
    assert source.inputs[0].dtype == "float16"
    assert weight_dtypes(source) == {"float16"}
    assert opened(nn.Flatten().eval(), "float32").notes == ()


def test_numbers_beyond_the_type_are_named(small_cnn: nn.Module) -> None:
    with torch.no_grad():
        small_cnn[-1].weight[1, 2] = -1e5
    message = r"weight '6.weight' has the value -1e\+05, beyond float16's limit 65504; use a wider type"
    with pytest.raises(UsageError, match=message):
        opened(small_cnn, "float16")
    with torch.no_grad():
        small_cnn[-1].weight[1, 2] = torch.inf  # was so before; the proof tells
    assert dtypes(opened(small_cnn, "float16")) == {"float16"}


def test_a_type_that_is_no_choice_is_refused(small_cnn: nn.Module) -> None:
    for dtype in ("bfloat16", "half", ""):
        message = f"dtype: '{dtype}', expected one of auto, float32, float16, float64"
        with pytest.raises(UsageError, match=message):
            opened(small_cnn, dtype)


def program(module: nn.Module, dtype: torch.dtype) -> torch.export.ExportedProgram:
    batch = {0: torch.export.Dim("N")}
    example = torch.zeros(2, *SHAPE, dtype=dtype)
    return torch.export.export(module.to(dtype).eval(), (example,), dynamic_shapes=(batch,))


def test_a_program_is_what_it_is(small_cnn: nn.Module) -> None:
    cast = open_source(program(small_cnn, torch.float16), ExportOptions(dtype="float16"))
    assert cast.notes == ()
    with pytest.raises(
        UsageError, match=r"--dtype float32: program is in float16, and a captured program can't"
    ):
        open_source(program(small_cnn, torch.float16), ExportOptions(dtype="float32"))
    message = (
        r"program: is in bfloat16, .* no kernels, and a captured program .*: torch.export.export\(module.to"
    )
    with pytest.raises(UsageError, match=message):
        open_source(program(small_cnn, torch.bfloat16), ExportOptions())


def onnx_file(folder: Path, kind: int) -> Path:
    helper = onnx.helper
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    weight = onnx.numpy_helper.from_array(np.zeros((4, 3), dtype), "w")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", kind, ["N", 4])],
        [helper.make_tensor_value_info("y", kind, ["N", 3])],
        [weight],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, folder / "theirs.onnx")
    return folder / "theirs.onnx"


def test_a_graph_is_what_it_is(tmp_path: Path) -> None:
    file = onnx_file(tmp_path, onnx.TensorProto.FLOAT16)
    for dtype in ("auto", "float16"):
        assert open_source(file, ExportOptions(dtype=dtype)).notes == ()
    message = (
        r"--dtype float32: theirs is in float16, and an ONNX graph can't be cast; export it again from torch"
    )
    with pytest.raises(UsageError, match=message):
        open_source(file, ExportOptions(dtype="float32"))


def test_nothing_to_cast_is_the_source_itself(small_cnn: nn.Module) -> None:
    source = opened(small_cnn)
    assert cast_source(source, "float32") is source
    assert cast_source(source, "auto") is source


class Double(nn.Module):
    """Names its type in its code, in every way."""

    def __init__(self) -> None:
        super().__init__()
        self.c = nn.Conv2d(3, 4, 3).double()
        self.mean = np.full((3, 1, 1), 0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.double() - torch.from_numpy(self.mean) + torch.zeros(3, 8, 8, dtype=torch.float64)
        return self.c(x.to(torch.float64)).type(torch.float64).mean((2, 3))


class Brain(nn.Linear):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x.flatten(1).bfloat16()).to(torch.bfloat16)


@pytest.mark.parametrize("network", [Double(), Brain(192, 4).bfloat16()], ids=["float64", "bfloat16"])
def test_conversions_in_the_code_are_cast_with_the_weights(network: nn.Module) -> None:
    module = opened(network, "float32").module
    x = torch.rand(2, *SHAPE)
    with torch.no_grad():
        expected = network(x)
        for each in (module, copy.deepcopy(module)):
            result = each(x)["output"]
            assert result.dtype == torch.float32
            tolerance = 1e-6 if expected.dtype == torch.float64 else 0.02
            torch.testing.assert_close(result, expected.float(), atol=tolerance, rtol=0)
        assert network(x).dtype == expected.dtype != torch.float32
    assert type(module).__name__ == type(network).__name__


def test_sums_in_float32_of_a_float16_network_stay() -> None:
    class Summing(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x.half()).float() + 70_000

    source = opened(Summing(3, 4), "float16", {"x": (3,)})
    assert source.module(torch.zeros(1, 3, dtype=torch.float16))["output"].dtype == torch.float32
