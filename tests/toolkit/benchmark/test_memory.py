import mmap
import os
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from cnntk.benchmark.memory import measure_in_process, measure_memory, read_status
from cnntk.benchmark.workload import Workload
from cnntk.runtime.errors import UsageError

MEGABYTE = 1 << 20
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells private and mapped memory")


@LINUX
def test_the_parts_add_up(tiny_onnx: Path) -> None:
    result = measure_memory(Workload(tiny_onnx, threads=1))
    resident = result.interpreter_bytes + result.runtime_bytes + result.model_bytes
    assert result.private_bytes + result.mapped_bytes == resident
    assert result.peak_bytes >= resident
    assert result.interpreter_bytes > 2 * MEGABYTE
    assert result.runtime_bytes > 2 * MEGABYTE
    assert (result.batch, result.source) == (1, "/proc/self/status")
    assert result.file_bytes == tiny_onnx.stat().st_size


@LINUX
def test_a_model_of_32_megabytes_adds_as_much(tiny_onnx: Path, tmp_path: Path) -> None:
    large = tmp_path / "large.onnx"
    onnx.save(_product(1024, 8192), large)
    more = (
        measure_memory(Workload(large, threads=1)).model_bytes
        - measure_memory(Workload(tiny_onnx, threads=1)).model_bytes
    )
    assert 30 * MEGABYTE < more < 100 * MEGABYTE


@LINUX
def test_what_onnxruntime_takes_for_any_model_is_not_the_models(tmp_path: Path) -> None:
    """Its first run, of any model, takes 10 MB."""
    copy = helper.make_node("Identity", ["x"], ["y"])
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy")
    file = tmp_path / "copy.onnx"
    graph = helper.make_graph([copy], "copy", [x], [y])
    onnx.save(helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 18)]), file)
    assert measure_memory(Workload(file, threads=1)).model_bytes < 2 * MEGABYTE


@LINUX
def test_a_larger_batch_takes_more(tmp_path: Path) -> None:
    file = tmp_path / "wide.onnx"
    onnx.save(_product(16, 65536), file)
    one, many = (measure_memory(Workload(file, threads=1, batch=batch)).model_bytes for batch in (1, 128))
    assert many - one > 30 * MEGABYTE  # of the 32 that the answers take


def test_weights_beside_the_file_are_counted(tmp_path: Path) -> None:
    file = tmp_path / "outside.onnx"
    onnx.save(
        _product(64, 4096), file, save_as_external_data=True, location="outside.data", size_threshold=1024
    )
    assert (
        measure_memory(Workload(file, threads=1)).file_bytes
        == sum(f.stat().st_size for f in tmp_path.iterdir())
        > MEGABYTE
    )


@LINUX
def test_pages_that_are_touched_are_reported() -> None:
    before = read_status()
    # A mapping of its own: malloc may hand out pages that the process touched and freed before.
    pages = mmap.mmap(-1, 64 * MEGABYTE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    pages.write(bytes([1]) * len(pages))
    after = read_status()
    assert after["private"] - before["private"] > 60 * MEGABYTE
    assert after["peak"] >= after["resident"]
    pages.close()


@pytest.mark.skipif(os.name != "posix", reason="getrusage is POSIX")
def test_elsewhere_peaks_stand_for_it(tiny_onnx: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cnntk.benchmark.memory._STATUS", Path("no such file"))
    result = measure_in_process(Workload(tiny_onnx, threads=1))
    assert result.source == "getrusage"
    assert result.private_bytes is result.mapped_bytes is None
    assert result.peak_bytes == result.interpreter_bytes + result.runtime_bytes + result.model_bytes


def test_wrong_use(batch_of_3: Path) -> None:
    with pytest.raises(UsageError, match="must be a positive number"):
        measure_memory(Workload(batch_of_3, batch=0))
    with pytest.raises(UsageError, match="fixed at 3, not 2"):
        measure_memory(Workload(batch_of_3, batch=2))


def _product(rows: int, columns: int) -> onnx.ModelProto:
    """(N, rows) times a matrix of ones."""
    weight = onnx.numpy_helper.from_array(np.ones((rows, columns), np.float32), "weight")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "weight"], ["y"])],
        "product",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", rows])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", columns])],
        [weight],
    )
    return helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 18)])
