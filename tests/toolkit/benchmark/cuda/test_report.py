import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx.parser
import pytest
from numpy.typing import NDArray
from simulated_gpu import SAMPLE, HostStream, cuda_times, gpu

from cnntk.benchmark.cuda import report as cuda
from cnntk.benchmark.cuda.nvml import Gpu, GpuReader, GpuSample
from cnntk.benchmark.cuda.report import OffDeviceNodes, TimedBinding, cuda_findings, measure_in_stream
from cnntk.benchmark.statistics.intervals import Estimate
from cnntk.benchmark.statistics.samples import WarmUp
from cnntk.benchmark.workload import Workload
from cnntk.runtime import Engine
from cnntk.runtime.codec import as_json
from cnntk.runtime.errors import DeviceUnavailable, InferenceError, UsageError
from cnntk.runtime.session.cuda import cuda_problem, cuda_state
from cnntk.runtime.session.devices import import_onnxruntime, resolve_device
from cnntk.runtime.session.placement import run_profiled
from cnntk.runtime.session.session_factory import open_session
from cnntk.shipped import shipped_model

NO_CUDA = cuda_problem(cuda_state(import_onnxruntime()))


class Power(GpuReader):
    """A GPU at its power limit."""

    def __init__(self) -> None:
        """It needs no NVML."""

    def sample(self) -> GpuSample:
        return replace(SAMPLE, reasons=("its power limit",))

    def gpu(self, before: GpuSample, during: tuple[GpuSample, ...], after: GpuSample) -> Gpu:
        return replace(gpu(), before=before, during=during, after=after)


def test_the_way_of_a_measurement(tiny_onnx: Path) -> None:
    """On the host, which stands for the device: what is left are the calls of CUDA and NVML themselves."""
    times = measure_in_stream(
        Workload(tiny_onnx, batch=4, seconds=0.3), resolve_device("cpu"), HostStream(), Power()
    )
    assert times.runs >= 20
    assert times.batch == 4
    assert times.to_device.tensors == ("input",)
    assert times.to_device.bytes == 4 * 16 * 4
    assert times.to_host.tensors == ("logits", "probabilities")
    assert times.to_host.bytes == 2 * 4 * 3 * 4
    for estimate in (times.device_ms, times.launch_ms, times.total_ms, times.to_device.ms, times.to_host.ms):
        assert 0 <= estimate.low <= estimate.value <= estimate.high
    assert times.gpu is not None
    assert times.gpu.during
    assert any("its power limit" in text for text in times.findings)
    data = json.loads(json.dumps(as_json(times), allow_nan=False))
    assert data["to_device"]["gb_per_s"] == pytest.approx(times.to_device.gb_per_s)
    assert data["gpu"]["model_bytes"] == 0


def test_without_nvml_the_times_are_there() -> None:
    times = measure_in_stream(
        Workload(shipped_model(), seconds=0.05), resolve_device("cpu"), HostStream(), None
    )
    assert times.gpu is None
    assert as_json(times)["gpu"] is None
    assert times.to_device.tensors == ("image",)


def test_copies_too_short_for_the_clock_have_no_rate() -> None:
    assert cuda_times().to_host.gb_per_s is None
    assert cuda_times().to_device.gb_per_s == pytest.approx(4_816_896 / 0.5e-3 / 1e9)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, ()),
        ({"launch_ms": Estimate(0.24, 0.23, 0.25)}, ("the GPU waits for the host, which takes 0.24 ms",)),
        (
            {"launch_ms": Estimate(0.24, 0.23, 0.25), "off_device": OffDeviceNodes((), ("Memcpy",), ())},
            ("copies to the host within the graph: 1;",),
        ),
        ({"warm_up": WarmUp(9, 0.5, False, None, "never steady", 1.0)}, ("never steady",)),
        ({"gpu": gpu({"other_processes": 1})}, ("other processes",)),
        ({"gpu": None}, ()),
    ],
    ids=["quiet", "waiting for the host", "waiting for the GPU", "not steady", "others", "no NVML"],
)
def test_findings(change: dict[str, Any], expected: tuple[str, ...]) -> None:
    messages = list(cuda_findings(cuda_times(**change)))
    assert len(messages) == len(expected)
    assert all(text.startswith(part) for text, part in zip(messages, expected, strict=True))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"device": "cpu"}, "device 'cpu': GPU times are measured on cuda, not on cpu"),
        ({"batch": 0}, "batch 0"),
        ({"seconds": math.inf}, "seconds inf"),
    ],
)
def test_wrong_use(tiny_onnx: Path, wrong: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        cuda.cuda_times(Workload(tiny_onnx, **{"device": "cuda", **wrong}))


@pytest.mark.skipif(NO_CUDA is None, reason="there is a GPU")
def test_without_a_gpu_it_says_what_is_missing(tiny_onnx: Path) -> None:
    with pytest.raises(DeviceUnavailable, match="device 'cuda'"):
        cuda.cuda_times(Workload(tiny_onnx, "cuda"))


@pytest.mark.gpu
def test_on_the_gpu() -> None:
    times = cuda.cuda_times(Workload(shipped_model(), "cuda", batch=8, seconds=0.5))
    assert times.device == "cuda:0"
    assert times.runs >= 20
    assert times.device_ms.value > 0
    assert 0 < times.launch_ms.value <= times.total_ms.value
    assert times.to_device.bytes == 8 * 28 * 28
    assert times.to_device.gb_per_s
    if times.gpu is not None:
        assert times.gpu.during
    json.dumps(as_json(times), allow_nan=False)


def event(name: str, op: str, provider: str) -> dict[str, Any]:
    args = {"op_name": op, "provider": f"{provider}ExecutionProvider"}
    return {"cat": "Node", "name": f"{name}_kernel_time", "args": args}


EVENTS = [
    {"cat": "Session", "name": "model_run", "args": {}},
    event("conv", "Conv", "CUDA"),
    event("Memcpy", "MemcpyToHost", "CUDA"),
    event("size", "NonZero", "CPU"),
    event("Memcpy_token_2", "MemcpyFromHost", "CUDA"),
    event("conv", "Conv", "CUDA"),
    {"cat": "Node", "name": "size_fence_before", "args": {"op_name": "NonZero"}},
]


def test_what_leaves_the_gpu() -> None:
    nodes = OffDeviceNodes.from_events(EVENTS)
    assert nodes.to_host == ("Memcpy",)
    assert nodes.to_device == ("Memcpy_token_2",)
    assert nodes.on_cpu == ("size",)


def test_all_on_the_gpu() -> None:
    nodes = OffDeviceNodes.from_events([event("conv", "Conv", "CUDA"), event("relu", "Relu", "CUDA")])
    assert as_json(nodes) == {"to_device": [], "to_host": [], "on_cpu": []}


def test_the_profile_of_a_session(foreign_onnx: Path) -> None:
    images = np.zeros((1, 1, 4, 4), np.float32)
    _, events = run_profiled(
        lambda p: open_session(foreign_onnx, resolve_device("cpu"), profile=p), {"input": images}, 1
    )
    nodes = OffDeviceNodes.from_events(events)
    assert nodes.to_device == nodes.to_host == ()
    assert 1 < len(nodes.on_cpu) <= 3


IMAGES = np.random.default_rng(0).random((3, 1, 4, 4), dtype=np.float32)


class NoCopies(HostStream):
    """The negative control: what is copied to the device never comes there."""

    def to_device(self, address: int, array: NDArray[Any]) -> None:
        """Lost."""


@pytest.fixture
def bound(tiny_onnx: Path) -> Callable[..., TimedBinding]:
    device = resolve_device("cpu")

    def bind(stream: HostStream | None = None) -> TimedBinding:
        inputs = {"input": IMAGES.copy()}
        return TimedBinding(open_session(tiny_onnx, device), device, stream or HostStream(), inputs)

    return bind


def test_answers_are_the_engines(bound: Callable[..., TimedBinding], tiny_onnx: Path) -> None:
    run = bound()
    engine = Engine(tiny_onnx)
    for images in (IMAGES, -IMAGES, IMAGES[::-1]):
        run.inputs["input"][...] = images
        run()
        expected = engine.run({"input": images})
        assert set(run.outputs) == set(expected)
        for name, answer in expected.items():
            np.testing.assert_array_equal(run.outputs[name], answer)


def test_without_the_copy_answers_are_old(bound: Callable[..., TimedBinding]) -> None:
    run = bound(NoCopies())
    before = {name: array.copy() for name, array in run.outputs.items()}
    run.inputs["input"][...] = -IMAGES
    run()
    for name, array in before.items():
        np.testing.assert_array_equal(run.outputs[name], array)


def test_each_run_is_a_row(bound: Callable[..., TimedBinding]) -> None:
    run = bound()
    for _ in range(3):
        run()
    run.discard_times()
    for _ in range(5):
        run()
    times = run.times_ms()
    assert tuple(times) == ("to_device", "device", "launch", "total", "to_host")
    assert {len(values) for values in times.values()} == {5}
    assert all((values >= 0).all() for values in times.values())
    assert (times["launch"] <= times["total"]).all()
    assert (times["launch"] <= times["device"]).all()  # on this stream, which waits for nobody


def test_an_error_of_onnxruntime(tmp_path: Path) -> None:
    model = onnx.parser.parse_model("""
        <ir_version: 10, opset_import: ["" : 18]>
        wrong (float[N] x) => (float[2, 2] y) <int64[2] shape = {2, 2}> { y = Reshape (x, shape) }
    """)
    (tmp_path / "wrong.onnx").write_bytes(model.SerializeToString())
    loaded = open_session(tmp_path / "wrong.onnx", resolve_device("cpu"))
    three = {"x": np.zeros(3, np.float32)}
    with pytest.raises(InferenceError, match=r"wrong\.onnx: onnxruntime failed"):
        TimedBinding(loaded, resolve_device("cpu"), HostStream(), three)
