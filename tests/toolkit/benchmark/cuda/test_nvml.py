import importlib.util
import os
import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest
from simulated_gpu import SAMPLE, gpu

from cnntk.benchmark.cuda.nvml import GpuReader, GpuSample, clock_reasons, gpu_findings, gpu_reader, sampled
from cnntk.runtime.errors import MissingDependency

POWER = clock_reasons(0x4)


class NvmlError(Exception):
    pass


def nvml(**values: Any) -> Any:
    """NVML as pynvml is; what is not passed the GPU does not support."""

    def refused(*arguments: Any) -> Any:
        raise NvmlError("Not Supported")

    names = (
        "nvmlDeviceGetPowerUsage",
        "nvmlDeviceGetMemoryInfo",
        "nvmlDeviceGetComputeRunningProcesses",
        "nvmlDeviceGetClockInfo",
        "nvmlDeviceGetMaxClockInfo",
        "nvmlDeviceGetTemperature",
        "nvmlDeviceGetCurrentClocksEventReasons",
        "nvmlDeviceGetEnforcedPowerLimit",
    )
    functions = {"nvmlDeviceGetName": "NVIDIA H200", "nvmlSystemGetDriverVersion": "580.65.06", **values}
    return SimpleNamespace(
        NVMLError=NvmlError,
        NVML_CLOCK_SM=1,
        NVML_CLOCK_MEM=2,
        NVML_TEMPERATURE_GPU=0,
        **dict.fromkeys(names, refused)
        | {name: (lambda *_, value=value: value) for name, value in functions.items()},
    )


def process(pid: int, memory: int | None) -> SimpleNamespace:
    return SimpleNamespace(pid=pid, usedGpuMemory=memory)


def test_reasons_in_words() -> None:
    assert clock_reasons(0) == ()
    assert clock_reasons(0x1) == ("idle",)
    assert clock_reasons(0x4 | 0x40) == ("its power limit", "its temperature, by the hardware")
    assert len(clock_reasons(0x7FF)) == 11


@pytest.mark.parametrize(
    ("during", "expected"),
    [
        ([{}, {}], []),
        ([{"reasons": clock_reasons(0x1)}], []),
        ([{"reasons": POWER}, {}, {"reasons": POWER}], ["its power limit, in 2 of 3 readings"]),
        ([{"reasons": clock_reasons(0x2)}], ["clocks are set by a user"]),
        ([{"sm_mhz": 1980}, {"sm_mhz": 1900}], []),
        ([{"sm_mhz": 1980}, {"sm_mhz": 1755}], ["clock was between 1,755 and 1,980 MHz"]),
        (
            [{"other_processes": 0}, {"other_processes": 2}],
            ["other processes had work or memory on the GPU: 2"],
        ),
        ([{"sm_mhz": None, "other_processes": None}], []),
    ],
    ids=["quiet", "idle", "power", "set", "steady", "slower", "other_processes", "nothing reported"],
)
def test_findings(during: list[dict[str, Any]], expected: list[str]) -> None:
    messages = list(gpu_findings(gpu(*during)))
    assert len(messages) == len(expected)
    for message, part in zip(messages, expected, strict=True):
        assert part in message


def test_the_models_memory() -> None:
    assert gpu({}).model_bytes == 600_000_000
    hidden = GpuSample(**{**vars(SAMPLE), "process_bytes": None})
    assert GpuReader(nvml(), None).gpu(SAMPLE, (), hidden).model_bytes is None


def test_values_that_are_not_reported_are_none() -> None:
    sample = GpuReader(nvml(), None).sample()
    reported = {name: value for name, value in vars(sample).items() if value not in (None, ())}
    assert set(reported) == {"time_s"}
    state = GpuReader(nvml(), None).gpu(sample, (sample,), sample)
    assert (state.name, state.driver) == ("NVIDIA H200", "580.65.06")
    assert state.sm_mhz_max is state.power_limit_w is state.memory_bytes is None
    assert state.span("sm_mhz") is None
    assert list(gpu_findings(state)) == []


def test_values_that_are_reported() -> None:
    here = [process(os.getpid(), 700), process(1, 20), process(1, 20)]
    fake = nvml(
        nvmlDeviceGetPowerUsage=251_500,
        nvmlDeviceGetClockInfo=1980,
        nvmlDeviceGetCurrentClocksEventReasons=0x4,
        nvmlDeviceGetMemoryInfo=SimpleNamespace(total=1000, used=900),
        nvmlDeviceGetComputeRunningProcesses=here,
    )
    sample = GpuReader(fake, None).sample()
    assert sample.power_w == 251.5
    assert sample.sm_mhz == 1980
    assert sample.reasons == POWER
    assert (sample.used_bytes, sample.process_bytes, sample.other_processes) == (900, 700, 1)


@pytest.mark.parametrize(
    ("processes", "process_bytes", "others"),
    [
        ([], None, None),
        ([process(1, 20)], None, 0),
        ([process(1, 20), process(2, 20)], None, 1),
        ([process(os.getpid(), None)], None, 0),
    ],
    ids=["hidden", "numbered otherwise", "and another", "memory not reported"],
)
def test_processes_in_a_container(
    processes: list[Any], process_bytes: int | None, others: int | None
) -> None:
    sample = GpuReader(nvml(nvmlDeviceGetComputeRunningProcesses=processes), None).sample()
    assert (sample.process_bytes, sample.other_processes) == (process_bytes, others)


def test_readings_until_the_block_ends() -> None:
    threads: list[int] = []

    def read() -> GpuSample:
        threads.append(threading.get_ident())
        return SAMPLE

    with sampled(read, every_s=0.001) as samples:
        time.sleep(0.05)
    count = len(threads)
    time.sleep(0.01)
    assert len(samples) == len(threads) == count > 1
    assert threading.get_ident() not in threads
    with sampled(read) as once:
        pass
    assert len(once) == 1


@pytest.mark.skipif(importlib.util.find_spec("pynvml") is not None, reason="it is installed")
def test_what_to_install() -> None:
    with (
        pytest.raises(MissingDependency, match=r"nvidia-ml-py .*pip install 'cnntk\[cuda\]'"),
        gpu_reader("0000:3B:00.0"),
    ):
        pass


@pytest.mark.gpu
def test_the_gpu_that_cuda_uses() -> None:
    from cnntk.benchmark.cuda.events import cuda_stream

    with cuda_stream(0) as stream, gpu_reader(stream.bus_id) as reader:
        sample = reader.sample()
        state = reader.gpu(sample, (sample,), sample)
    assert state.name
    assert state.driver
    assert sample.used_bytes
