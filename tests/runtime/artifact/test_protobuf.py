from pathlib import Path

import onnx
import pytest

from cnntk.runtime.artifact.protobuf import file_bytes, parse_model
from cnntk.runtime.errors import ArtifactCorrupt


def test_reads_what_onnx_reads(sealed_onnx: Path) -> None:
    parsed, model = parse_model(file_bytes(sealed_onnx), "m"), onnx.load(sealed_onnx)
    assert {n: bytes(w) for n, w in parsed.weights.items()} == {
        w.name: w.raw_data for w in model.graph.initializer
    }
    assert [(n.op, n.inputs) for n in parsed.nodes] == [(n.op_type, tuple(n.input)) for n in model.graph.node]
    assert parsed.metadata == {p.key: p.value for p in model.metadata_props}
    del model.graph.initializer[:]
    assert b"".join(parsed.structure) == model.graph.SerializeToString()


def test_values_outside_raw_data_give_the_whole_tensor() -> None:
    tensor = onnx.helper.make_tensor("w", onnx.TensorProto.FLOAT, [2], [1.0, 2.0])
    graph = onnx.helper.make_graph([], "g", [], [], [tensor])
    data = onnx.helper.make_model(graph).SerializeToString()
    assert bytes(parse_model(memoryview(data), "m").weights["w"]) == tensor.SerializeToString()


def test_damage_is_one_error(sealed_onnx: Path) -> None:
    data = sealed_onnx.read_bytes()
    refused = set()
    for at in range(len(data)):
        for mask in (0x01, 0x80, 0xFF):
            try:
                parse_model(memoryview(data[:at] + bytes((data[at] ^ mask,)) + data[at + 1 :]), "m.onnx")
            except ArtifactCorrupt as error:
                refused.add(str(error)[:41])
    assert refused == {"m.onnx: not a valid ONNX file, or damaged"}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid", r"a Git LFS pointer, .*git lfs pull"),
        (b"\n<!DOCTYPE html><html>", "a web page. Download the file itself"),
        (b"PK\x03\x04\x14\x00", "a ZIP archive, as torch.save writes"),
        (b"\x89HDF\r\n", "an HDF5 file"),
        (b"not a model", "a text file"),
        (b"\x08\x08:\xff\x10abc", "its end is missing .*Download or copy it again"),
        (b"\xff" * 20, "Download or copy it again"),
    ],
)
def test_what_a_file_is_instead(data: bytes, message: str) -> None:
    with pytest.raises(ArtifactCorrupt, match=rf"^m\.onnx: not a valid ONNX file, or damaged: .*{message}"):
        parse_model(memoryview(data), "m.onnx")


@pytest.mark.parametrize("data", [b"\xff" * 20, b"\x0a", b"\x0a\x05ab", b"\x0b"])
def test_no_protobuf(data: bytes) -> None:
    with pytest.raises(ArtifactCorrupt):
        parse_model(memoryview(data), "m")


def test_zeros_are_no_fields() -> None:
    """As in a sparse file, where they would be read for hours."""
    with pytest.raises(ArtifactCorrupt, match="a field without a number at byte 0"):
        parse_model(bytes(1000), "m")


def test_an_empty_file_holds_nothing(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert parse_model(file_bytes(tmp_path / "empty"), "m").weights == {}
