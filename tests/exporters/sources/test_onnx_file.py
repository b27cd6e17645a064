import os
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest

from cnntk.exporters.capture import capture
from cnntk.exporters.options import ExportOptions, InputShape
from cnntk.exporters.sources import open_source
from cnntk.runtime.artifact.spec import TensorSpec
from cnntk.runtime.errors import ArtifactCorrupt, UnsupportedArtifact, UsageError

NONE = ExportOptions()


def write(path: Path, body: str, opset: int = 18, ir_version: int = 10) -> Path:
    head = f'<ir_version: {ir_version}, opset_import: ["" : {opset}]>'
    path.write_bytes(onnx.parser.parse_model(f"{head}\n{body}").SerializeToString())
    return path


def shaped(path: Path, shape: str) -> Path:
    return write(path, f"net (float[{shape}] x) => (float[{shape.split(',')[0]}, K] y) {{ y = Flatten (x) }}")


def test_a_graph_is_not_changed(foreign_onnx: Path) -> None:
    source = open_source(foreign_onnx, ExportOptions(labels=("a", "b", "c")))
    assert (source.name, source.labels, source.notes, source.classifier) == (
        "foreign",
        ("a", "b", "c"),
        (),
        None,
    )
    assert source.inputs == (TensorSpec("input", "float32", ("N", 1, 4, 4)),)
    assert source.provenance["onnx"] == "foreign.onnx"
    captured = capture(source)
    assert captured.program is None
    assert [node.op_type for node in captured.model.graph] == ["Flatten", "Gemm", "Softmax"]


@pytest.mark.parametrize("batch", ["N", "batch_size", "unk__7", "s77"])
def test_the_first_axis_is_the_batch_and_named_n_everywhere(tmp_path: Path, batch: str) -> None:
    source = open_source(shaped(tmp_path / "m.onnx", f"{batch},3,8,8"), NONE)
    assert source.inputs == (TensorSpec("x", "float32", ("N", 3, 8, 8)),)
    assert str(source.graph.graph.outputs[0].shape) == "[N,192]"


@pytest.mark.parametrize("shape_option", [(3, 8, 8), {"x": (3, 8, 8)}])
def test_other_dynamic_sizes_come_from_the_user(tmp_path: Path, shape_option: InputShape) -> None:
    file = shaped(tmp_path / "m.onnx", "N,3,H,W")
    with pytest.raises(
        UsageError, match=r"the input 'x' has dynamic sizes 3xHxW; set them, like --input 3x224x224"
    ):
        open_source(file, NONE)
    source = open_source(file, ExportOptions(input_shape=shape_option))
    assert source.inputs[0].shape == ("N", 3, 8, 8)
    assert str(source.graph.graph.outputs[0].shape) == "[N,192]"


@pytest.mark.parametrize(
    ("shape", "option", "message"),
    [
        ("N,3,H,W", (4, 8, 8), "--input 4x8x8: .*'x' is 3xHxW"),
        ("N,3,8,8", (3, 9, 9), "--input 3x9x9: .*'x' is 3x8x8"),
        ("N,3,8,8", {"x": (3, 8)}, "--input 3x8: .*'x' is 3x8x8"),
        ("N,3,8,8", {"y": (3, 8, 8)}, "--input y=...: .* takes x"),
    ],
)
def test_sizes_that_do_not_fit(tmp_path: Path, shape: str, option: InputShape | None, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        open_source(shaped(tmp_path / "m.onnx", shape), ExportOptions(input_shape=option))


def test_two_inputs(tmp_path: Path) -> None:
    file = write(tmp_path / "m.onnx", "net (float[B,3] a, float16[B,3] b) => (float16[B,3] y) "
                 "{ c = Cast <to=10> (a)  y = Add (c, b) }")  # fmt: skip
    source = open_source(file, NONE)
    assert source.inputs == (TensorSpec("a", "float32", ("N", 3)), TensorSpec("b", "float16", ("N", 3)))


@pytest.mark.parametrize("sizes", [[-1, 3, 8, 8], [None, 3, None, None], [0, 3, 8, -1]])
def test_open_sizes_of_any_spelling(tmp_path: Path, sizes: list[int | None]) -> None:
    file = write(tmp_path / "m.onnx", "net (float[N,3,8,8] x) => (float[N,K] y) { y = Flatten (x) }")
    model = onnx.load(file)
    model.graph.input[0].CopyFrom(onnx.helper.make_tensor_value_info("x", 1, sizes))
    onnx.save(model, file)
    source = open_source(file, ExportOptions(input_shape=(3, 8, 8)))
    assert source.inputs == (TensorSpec("x", "float32", ("N", 3, 8, 8)),)
    assert str(source.graph.graph.outputs[0].shape) == "[N,192]"


def test_shapes_of_outputs_are_measured_not_declared(tmp_path: Path) -> None:
    file = write(tmp_path / "m.onnx", "net (float[N,3,8,8] x) => (float[N,7] y) { y = Flatten (x) }")
    assert str(open_source(file, NONE).graph.graph.outputs[0].shape) == "[N,192]"


def test_nodes_out_of_order(tmp_path: Path) -> None:
    file = write(tmp_path / "m.onnx", "net (float[N,3] x) => (float[N,3] y) { a = Relu (x)  y = Neg (a) }")
    model = onnx.load(file)
    model.graph.node.append(model.graph.node.pop(0))
    onnx.save(model, file)
    assert [node.op_type for node in open_source(file, NONE).graph.graph] == ["Relu", "Neg"]


def test_inputs_of_several_batches_are_refused(tmp_path: Path) -> None:
    file = write(tmp_path / "m.onnx", "net (float[2,3] a, float[4,3] b) => (float[6,3] y) "
                 "{ y = Concat <axis=0> (a, b) }")  # fmt: skip
    with pytest.raises(UsageError, match="different batch sizes: a 2, b 4; expected one for all"):
        open_source(file, NONE)


def test_weights_that_old_files_list_as_inputs_are_constants(tmp_path: Path) -> None:
    body = "net (float[N,2] x, float[2] w = {1.0, 2.0}) => (float[N,2] y) { y = Mul (x, w) }"
    old = open_source(write(tmp_path / "old.onnx", body, 17, ir_version=3), NONE)
    new = open_source(write(tmp_path / "new.onnx", body), NONE)
    for source in (old, new):
        assert [spec.name for spec in source.inputs] == ["x"]
        assert "w" in source.graph.graph.initializers
    assert new.notes == ("inputs with a default became constants: w",)


def test_weights_beside_the_file(tmp_path: Path, foreign_onnx: Path) -> None:
    file = tmp_path / "big.onnx"
    model = onnx.load(foreign_onnx)
    onnx.save(model, file, save_as_external_data=True, location="big.data", size_threshold=0)
    source = open_source(file, NONE)
    weight = source.graph.graph.initializers["weight"].const_value.numpy()
    np.testing.assert_array_equal(
        weight, onnx.numpy_helper.to_array(model.graph.initializer[0], str(tmp_path))
    )
    data = tmp_path / "big.data"
    whole = data.read_bytes()
    data.write_bytes(whole[:50])
    with pytest.raises(ArtifactCorrupt, match=r"'weight' ends at byte 192 of big\.data, which has 50 bytes"):
        open_source(file, NONE)
    data.unlink()
    with pytest.raises(ArtifactCorrupt, match=r"'weight' is in .*big\.data: No such file .*Copy that file"):
        open_source(file, NONE)
    (tmp_path / "elsewhere").write_bytes(whole)
    for link in (os.symlink, os.link):
        link(tmp_path / "elsewhere", data)
        with pytest.raises(ArtifactCorrupt, match=r"big\.data, a \w+ link"):
            open_source(file, NONE)
        data.unlink()


@pytest.mark.parametrize("location", ["../secret", "/etc/hostname"])
def test_weights_elsewhere_are_refused(tmp_path: Path, foreign_onnx: Path, location: str) -> None:
    model = onnx.load(foreign_onnx)
    tensor = model.graph.initializer[0]
    onnx.external_data_helper.set_external_data(tensor, location)
    tensor.ClearField("raw_data")
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ArtifactCorrupt, match=f"'weight' is in '{location}', outside of the model's folder"):
        open_source(tmp_path / "m.onnx", NONE)


@pytest.mark.parametrize("damage", ["empty", "half", "text"])
def test_a_damaged_file_is_one_line(foreign_onnx: Path, damage: str) -> None:
    whole = foreign_onnx.read_bytes()
    foreign_onnx.write_bytes({"empty": b"", "half": whole[: len(whole) // 2], "text": b"hello" * 100}[damage])
    with pytest.raises(ArtifactCorrupt, match=r"foreign\.onnx: not a valid ONNX file, or damaged") as caught:
        open_source(foreign_onnx, NONE)
    assert "\n" not in str(caught.value)


def test_what_onnxruntime_can_not_run_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "m.onnx"
    body = "net (float[N,3] x) => (float[N,3] y) { y = Relu (x) }"
    write(file, body, opset=99)
    with pytest.raises((UnsupportedArtifact, ArtifactCorrupt), match=r"m\.onnx"):
        open_source(file, NONE)


def test_an_artifact_is_refused(tiny_onnx: Path) -> None:
    with pytest.raises(UsageError, match=r"already an artifact; check it with cnntk verify .*tiny\.onnx"):
        open_source(tiny_onnx, NONE)


def test_weights_options_are_refused(foreign_onnx: Path) -> None:
    with pytest.raises(UsageError, match="contains its weights: leave out --weights"):
        open_source(foreign_onnx, ExportOptions(random=True))


def test_text_is_no_input(tmp_path: Path) -> None:
    body = "net (string[N] x) => (int64[1] y) { y = Shape (x) }"
    with pytest.raises(UsageError, match="'x' is not a tensor of numbers"):
        open_source(write(tmp_path / "m.onnx", body), NONE)


def test_inputs_give_way_to_the_names_of_outputs(tmp_path: Path) -> None:
    body = "net (float[N,3] logits) => (float[N,3] y) { y = Relu (logits) }"
    source = open_source(write(tmp_path / "m.onnx", body), NONE)
    assert source.inputs[0].name == source.original_graph.graph.inputs[0].name == "logits_input"
    assert source.notes == ("inputs are renamed, because outputs get their names: logits_input",)


def test_a_fixed_batch_that_an_output_lacks_is_refused(tmp_path: Path) -> None:
    body = "net (float[1,3,1,1] x) => (float[3] y) { y = Squeeze (x) }"
    with pytest.raises(UsageError, match=r"the output 'y' has shape \[3\], expected the fixed batch of 1 in"):
        open_source(write(tmp_path / "m.onnx", body), NONE)
