"""Published flaws of reading ONNX files: their inputs are refused in one line wherever a model is opened.

Each input is written here, as small as it can be. Nothing outside the model's folder is read or written.
"""

import ast
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from source_tree import source_files

from cnntk.cli import main
from cnntk.runtime.engine import Engine
from cnntk.runtime.errors import CnntkError

SECRET = np.full(9, 7, np.float32).tobytes()
OPSETS = [helper.make_opsetid("", 18)]


def model(weight: TensorProto, *nodes: onnx.NodeProto, opset: int = 18) -> onnx.ModelProto:
    """(N, 3, 8, 8) to logits (N, 3), by a 1x1 convolution with ``weight``, then the nodes."""
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 3, 8, 8])
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 3])
    layers = [
        helper.make_node("Conv", ["image", "w"], ["c"]),
        helper.make_node("GlobalAveragePool", ["c"], ["p"]),
        helper.make_node("Flatten", ["p"], ["y"]),
    ]
    graph = helper.make_graph([*layers, *nodes], "g", [image], [output], [weight])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def plain() -> TensorProto:
    return numpy_helper.from_array(np.eye(3, dtype=np.float32).reshape(3, 3, 1, 1), "w")


def external(location: str, **keys: str) -> TensorProto:
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[3, 3, 1, 1])
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **keys}.items():
        tensor.external_data.add(key=key, value=value)
    return tensor


def short_raw_data() -> TensorProto:
    tensor = plain()
    tensor.raw_data = tensor.raw_data[:8]
    return tensor


def huge_dims() -> TensorProto:
    tensor = plain()
    del tensor.dims[:]
    tensor.dims.extend([2**62, 4, 1, 1])
    return tensor


def hard_link(folder: Path) -> TensorProto:
    os.link(folder.parent / "secret.bin", folder / "w.bin")
    return external("w.bin")


def symbolic_link(folder: Path) -> TensorProto:
    (folder / "w.bin").symlink_to(folder.parent / "secret.bin")
    return external("w.bin")


def linked_folder(folder: Path) -> TensorProto:
    (folder / "sub").symlink_to(folder.parent)
    return external("sub/secret.bin")


def nested(folder: Path, location: str) -> TensorProto:
    (folder / "sub").mkdir()
    return external(location)


def own_file(folder: Path, **keys: str) -> TensorProto:
    (folder / "w.bin").write_bytes(SECRET)
    return external("w.bin", **keys)


WEIGHTS: dict[str, Callable[[Path], TensorProto]] = {
    "CVE-2022-25882: a parent folder": lambda f: external("../secret.bin"),
    "CVE-2022-25882: an absolute path": lambda f: external(str(f.parent / "secret.bin")),
    "CVE-2024-27318: a folder and back": lambda f: nested(f, "sub/../../secret.bin"),
    "CVE-2024-27318: a dot first": lambda f: external("./../secret.bin"),
    "CVE-2024-27319: fewer bytes than the shape": lambda f: short_raw_data(),
    "CVE-2024-27319: a shape of 2^64 values": lambda f: huge_dims(),
    "CVE-2024-27319: an offset behind the end": lambda f: own_file(f, offset="1000000", length="36"),
    "CVE-2024-27319: a negative offset": lambda f: own_file(f, offset="-36"),
    "CVE-2024-27319: a length over 2^63": lambda f: own_file(f, length="9223372036854775808"),
    "CVE-2026-27489: a link": symbolic_link,
    "CVE-2026-34446: a hard link": hard_link,
    "CVE-2026-34447: a linked folder": linked_folder,
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "secret.bin").write_bytes(SECRET)
    (tmp_path / "images").mkdir()
    for number in range(4):
        Image.new("RGB", (8, 8), (60 * number, 9, 9)).save(tmp_path / "images" / f"{number}.png")
    folder = tmp_path / "models"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def refused(command: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    status = main(command)
    out, err = capfd.readouterr()
    assert (status in (1, 2), out) == (True, ""), (command, status, err)
    assert err.startswith("cnntk: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize("flaw", WEIGHTS)
def test_a_weight(flaw: str, folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (folder / "evil.onnx").write_bytes(model(WEIGHTS[flaw](folder)).SerializeToString())
    with pytest.raises(CnntkError):
        Engine("evil.onnx")
    for command in ("infer -m evil.onnx ../images", "export evil.onnx -o out.onnx", "inspect evil.onnx"):
        refused(command.split(), capfd)
    refused(["quantize", "evil.onnx", "--calibration", "folder:../images", "-o", "out.onnx"], capfd)
    assert not (folder / "out.onnx").exists()
    assert (folder.parent / "secret.bin").read_bytes() == SECRET


def test_the_same_weight_in_its_own_file(folder: Path) -> None:
    """The negative control."""
    (folder / "good.onnx").write_bytes(model(own_file(folder)).SerializeToString())
    assert Engine("good.onnx").run({"image": np.ones((1, 3, 8, 8), np.float32)})["y"].tolist() == [
        [21, 21, 21]
    ]
    assert main(["export", "good.onnx", "-o", "out.onnx"]) == 0


def test_saving_writes_nothing_that_the_model_names(folder: Path) -> None:
    """CVE-2025-51480: onnx.save_external_data overwrote the file that a tensor's location names."""
    weight = plain()
    weight.external_data.add(key="location", value="../secret.bin")
    (folder / "evil.onnx").write_bytes(model(weight).SerializeToString())
    main(["export", "evil.onnx", "-o", "out.onnx", "--external-data"])
    assert (folder.parent / "secret.bin").read_bytes() == SECRET


def test_keys_are_no_attributes(folder: Path) -> None:
    """CVE-2026-34445: each key became an attribute of an object."""
    weight = own_file(folder, basepath=str(folder.parent), __class__="os", length="36", offset="0")
    (folder / "evil.onnx").write_bytes(model(weight).SerializeToString())
    status = main(["export", "evil.onnx", "-o", "out.onnx"])
    assert (status == 0) is (folder / "out.onnx").exists()
    assert status in (0, 1, 2)


def test_nothing_is_downloaded_or_unpacked() -> None:
    """CVE-2024-5187, -7776, CVE-2026-28500: onnx.hub and archives of test data.

    CIFAR-10's archive is read member by member, in memory.
    """
    for file in source_files():
        for node in ast.walk(ast.parse(file.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
            module = node.module or "" if isinstance(node, ast.ImportFrom) else ""
            in_memory = file.name == "cifar.py"
            opened = {module, *names} - ({"tarfile"} if in_memory else set())
            assert not {"tarfile", "urllib.request", "onnx.hub", "onnx.utils"} & opened, file
            unpacking = ("hub", "extractall", "extract") if in_memory else ("hub", "extractall")
            assert not (isinstance(node, ast.Attribute) and node.attr in unpacking), file


CRASHES: dict[str, Callable[[], onnx.ModelProto]] = {
    # CVE-2026-44512 and its siblings: onnx converts versions with inputs and shapes that are not there.
    "Gemm of two inputs": lambda: model(plain(), helper.make_node("Gemm", ["y"], ["z"]), opset=6),
    "Upsample without scales": lambda: model(plain(), helper.make_node("Upsample", ["c"], ["z"]), opset=8),
    "Reshape without a shape": lambda: model(plain(), helper.make_node("Reshape", ["c"], ["z"]), opset=4),
    "Softmax of a value of no rank": lambda: model(
        plain(), helper.make_node("Softmax", [""], ["z"]), opset=12
    ),
    "BatchNormalization of one input": lambda: model(
        plain(), helper.make_node("BatchNormalization", ["c"], ["z"]), opset=8
    ),
    # onnx's issues 8255 and 8275: shape inference of Split counts outputs that are not there.
    "Split into many": lambda: model(
        plain(), helper.make_node("Split", ["c"], ["z"], axis=1, num_outputs=1000), opset=18
    ),
    "Split at an axis far away": lambda: model(
        plain(), helper.make_node("Split", ["c"], ["z", "z2"], axis=2**40, num_outputs=2), opset=18
    ),
}
SCRIPT = """
import sys
from cnntk.cli import main
for path in sys.argv[1:]:
    print(path, flush=True)
    for command in (["inspect", path], ["export", path, "-o", "out.onnx", "--force"]):
        status = main(command)
        assert status in (0, 1, 2), (command, status)
print("alive")
"""


def test_native_code_does_not_crash(folder: Path) -> None:
    paths = []
    for number, (name, make) in enumerate(CRASHES.items()):
        path = folder / f"{number} {name}.onnx"
        path.write_bytes(make().SerializeToString())
        paths.append(str(path))
    done = subprocess.run([sys.executable, "-c", SCRIPT, *paths], capture_output=True, text=True, timeout=300)
    assert done.stdout.endswith("alive\n"), (done.returncode, done.stdout[-300:], done.stderr[-600:])
    assert "internal error" not in done.stderr
