from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest
import torch
from torch import nn
from torch.export import Dim, ExportedProgram

from cnntk.exporters.capture import capture
from cnntk.exporters.options import ExportOptions
from cnntk.exporters.sources import open_source
from cnntk.runtime.artifact.spec import TensorSpec
from cnntk.runtime.errors import ArtifactCorrupt, UsageError

X = torch.zeros(2, 3, 8, 8)


def program(module: nn.Module, shapes: object = ({0: Dim("N")},), *args: torch.Tensor) -> ExportedProgram:
    return torch.export.export(module, args or (X,), dynamic_shapes=shapes)


@pytest.fixture
def pt2(tmp_path: Path, small_cnn: nn.Module) -> Path:
    path = tmp_path / "cats and dogs.pt2"
    torch.export.save(program(small_cnn), path)
    return path


def test_a_file(pt2: Path, small_cnn: nn.Module) -> None:
    source = open_source(pt2, ExportOptions(labels=tuple("abcde")))
    assert (source.name, source.labels) == ("cats and dogs", tuple("abcde"))
    assert source.inputs == (TensorSpec("input", "float32", ("N", 3, 8, 8)),)
    model = capture(source).model
    session = ort.InferenceSession(ir.to_proto(model).SerializeToString(), providers=["CPUExecutionProvider"])
    x = np.random.default_rng(0).random((5, 3, 8, 8), dtype=np.float32)
    expected = small_cnn(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(session.run(["output"], {"input": x})[0], expected, atol=1e-5)


def test_a_program_keeps_the_names_of_its_inputs_and_outputs() -> None:
    class Two(nn.Module):
        def forward(self, image: torch.Tensor, mask: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"sum": image + mask, "mask": mask}

    batch = {0: Dim("N")}
    source = open_source(program(Two(), (batch, batch), X, X[:, :1]), ExportOptions())
    model = capture(source).model
    assert [v.name for v in model.graph.inputs] == ["image", "mask"]
    assert [v.name for v in model.graph.outputs] == ["sum", "mask_1"]


@pytest.mark.parametrize("damage", ["empty", "half", "text", "another zip"])
def test_a_damaged_file_is_one_line(pt2: Path, damage: str, capfd: pytest.CaptureFixture[str]) -> None:
    whole = pt2.read_bytes()
    if damage == "another zip":
        torch.save({"a": 1}, pt2)
    else:
        pt2.write_bytes({"empty": b"", "half": whole[: len(whole) // 2], "text": b"hello" * 100}[damage])
    with pytest.raises(ArtifactCorrupt, match=r"dogs\.pt2: not a valid \.pt2 file"):
        open_source(pt2, ExportOptions())
    assert capfd.readouterr() == ("", "")


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"gone\.pt2: no such file"):
        open_source(tmp_path / "gone.pt2", ExportOptions())


def test_a_program_without_inputs() -> None:
    class Constant(nn.Module):
        def forward(self) -> torch.Tensor:
            return torch.ones(2)

    with pytest.raises(UsageError, match="the program takes no input"):
        open_source(torch.export.export(Constant(), ()), ExportOptions())


class Scaled(nn.Module):
    def forward(self, x: torch.Tensor, by: float = 2.0) -> torch.Tensor:
        return x * by


@pytest.mark.parametrize(
    ("shapes", "args", "message"),
    [
        (None, (X,), "'x' has its batch fixed at 2; export it with a dynamic batch: torch.export.export"),
        (({0: Dim("N"), 2: Dim("H")},), (X,), "'x' has a dynamic axis 2; only the batch may be dynamic"),
        (({0: 2 * Dim("half")},), (X.repeat(2, 1, 1, 1),), r"'x' has its batch fixed at 2\*s"),
        (({},), (torch.tensor(1.0),), "'x' is a single number without a batch axis"),
        (({0: Dim("N")}, None), (X, 3.0), "its input 'by' is not a tensor; export the module without it"),
    ],
    ids=["fixed batch", "free height", "even batch", "a number", "a constant"],
)
def test_programs_that_do_not_fit(shapes: object, args: tuple[torch.Tensor, ...], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        open_source(program(Scaled(), shapes, *args), ExportOptions())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (ExportOptions(input_shape=(3, 9, 9)), "--input 3x9x9: program was captured at 3x8x8"),
        (ExportOptions(random=True), "contains its weights: leave out --weights"),
        (ExportOptions(weights="w.pt"), "contains its weights: leave out --weights"),
    ],
)
def test_options_that_contradict_it(small_cnn: nn.Module, options: ExportOptions, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        open_source(program(small_cnn), options)
    assert open_source(program(small_cnn), ExportOptions(input_shape=(3, 8, 8))).program is not None
