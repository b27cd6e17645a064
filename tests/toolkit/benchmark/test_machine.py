"""Machines are the same where what decides speed is, whatever software they have."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import onnxruntime
import pytest

from cnntk.benchmark.machine import (
    Machine,
    cpu_features,
    cpu_governor,
    cpu_name,
    detect_machine,
    memory_bytes,
    physical_cores,
    read_cpu_info,
)
from cnntk.runtime.codec import as_json, decode

X86 = "processor\t: 0\nmodel name\t: AMD EPYC\nflags\t\t: fpu avx2 amx_int8 avx512_vnni\n\nprocessor\t: 1\n"
ARM = "processor\t: 0\nFeatures\t: fp asimd asimddp i8mm\nCPU part\t: 0xd0b\n"
CPUS = "sys/devices/system/cpu"
GIB = 2**30
HERE = Machine(
    cpu="A",
    architecture="x86_64",
    cpu_features=("avx2", "fma"),
    cores=2,
    physical_cores=2,
    memory_bytes=16 * GIB,
    governor="performance",
    system="Linux 6.1",
    python="3.11.7",
    onnxruntime="1.22.0",
    cnntk="0.1.0",
)


@pytest.mark.parametrize(
    ("there", "expected"),
    [
        ({"cpu": "B"}, "cpu: B in the baseline, A now"),
        ({"architecture": "aarch64"}, "architecture: aarch64 in the baseline, x86_64 now"),
        ({"cpu_features": ("avx2",)}, "features: avx2 in the baseline, avx2 fma now"),
        ({"cores": 8}, "cores: 8 in the baseline, 2 now"),
        ({"memory_bytes": 8 * GIB}, "memory: 8 GiB in the baseline, 16 GiB now"),
        ({"memory_bytes": None}, "memory: unknown in the baseline, 16 GiB now"),
    ],
)
def test_what_decides_speed_is_reported(there: dict, expected: str) -> None:
    other = replace(HERE, **there)
    assert HERE.differences(other) == (expected,)
    assert other.identity != HERE.identity
    assert HERE.software_differences(other) == ()


def test_software_is_distinguished() -> None:
    other = replace(HERE, onnxruntime=None, python="3.12.1", memory_bytes=16 * GIB + 1, governor=None)
    assert HERE.differences(other) == ()
    assert other.identity == HERE.identity
    expected = (
        "python: 3.12.1 in the baseline, 3.11.7 now",
        "onnxruntime: unknown in the baseline, 1.22.0 now",
    )
    assert HERE.software_differences(other) == expected


def test_the_identity_never_changes() -> None:
    """Files bear it: caches of peaks, baselines."""
    assert HERE.identity == "a4c159acebdd"


def test_gpus_are_compared_only_if_both_have_a_name() -> None:
    h200, other = replace(HERE, gpu="NVIDIA H200"), replace(HERE, gpu="NVIDIA L4")
    assert h200.differences(other) == ("gpu: NVIDIA L4 in the baseline, NVIDIA H200 now",)
    assert h200.differences(HERE) == HERE.differences(h200) == h200.differences(h200) == ()
    assert len({m.identity for m in (HERE, h200, other)}) == 3


def test_no_gpu_is_looked_for_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cnntk.benchmark.cuda.nvml", None)  # importing it fails
    assert detect_machine().gpu is None
    with pytest.raises(ImportError):
        detect_machine("cuda:0")


def test_without_its_library_a_gpu_has_no_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert detect_machine("cuda:0").gpu is None


@pytest.mark.gpu
def test_a_gpu_has_a_name() -> None:
    pytest.importorskip("pynvml")
    assert "NVIDIA" in str(detect_machine("cuda:0").gpu)


def test_one_core_is_no_cores() -> None:
    assert replace(HERE, cores=1).cores_text == "1 core"
    assert HERE.cores_text == "2 cores"
    assert "A, 1 core (avx2)" in replace(HERE, cores=1).summary


def test_json_there_and_back() -> None:
    data = json.loads(json.dumps(as_json(HERE)))
    assert decode(Machine, data, "machine") == HERE
    assert data["identity"] == HERE.identity


def test_this_machine() -> None:
    here = detect_machine()
    assert here == detect_machine()
    assert here.cores >= 1
    assert here.onnxruntime == onnxruntime.__version__


def write(root: Path, name: str, text: str) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text)


def test_names_and_features(tmp_path: Path) -> None:
    assert cpu_name(X86, tmp_path) == "AMD EPYC"
    assert cpu_features(X86) == ("avx2", "avx512_vnni", "amx_int8")
    assert cpu_features(ARM) == ("asimd", "asimddp", "i8mm")


def test_a_board_has_a_name_where_its_processor_has_none(tmp_path: Path) -> None:
    assert cpu_name(ARM, tmp_path)
    write(tmp_path, "proc/device-tree/model", "Raspberry Pi 5 Model B Rev 1.0\0")
    assert cpu_name(ARM, tmp_path) == "Raspberry Pi 5 Model B Rev 1.0"


@pytest.mark.parametrize(("threads", "expected"), [(1, 4), (2, 2)])
def test_two_threads_of_a_core_count_once(tmp_path: Path, threads: int, expected: int) -> None:
    for cpu in range(4):
        write(tmp_path, f"{CPUS}/cpu{cpu}/topology/physical_package_id", "0\n")
        write(tmp_path, f"{CPUS}/cpu{cpu}/topology/core_id", f"{cpu // threads}\n")
    assert physical_cores(tmp_path) == expected


def test_governor(tmp_path: Path) -> None:
    write(tmp_path, f"{CPUS}/cpu0/cpufreq/scaling_governor", "powersave\n")
    assert cpu_governor(tmp_path) == "powersave"


def test_a_system_that_tells_nothing(tmp_path: Path) -> None:
    assert (read_cpu_info(tmp_path), physical_cores(tmp_path), cpu_governor(tmp_path)) == ("", None, None)
    assert cpu_features("") == ()
    assert cpu_name("", tmp_path)


def test_memory() -> None:
    result = memory_bytes()
    assert result is None or result > 2**28
