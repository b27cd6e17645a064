import importlib.util
import os
import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest
from made_up_gpu import SAMPLE, gpu

from cnntk.benchmark.cuda.nvml import GpuSample, Reader, Sampler, gpu_findings, gpu_reader, reasons_of
from cnntk.runtime.errors import MissingDependency

POWER = reasons_of(0x4)


class NvmlError(Exception):
    pass


def nvml(**told: Any) -> Any:
    """NVML as pynvml is; what is not given the GPU does not support."""

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
    given = {"nvmlDeviceGetName": b"NVIDIA H200", "nvmlSystemGetDriverVersion": "580.65.06", **told}
    return SimpleNamespace(
        NVMLError=NvmlError,
        NVML_CLOCK_SM=1,
        NVML_CLOCK_MEM=2,
        NVML_TEMPERATURE_GPU=0,
        **dict.fromkeys(names, refused)
        | {name: (lambda *_, value=value: value) for name, value in given.items()},
    )


def process(pid: int, memory: int | None) -> SimpleNamespace:
    return SimpleNamespace(pid=pid, usedGpuMemory=memory)


def test_reasons_in_words() -> None:
    assert reasons_of(0) == ()
    assert reasons_of(0x1) == ("idle",)
    assert reasons_of(0x4 | 0x40) == ("the limit of its power", "its heat, by the hardware")
    assert len(reasons_of(0x7FF)) == 11


@pytest.mark.parametrize(
    ("during", "said"),
    [
        ([{}, {}], []),
        ([{"reasons": reasons_of(0x1)}], []),
        ([{"reasons": POWER}, {}, {"reasons": POWER}], ["the limit of its power, in 2 of 3 looks"]),
        ([{"reasons": reasons_of(0x2)}], ["clocks are set by a user"]),
        ([{"sm_mhz": 1980}, {"sm_mhz": 1900}], []),
        ([{"sm_mhz": 1980}, {"sm_mhz": 1755}], ["clock went between 1,755 and 1,980 MHz"]),
        ([{"others": 0}, {"others": 2}], ["other processes had work or memory on the GPU: 2"]),
        ([{"sm_mhz": None, "others": None}], []),
    ],
    ids=["quiet", "idle", "power", "set", "steady", "slower", "others", "nothing told"],
)
def test_findings(during: list[dict[str, Any]], said: list[str]) -> None:
    found = list(gpu_findings(gpu(*during)))
    assert len(found) == len(said)
    for message, part in zip(found, said, strict=True):
        assert part in message


def test_the_models_memory() -> None:
    assert gpu({}).model_bytes == 600_000_000
    hidden = GpuSample(**{**vars(SAMPLE), "own_bytes": None})
    assert Reader(nvml(), None).gpu(SAMPLE, (), hidden).model_bytes is None


def test_what_is_not_told_is_none() -> None:
    sample = Reader(nvml(), None).sample()
    told = {name: value for name, value in vars(sample).items() if value not in (None, ())}
    assert set(told) == {"moment_s"}
    found = Reader(nvml(), None).gpu(sample, (sample,), sample)
    assert (found.name, found.driver) == ("NVIDIA H200", "580.65.06")
    assert found.sm_mhz_max is found.power_limit_w is found.memory_bytes is None
    assert found.span("sm_mhz") is None
    assert list(gpu_findings(found)) == []


def test_what_is_told() -> None:
    here = [process(os.getpid(), 700), process(1, 20), process(1, 20)]
    told = nvml(
        nvmlDeviceGetPowerUsage=251_500,
        nvmlDeviceGetClockInfo=1980,
        nvmlDeviceGetCurrentClocksEventReasons=0x4,
        nvmlDeviceGetMemoryInfo=SimpleNamespace(total=1000, used=900),
        nvmlDeviceGetComputeRunningProcesses=here,
    )
    found = Reader(told, None).sample()
    assert found.power_w == 251.5
    assert found.sm_mhz == 1980
    assert found.reasons == POWER
    assert (found.used_bytes, found.own_bytes, found.others) == (900, 700, 1)


@pytest.mark.parametrize(
    ("processes", "own", "others"),
    [
        ([], None, None),
        ([process(1, 20)], None, 0),
        ([process(1, 20), process(2, 20)], None, 1),
        ([process(os.getpid(), None)], None, 0),
    ],
    ids=["hidden", "numbered otherwise", "and another", "memory not told"],
)
def test_processes_in_a_container(processes: list[Any], own: int | None, others: int | None) -> None:
    found = Reader(nvml(nvmlDeviceGetComputeRunningProcesses=processes), None).sample()
    assert (found.own_bytes, found.others) == (own, others)


def test_it_looks_until_the_block_ends() -> None:
    seen: list[int] = []

    def look() -> GpuSample:
        seen.append(threading.get_ident())
        return SAMPLE

    with Sampler(look, every_s=0.001) as sampler:
        time.sleep(0.05)
    count = len(seen)
    time.sleep(0.01)
    assert len(sampler.samples) == len(seen) == count > 1
    assert threading.get_ident() not in seen
    with Sampler(look) as once:
        pass
    assert len(once.samples) == 1


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
        found = reader.gpu(sample, (sample,), sample)
    assert found.name
    assert found.driver
    assert sample.used_bytes
