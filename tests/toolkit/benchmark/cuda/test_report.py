import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from made_up_gpu import SAMPLE, HostStream, cuda_times, gpu

from cnntk.benchmark.cuda import report as cuda
from cnntk.benchmark.cuda.inside import Inside
from cnntk.benchmark.cuda.nvml import Gpu, GpuSample, Reader
from cnntk.benchmark.cuda.report import cuda_findings, measured
from cnntk.benchmark.statistics.intervals import Estimate
from cnntk.benchmark.statistics.samples import WarmUp
from cnntk.runtime.errors import DeviceUnavailable, UsageError
from cnntk.runtime.session.cuda import cuda_problem, cuda_state
from cnntk.runtime.session.devices import import_onnxruntime, resolve_device
from cnntk.shipped import shipped_model

NO_CUDA = cuda_problem(cuda_state(import_onnxruntime()))


class Power(Reader):
    """A GPU at the limit of its power."""

    def __init__(self) -> None:
        """It needs no NVML."""

    def sample(self) -> GpuSample:
        return replace(SAMPLE, reasons=("the limit of its power",))

    def gpu(self, before: GpuSample, during: tuple[GpuSample, ...], after: GpuSample) -> Gpu:
        return replace(gpu(), before=before, during=during, after=after)


def test_the_way_of_a_measurement(tiny_onnx: Path) -> None:
    """On the host, which stands for the device: what is left are the calls of CUDA and NVML themselves."""
    found = measured(tiny_onnx, resolve_device("cpu"), HostStream(), Power(), batch=4, seconds=0.3)
    assert found.runs >= 20
    assert found.batch == 4
    assert found.to_device.tensors == ("input",)
    assert found.to_device.bytes == 4 * 16 * 4
    assert found.to_host.tensors == ("logits", "probabilities")
    assert found.to_host.bytes == 2 * 4 * 3 * 4
    for estimate in (found.device_ms, found.host_ms, found.whole_ms, found.to_device.ms, found.to_host.ms):
        assert 0 <= estimate.low <= estimate.value <= estimate.high
    assert found.gpu is not None
    assert found.gpu.during
    assert any("the limit of its power" in text for text in found.findings)
    data = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert data["to_device"]["gb_per_s"] == pytest.approx(found.to_device.gb_per_s)
    assert data["gpu"]["model_bytes"] == 0
    described = (Path(__file__).parents[4] / "docs" / "bench-json.md").read_text()
    for name in (*data, *data["to_host"], *data["inside"], *data["gpu"], *data["gpu"]["before"]):
        assert f"`{name}`" in described, f"docs/bench-json.md leaves out {name}"


def test_without_nvml_the_times_are_there() -> None:
    found = measured(shipped_model(), resolve_device("cpu"), HostStream(), None, batch=1, seconds=0.05)
    assert found.gpu is None
    assert found.to_json()["gpu"] is None
    assert found.to_device.tensors == ("image",)


def test_copies_too_short_for_the_clock_have_no_rate() -> None:
    assert cuda_times().to_host.gb_per_s is None
    assert cuda_times().to_device.gb_per_s == pytest.approx(4_816_896 / 0.5e-3 / 1e9)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, ()),
        ({"host_ms": Estimate(0.24, 0.23, 0.25)}, ("the GPU waits for the host, which takes 0.24 ms",)),
        (
            {"host_ms": Estimate(0.24, 0.23, 0.25), "inside": Inside((), ("Memcpy",), ())},
            ("copies to the host within the graph: 1;",),
        ),
        ({"warm_up": WarmUp(9, 0.5, False, None, "never steady", 1.0)}, ("never steady",)),
        ({"gpu": gpu({"others": 1})}, ("other processes",)),
        ({"gpu": None}, ()),
    ],
    ids=["quiet", "waiting for the host", "waiting for the GPU", "not steady", "others", "no NVML"],
)
def test_findings(change: dict[str, Any], said: tuple[str, ...]) -> None:
    found = list(cuda_findings(cuda_times(**change)))
    assert len(found) == len(said)
    assert all(text.startswith(part) for text, part in zip(found, said, strict=True))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"device": "cpu"}, "device 'cpu': GPU times are measured on cuda, not on cpu"),
        ({"batch": 0}, "batch 0"),
        ({"seconds": math.inf}, "seconds inf"),
    ],
)
def test_what_makes_no_sense_is_told(tiny_onnx: Path, wrong: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        cuda.cuda_times(tiny_onnx, **wrong)


@pytest.mark.skipif(NO_CUDA is None, reason="there is a GPU")
def test_without_a_gpu_it_says_what_is_missing(tiny_onnx: Path) -> None:
    with pytest.raises(DeviceUnavailable, match="device 'cuda'"):
        cuda.cuda_times(tiny_onnx)


@pytest.mark.gpu
def test_on_the_gpu() -> None:
    found = cuda.cuda_times(shipped_model(), batch=8, seconds=0.5)
    assert found.device == "cuda:0"
    assert found.runs >= 20
    assert found.device_ms.value > 0
    assert 0 < found.host_ms.value <= found.whole_ms.value
    assert found.to_device.bytes == 8 * 28 * 28
    assert found.to_device.gb_per_s
    if found.gpu is not None:
        assert found.gpu.during
    json.dumps(found.to_json(), allow_nan=False)
