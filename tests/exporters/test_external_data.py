"""A pair of files, whole at any moment."""

import hashlib
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import onnx_ir as ir
import psutil
import pytest
from torch import nn

from cnntk.exporters import export
from cnntk.exporters import external_data as writing
from cnntk.exporters.artifact import append_spec, write_hashed
from cnntk.exporters.external_data import ALIGNMENT, staged_artifact
from cnntk.runtime.artifact.spec import ModelSpec, TensorSpec
from cnntk.runtime.codec import as_json
from cnntk.runtime.engine import Engine
from cnntk.runtime.errors import ExportCheckError, UsageError
from cnntk.runtime.files import atomic_write
from cnntk.verification.artifact import verify

TEXT = """<ir_version: 10, opset_import: ["": 18]>
g (float[N, 256] x) => (float[N, 100] logits)
<float[256, 100] weight, float[100] bias, float[100, 200] second, float[200, 100] third>
{ a = Gemm (x, weight, bias)  b = Gemm (a, second)  logits = Gemm (b, third) }"""
SPEC = ModelSpec("m", ("a",) * 100, (TensorSpec("x", "float32", ("N", 256)),))
X = np.random.default_rng(0).random((3, 256), dtype=np.float32)


def model_of(seed: int) -> ir.Model:
    rng = np.random.default_rng(seed)
    model = onnx.parser.parse_model(TEXT)
    shapes = {"weight": (256, 100), "bias": (100,), "second": (100, 200), "third": (200, 100)}
    for name, shape in shapes.items():
        array = rng.standard_normal(shape).astype(np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    return ir.from_proto(model)


def write(seed: int, target: Path, *, required: bool = True) -> None:
    """As an export does."""
    model = model_of(seed)
    with staged_artifact(model, target, required=required) as (temporary, beside):
        written = write_hashed(model, temporary, beside)
        Engine(temporary)
        append_spec(temporary, SPEC, written)


def answers(target: Path) -> bytes:
    return Engine(target).run({"x": X})["logits"].tobytes()


def names(folder: Path) -> list[str]:
    return sorted(f.name for f in folder.iterdir())


def in_a_child(work: Callable[[], None]) -> int:
    """The status with which a child made by fork ends."""
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_both_files(tmp_path: Path) -> None:
    target, whole = tmp_path / "m.onnx", tmp_path / "whole.onnx"
    write(0, target)
    write(0, whole, required=False)
    assert answers(target) == answers(whole)
    engine = Engine(target)
    data = engine.spec.data
    assert data.file == f"m.{data.sha256[:8]}.data"
    assert names(tmp_path) == sorted(["m.onnx", data.file, "whole.onnx"])
    assert data.size_bytes == (tmp_path / data.file).stat().st_size
    assert engine.spec.fingerprints == Engine(whole).spec.fingerprints
    assert Engine(whole).spec.data is None
    tensors = {t.name: t for t in onnx.load(target, load_external_data=False).graph.initializer}
    assert not tensors["bias"].external_data
    for name in ("weight", "second", "third"):
        location = {e.key: e.value for e in tensors[name].external_data}
        assert location["location"] == data.file
        assert int(location["offset"]) % ALIGNMENT == 0
    onnx.checker.check_model(target, full_check=True)
    loaded = {t.name: onnx.numpy_helper.to_array(t) for t in onnx.load(target).graph.initializer}
    for name, value in model_of(0).graph.initializers.items():
        np.testing.assert_array_equal(loaded[name], value.const_value.numpy())


def test_the_same_weights_give_the_same_bytes(tmp_path: Path) -> None:
    write(0, tmp_path / "m.onnx")
    before = {f.name: f.read_bytes() for f in tmp_path.iterdir()}
    write(0, tmp_path / "m.onnx")
    assert {f.name: f.read_bytes() for f in tmp_path.iterdir()} == before


def test_an_older_pair_is_replaced(tmp_path: Path) -> None:
    target = tmp_path / "m.onnx"
    (tmp_path / "m.other.data").write_bytes(b"somebody's own")
    write(0, target)
    old = Engine(target).spec.data.file
    first = answers(target)
    write(1, target)
    new = Engine(target).spec.data.file
    assert names(tmp_path) == sorted(["m.onnx", "m.other.data", new])
    assert new != old
    assert answers(target) != first
    write(0, target, required=False)
    assert names(tmp_path) == ["m.onnx", "m.other.data"]
    assert answers(target) == first


def test_data_of_another_name_is_not_removed(tmp_path: Path) -> None:
    write(0, tmp_path / "a.onnx")
    shutil.copy(tmp_path / "a.onnx", tmp_path / "b.onnx")
    expected = answers(tmp_path / "a.onnx")
    write(1, tmp_path / "b.onnx")
    assert answers(tmp_path / "a.onnx") == expected


def test_data_that_no_model_refers_to_is_removed(tmp_path: Path) -> None:
    target, copy, digest = tmp_path / "m.onnx", tmp_path / "copy.onnx", hashlib.sha256(b"old").hexdigest()[:8]
    write(0, target)
    used = Engine(target).spec.data.file
    shutil.copy(target, copy)
    abandoned, other = f"m.{digest}.data", "m.00000000.data"
    for name in (abandoned, other):
        (tmp_path / name).write_bytes(b"old")
    with suppress(KeyboardInterrupt), atomic_write(target):
        write(1, target)
        assert (tmp_path / abandoned).exists()  # it may be the other export's, which has not ended
        raise KeyboardInterrupt
    write(1, target)
    assert names(tmp_path) == sorted(["m.onnx", "copy.onnx", used, Engine(target).spec.data.file, other])
    assert answers(copy) != answers(target)


def test_a_data_file_needs_a_file_beside_it(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").symlink_to(tmp_path / "real.onnx")
    os.mkfifo(tmp_path / "pipe")
    for name in ("m.onnx", "pipe"):
        with pytest.raises(UsageError, match="has a data file, which must be beside a regular file"):
            write(0, tmp_path / name)
    write(0, tmp_path / "m.onnx", required=False)
    assert names(tmp_path) == ["m.onnx", "pipe", "real.onnx"]


@pytest.mark.parametrize("older", [False, True], ids=["new", "over an older pair"])
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("rename", [0, 1], ids=["data", "model"])
def test_killed_at_a_rename_it_leaves_a_whole_pair(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rename: int, when: str, older: bool
) -> None:
    target = tmp_path / "m.onnx"
    write(1, target)
    second = answers(target)
    if older:
        write(0, target)
    first = answers(target) if older else b""
    if not older:
        for file in tmp_path.iterdir():
            file.unlink()
    replace, count = os.replace, iter(range(9))

    def killed(source: str, to: str) -> None:
        last = next(count) == rename
        if last and when == "before":
            os._exit(9)
        replace(source, to)
        if last:
            os._exit(9)

    monkeypatch.setattr(os, "replace", killed)
    assert in_a_child(lambda: write(1, target)) == 9
    monkeypatch.undo()
    done = (rename, when) == (1, "after")
    assert target.exists() == (older or done)
    if target.exists():
        assert answers(target) == (second if done else first)
    write(1, target)
    assert answers(target) == second
    assert names(tmp_path) == sorted(["m.onnx", Engine(target).spec.data.file])


def interrupted(model: ir.Model, target: Path) -> None:
    with staged_artifact(model, target, required=True) as (_, beside):
        assert (target.parent / beside.data.file).exists()
        raise KeyboardInterrupt


@pytest.mark.parametrize("older", [False, True], ids=["new", "over an older pair"])
def test_a_failure_leaves_what_was_there(tmp_path: Path, older: bool) -> None:
    target = tmp_path / "m.onnx"
    if older:
        write(0, target)
    before = {f.name: f.read_bytes() for f in tmp_path.iterdir()}
    for seed in (0, 1):
        with pytest.raises(KeyboardInterrupt):
            interrupted(model_of(seed), target)
        assert {f.name: f.read_bytes() for f in tmp_path.iterdir()} == before


def test_what_is_too_large_goes_beside_unasked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "MAX_INTERNAL_BYTES", 200_000)
    write(0, tmp_path / "m.onnx", required=False)
    assert Engine(tmp_path / "m.onnx").spec.data is not None


def test_a_name_that_is_not_valid_unicode(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not valid Unicode"):
        write(0, tmp_path / os.fsdecode(b"m\xff.onnx"))
    assert names(tmp_path) == []


@pytest.fixture
def wide() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 96)).eval()


def test_an_export(wide: nn.Module, tmp_path: Path) -> None:
    target = tmp_path / "wide.onnx"
    report = export(wide, target, input_shape=(3, 8, 8), external_data=True)
    assert names(tmp_path) == sorted(["wide.onnx", report.data.file])
    assert as_json(report)["data"]["file"] == report.data.file
    engine = Engine(target)
    assert engine.spec.data == report.data
    assert engine.self_test().holds


def test_an_export_that_fails_leaves_nothing(tmp_path: Path, as_factory: Callable[[str], str]) -> None:
    source = as_factory(
        "def make():\n    net = nn.Sequential(nn.Flatten(), nn.Linear(192, 96))\n"
        "    return nn.Sequential(net, Mask())\n\nclass Mask(nn.Module):\n"
        "    def forward(self, x):\n        return x + torch.rand_like(x)\n"
    )
    (tmp_path / "out").mkdir()
    with pytest.raises(ExportCheckError):
        export(source, tmp_path / "out" / "m.onnx", input_shape=(3, 8, 8), random=True, external_data=True)
    assert names(tmp_path / "out") == []


def test_small_weights_stay_inside(tmp_path: Path) -> None:
    small = nn.Sequential(nn.Flatten(), nn.Linear(192, 4)).eval()
    report = export(small, tmp_path / "s.onnx", input_shape=(3, 8, 8), external_data=True)
    assert report.data is None
    assert names(tmp_path) == ["s.onnx"]
    assert "no weight is as large as 64 KiB, so all of them are in the file" in report.notes


@pytest.mark.slow
@pytest.mark.skipif(psutil.virtual_memory().available < 12e9, reason="needs 12 GB of memory")
def test_more_than_2_gb(tmp_path: Path) -> None:
    between = [module for _ in range(8) for module in (nn.Linear(8192, 8192), nn.ReLU())]
    layers = (nn.Flatten(), nn.Linear(3072, 8192), nn.ReLU(), *between, nn.Linear(8192, 10))
    target = tmp_path / "huge.onnx"
    report = export(nn.Sequential(*layers).eval(), target, input_shape=(3, 32, 32), preprocess="none")
    assert report.data.size_bytes == (tmp_path / report.data.file).stat().st_size > 2**31
    assert target.stat().st_size < 1e6
    assert verify(target).holds
