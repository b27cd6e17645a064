"""External weights are found anywhere in the model, and read only from the model's folder."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import onnxruntime
import pytest
from onnx import TensorProto, helper
from onnx.external_data_helper import set_external_data
from spec_mutations import sealed, split_spec

from cnntk.runtime.artifact import external
from cnntk.runtime.artifact.external import (
    check_external_tensors,
    find_external_tensors,
    read_external_weights,
)
from cnntk.runtime.artifact.protobuf import encode_message
from cnntk.runtime.artifact.spec import DataFile, ModelSpec
from cnntk.runtime.engine import Engine
from cnntk.runtime.errors import ArtifactCorrupt, UsageError
from cnntk.verification.artifact import Verification, verify

BATCH = np.random.default_rng(0).random((2, 1, 4, 4), dtype=np.float32)
IMAGES = np.random.default_rng(0).random((2, 3, 8, 8), dtype=np.float32)
IS_ARTIFACT = pytest.mark.parametrize("is_artifact", [False, True], ids=["foreign", "artifact"])


def elsewhere(location: str = "w.data", name: str = "hidden", **more: int) -> TensorProto:
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[3])
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **more}.items():
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def split(model: Path, location: str, **more: int) -> bytes:
    """Moves the weight of ``model`` to an external file; returns its bytes."""
    proto = onnx.load(model)
    tensor = proto.graph.initializer[0]
    data = tensor.raw_data
    set_external_data(tensor, location, **more)
    tensor.ClearField("raw_data")
    model.write_bytes(proto.SerializeToString())
    return data


def graph_of(node: onnx.NodeProto) -> onnx.GraphProto:
    return helper.make_graph([node], "g", [], [helper.make_tensor_value_info("y", 1, [3])])


def constant(tensor: TensorProto) -> onnx.NodeProto:
    return helper.make_node("Constant", [], ["y"], value=tensor)


def in_initializer(t: TensorProto) -> onnx.ModelProto:
    model = helper.make_model(graph_of(helper.make_node("Identity", ["hidden"], ["y"])))
    model.graph.initializer.append(t)
    return model


def in_attribute(t: TensorProto) -> onnx.ModelProto:
    return helper.make_model(graph_of(constant(t)))


def in_attribute_of_many(t: TensorProto) -> onnx.ModelProto:
    node = helper.make_node("Any", [], ["y"])
    node.attribute.append(helper.make_attribute("all", [t]))
    return helper.make_model(graph_of(node))


def in_branch(t: TensorProto) -> onnx.ModelProto:
    inner = graph_of(constant(t))
    node = helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=graph_of(constant(t)))
    return helper.make_model(graph_of(node))


def in_function(t: TensorProto) -> onnx.ModelProto:
    model = helper.make_model(graph_of(helper.make_node("F", [], ["y"], domain="d")))
    function = helper.make_function("d", "F", [], ["y"], [constant(t)], [helper.make_opsetid("", 18)])
    model.functions.append(function)
    return model


def in_sparse_initializer(t: TensorProto) -> onnx.ModelProto:
    model = in_attribute(TensorProto(name="plain"))
    model.graph.sparse_initializer.append(onnx.SparseTensorProto(values=t, dims=[9]))
    return model


def in_sparse_attribute(t: TensorProto) -> onnx.ModelProto:
    node = onnx.NodeProto(op_type="Constant", output=["y"])
    node.attribute.append(
        onnx.AttributeProto(name="sparse_value", type=11, sparse_tensor=onnx.SparseTensorProto(indices=t))
    )
    return helper.make_model(graph_of(node))


def in_training(t: TensorProto) -> onnx.ModelProto:
    model = in_attribute(TensorProto(name="plain"))
    model.training_info.add().algorithm.CopyFrom(graph_of(constant(t)))
    return model


def without_location_bit(t: TensorProto) -> onnx.ModelProto:
    t.ClearField("data_location")
    return in_initializer(t)


@pytest.mark.parametrize(
    "build",
    [
        in_initializer,
        in_attribute,
        in_attribute_of_many,
        in_branch,
        in_function,
        in_sparse_initializer,
        in_sparse_attribute,
        in_training,
        without_location_bit,
    ],
)
def test_external_tensors_anywhere_in_the_model(
    build: Callable[[TensorProto], onnx.ModelProto], tmp_path: Path
) -> None:
    data = build(elsewhere("../secret", offset=64, length=12)).SerializeToString()
    places = find_external_tensors(data, "m.onnx")
    assert {(p.name, p.locations) for p in places} == {("hidden", ("../secret",))}
    assert places[0].numbers == {"offset": "64", "length": "12"}
    (tmp_path / "m.onnx").write_bytes(data)
    assert find_external_tensors(str(tmp_path / "m.onnx"), "m.onnx") == places
    with pytest.raises(ArtifactCorrupt, match=r"'hidden' is in '\.\./secret', outside of the model's folder"):
        Engine(tmp_path / "m.onnx")
    inside = TensorProto(name="hidden", data_type=1, dims=[3], raw_data=b"location" * 2)
    assert find_external_tensors(build(inside).SerializeToString(), "m.onnx") == ()


def test_a_graph_that_stands_twice_is_read_twice() -> None:
    """Protobuf joins what stands twice, so looking at one of them is not enough."""
    data = in_attribute(TensorProto(name="plain")).SerializeToString()
    more = onnx.ModelProto(graph=in_initializer(elsewhere()).graph).SerializeToString()
    assert [p.name for p in find_external_tensors(data + more, "m")] == ["hidden"]


def test_a_tag_of_five_bytes_is_read_as_protobuf_does() -> None:
    data = in_initializer(elsewhere()).SerializeToString()
    at = data.index(bytes([7 << 3 | 2]) + data[data.index(b":") + 1 :][:1])
    odd = data[:at] + bytes([0x80 | 7 << 3 | 2, 0x80, 0x80, 0x80, 0x10]) + data[at + 1 :]
    assert [p.name for p in find_external_tensors(odd, "m")] == ["hidden"]


@pytest.mark.parametrize("folder", ["", "weights/"])
def test_files_in_the_folder_are_read(foreign_onnx: Path, folder: str) -> None:
    expected = Engine(foreign_onnx).run({"input": BATCH})["logits"]
    (foreign_onnx.parent / "weights").mkdir()
    data = split(foreign_onnx, f"{folder}w.data", offset=4096, length=192)
    (foreign_onnx.parent / f"{folder}w.data").write_bytes(bytes(4096) + data)
    assert np.array_equal(Engine(foreign_onnx).run({"input": BATCH})["logits"], expected)
    (tensor,) = find_external_tensors(str(foreign_onnx), "m")
    assert bytes(read_external_weights([tensor], foreign_onnx.parent)["weight"]) == data


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("../w.data", "outside of the model's folder"),
        ("weights/../../w.data", "outside"),
        ("..", "outside"),
        ("..\\w.data", "outside"),
        ("/etc/hostname", "outside"),
        ("\\\\server\\w.data", "outside"),
        ("C:w.data", "outside"),
        (".", "outside"),
        ("*/_ORT_MEM_ADDR_/*", "memory address"),
        ("w.data\0/x", "memory address"),
        ("missing.data", r"No such file or directory\. Copy that file, too"),
        ("weights", "not a regular file"),
        ("pipe", "not a regular file"),
        ("foreign.onnx/w.data", "Not a directory"),
    ],
)
def test_other_locations_are_refused(foreign_onnx: Path, location: str, reason: str) -> None:
    (foreign_onnx.parent / "weights").mkdir()
    os.mkfifo(foreign_onnx.parent / "pipe")
    split(foreign_onnx, location)
    with pytest.raises(ArtifactCorrupt, match=rf"^\S+foreign\.onnx: tensor 'weight' .*{reason}"):
        Engine(foreign_onnx)


def test_a_hard_link_is_refused_which_onnxruntime_follows(foreign_onnx: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret" / "key"
    secret.parent.mkdir()
    secret.write_bytes(split(foreign_onnx, "w.data"))
    os.link(secret, tmp_path / "w.data")
    onnxruntime.InferenceSession(foreign_onnx, providers=["CPUExecutionProvider"])
    with pytest.raises(ArtifactCorrupt, match=r"w\.data, a hard link \(2 names for one file\); replace"):
        Engine(foreign_onnx)
    secret.unlink()
    Engine(foreign_onnx)


@pytest.mark.parametrize("linked", ["file", "folder"])
def test_symbolic_links_are_refused(foreign_onnx: Path, tmp_path: Path, linked: str) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "w.data").write_bytes(split(foreign_onnx, "link/w.data"))
    if linked == "folder":
        (tmp_path / "link").symlink_to("real")
    else:
        (tmp_path / "link").mkdir()
        (tmp_path / "link" / "w.data").symlink_to("../real/w.data")
    with pytest.raises(ArtifactCorrupt, match=r"'weight' is in .*link.*, a symbolic link"):
        Engine(foreign_onnx)


def test_the_folder_itself_may_be_a_link(pair: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(pair.parent)
    assert Engine(tmp_path / "link" / pair.name).self_test().holds


def stored(pair: Path, folder: Path) -> dict[str, Path]:
    """The files of an artifact, by name, as a cache stores them: under the hash of their content."""
    folder.mkdir()
    files = {}
    for file in (pair, pair.parent / Engine(pair).spec.data.file):
        files[file.name] = folder / hashlib.sha256(file.read_bytes()).hexdigest()
        shutil.copy(file, files[file.name])
    return files


@pytest.mark.parametrize("layout", ["hard links", "snapshot", "folder of a snapshot", "mounted volume"])
def test_an_artifact_may_be_installed_as_links(pair: Path, tmp_path: Path, layout: str) -> None:
    """As uv, the cache of Hugging Face and Kubernetes do it."""
    blobs = stored(pair, tmp_path / "blobs")
    folder = tmp_path / "snapshots" / "c0ffee" / ("sub" if layout.startswith("folder") else "")
    folder.mkdir(parents=True)
    if layout == "mounted volume":
        (folder / "..1").mkdir()
        (folder / "..data").symlink_to("..1")
    for name, blob in blobs.items():
        if layout == "hard links":
            os.link(blob, folder / name)
        elif layout == "mounted volume":
            shutil.copy(blob, folder / "..1" / name)
            (folder / name).symlink_to(f"..data/{name}")
        else:
            (folder / name).symlink_to(os.path.relpath(blob, folder))
    assert Engine(folder / pair.name).self_test().holds
    assert verify(folder / pair.name).holds


@pytest.mark.parametrize("kind", ["link", "link to a folder", "circle", "pipe", "folder", "sparse"])
def test_data_that_is_no_file_beside_the_artifact_is_not_opened(
    pair: Path, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A link out of the folder is refused although the hash there is right: an attacker states it."""
    monkeypatch.setattr(external, "sha256_of", lambda *_: pytest.fail("opened"))
    data = pair.parent / ModelSpec.from_json(final_spec(pair), "m").data.file
    (tmp_path / "elsewhere").mkdir()
    data.rename(tmp_path / "elsewhere" / "secret")
    if kind == "pipe":
        os.mkfifo(data)
    elif kind == "folder":
        data.mkdir()
    elif kind == "sparse":
        with data.open("wb") as file:
            file.truncate(50 << 30)
    else:
        targets = {"link": "elsewhere/secret", "link to a folder": "elsewhere", "circle": data.name}
        data.symlink_to(targets[kind])
    for load in (Engine, lambda file: raise_damage(verify(file))):
        with pytest.raises(ArtifactCorrupt, match=data.name):
            load(pair)


def raise_damage(result: Verification) -> None:
    if result.damage is not None:
        raise ArtifactCorrupt(result.damage)


def final_spec(artifact: Path) -> bytes:
    data = artifact.read_bytes()
    return data[data.rindex(b'{"spec"') :]


def test_data_that_no_tensor_uses_is_not_opened(sealed_onnx: Path) -> None:
    prefix, spec = split_spec(sealed_onnx.read_bytes())
    os.mkfifo(sealed_onnx.with_name("pipe"))
    text = {**spec, "data": {"file": "pipe", "size_bytes": 7, "sha256": "0" * 64}, "digest": "0" * 64}
    sealed_onnx.write_bytes(sealed(prefix, json.dumps(text).encode()))
    with pytest.raises(ArtifactCorrupt, match="names the external weights pipe, but no tensor is in there"):
        Engine(sealed_onnx)


def nested_graphs(depth: int) -> bytes:
    """Graphs in attributes in nodes in graphs, with a tensor outside the file in the innermost one."""
    tensor = encode_message((5, elsewhere().SerializeToString()))
    for _ in range(depth):
        tensor = encode_message((1, encode_message((5, encode_message((6, tensor))))))
    return encode_message((7, tensor))


def test_graphs_may_be_nested_as_deep_as_protobuf_reads_them() -> None:
    assert [t.name for t in find_external_tensors(nested_graphs(32), "m")] == ["hidden"]
    with pytest.raises(ArtifactCorrupt, match="nested deeper than 100"):
        find_external_tensors(nested_graphs(2000), "m")


@pytest.mark.parametrize(
    ("numbers", "reason"),
    [
        ({"offset": -1}, "has the offset '-1'"),
        ({"length": -192}, "has the length '-192'"),
        ({"offset": 2**64}, "has the offset '18446744073709551616'"),
        ({"offset": 1, "length": 192}, r"ends at byte 193 of w\.data, which has 192 bytes"),
        ({"offset": 2**63 - 1, "length": 2**63 - 1}, "ends at byte 18446744073709551614"),
        ({"length": 9_000_000_000}, "ends at byte 9000000000"),
        ({"offset": 193}, "ends at byte 193"),
    ],
)
def test_what_is_not_in_the_file(foreign_onnx: Path, numbers: dict[str, int], reason: str) -> None:
    proto = onnx.load(foreign_onnx)
    tensor = proto.graph.initializer[0]
    (foreign_onnx.parent / "w.data").write_bytes(tensor.raw_data)
    hidden = elsewhere("w.data", **numbers)
    tensor.external_data.extend(hidden.external_data)
    tensor.data_location = TensorProto.EXTERNAL
    tensor.ClearField("raw_data")
    foreign_onnx.write_bytes(proto.SerializeToString())
    with pytest.raises(ArtifactCorrupt, match=f"'weight' {reason}"):
        Engine(foreign_onnx)


def test_a_short_file_without_stated_length(foreign_onnx: Path) -> None:
    data = split(foreign_onnx, "w.data")
    (foreign_onnx.parent / "w.data").write_bytes(data[:-1])
    with pytest.raises(ArtifactCorrupt, match=r"foreign\.onnx: onnxruntime rejects it"):
        Engine(foreign_onnx)


@IS_ARTIFACT
def test_bytes_need_their_path(foreign_onnx: Path, pair: Path, is_artifact: bool) -> None:
    data = split(foreign_onnx, "w.data")
    (foreign_onnx.parent / "w.data").write_bytes(data)
    model = pair if is_artifact else foreign_onnx
    Engine(model)
    with pytest.raises(UsageError, match=r"<bytes>: has external weights in w\S+, .*pass its path"):
        Engine(model.read_bytes())


def test_an_artifact_has_one_file_and_no_other(pair: Path) -> None:
    (tensor,) = find_external_tensors(str(pair), "m")
    data_file = Engine(pair).spec.data
    check_external_tensors([tensor], pair, data_file, has_digest=True)
    for other in (None, DataFile("other.data", data_file.size_bytes, data_file.sha256)):
        with pytest.raises(
            ArtifactCorrupt, match=rf"'fc.weight' is in '{data_file.file}', but the spec names"
        ):
            check_external_tensors([tensor], pair, other, has_digest=True)


def test_every_changed_byte_of_the_data_is_detected(pair: Path) -> None:
    expected = Engine(pair).run({"input": IMAGES})["logits"]
    data = pair.parent / Engine(pair).spec.data.file
    whole = data.read_bytes()
    assert len(whole) == 96 << 10
    for at in range(0, len(whole), 499):
        data.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(ArtifactCorrupt, match=rf"{data.name}: is damaged or belongs to another model"):
            Engine(pair)
    data.write_bytes(whole)
    assert np.array_equal(Engine(pair).run({"input": IMAGES})["logits"], expected)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda d: d[:-1], "ends at byte 98304"),
        (lambda d: d + b"\0", "has 98305 bytes"),
        (None, "No such file"),
    ],
    ids=["short", "long", "missing"],
)
def test_data_of_another_size(pair: Path, change: Callable[[bytes], bytes] | None, reason: str) -> None:
    data = pair.parent / Engine(pair).spec.data.file
    if change is None:
        data.unlink()
    else:
        data.write_bytes(change(data.read_bytes()))
    with pytest.raises(ArtifactCorrupt, match=reason):
        Engine(pair)


def test_a_pair_may_be_moved(pair: Path, tmp_path: Path) -> None:
    expected = Engine(pair).run({"input": IMAGES})["logits"]
    (tmp_path / "there").mkdir()
    data = pair.parent / Engine(pair).spec.data.file
    pair.rename(tmp_path / "there" / "renamed.onnx")
    data.rename(tmp_path / "there" / data.name)
    engine = Engine(tmp_path / "there" / "renamed.onnx")
    assert np.array_equal(engine.run({"input": IMAGES})["logits"], expected)
