from pathlib import Path

import onnx
import onnx.parser
import pytest

from cnntk.benchmark.cold_start import measure_cold_start, start_once
from cnntk.benchmark.workload import Workload
from cnntk.runtime.codec import as_json
from cnntk.runtime.errors import ArtifactCorrupt, UsageError


def test_each_part_takes_its_time(tiny_onnx: Path) -> None:
    result = measure_cold_start(Workload(tiny_onnx, threads=1), batches=(1, 8, 2, 8), processes=2)
    assert min(result.import_ms, result.session_ms, result.first_run_ms, result.steady_ms) > 0
    assert [batch for batch, _ in result.next_batches] == [8, 2]
    assert all(ms > 0 for _, ms in result.next_batches)
    assert result.total_ms == result.import_ms + result.session_ms + result.first_run_ms
    assert (result.batch, result.device, result.threads, result.processes) == (1, "cpu", 1, 2)
    assert as_json(result)["total_ms"] == result.total_ms


def test_a_fixed_batch_is_the_first(batch_of_3: Path) -> None:
    result = measure_cold_start(Workload(batch_of_3), processes=1)
    assert (result.batch, result.next_batches) == (3, ())


def test_other_batches_than_the_fixed_one_are_refused(batch_of_3: Path) -> None:
    with pytest.raises(UsageError, match="the batch size is fixed at 3, not 8"):
        measure_cold_start(Workload(batch_of_3), batches=(8,), processes=1)


def test_errors_come_from_the_process_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "no.onnx").write_bytes(b"nothing")
    with pytest.raises(ArtifactCorrupt, match=r"no\.onnx"):
        measure_cold_start(Workload(tmp_path / "no.onnx"), processes=1)


@pytest.mark.parametrize("wrong", [{"processes": 0}, {"batches": (0,)}])
def test_wrong_use(tiny_onnx: Path, wrong: dict) -> None:
    with pytest.raises(UsageError, match="must be positive"):
        measure_cold_start(Workload(tiny_onnx), **wrong)


def test_indices_are_zeros_in_a_process_that_ran_nothing_before(tmp_path: Path) -> None:
    text = "g (int64[N] at) => (float[N] y) <float[2] w = {0, 1}> { y = Gather (w, at) }"
    model = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : 18]>{text}')
    onnx.save(model, tmp_path / "indexes.onnx")
    assert start_once(Workload(tmp_path / "indexes.onnx", threads=1), [], zeros=False) is None
    result = measure_cold_start(Workload(tmp_path / "indexes.onnx"), batches=(1, 2), processes=2)
    assert result.first_run_ms > 0
    assert [batch for batch, _ in result.next_batches] == [2]
