"""Machines are the same where what decides speed is, whatever software they have."""

import json
import sys
from dataclasses import replace

import onnxruntime
import pytest

from cnntk.benchmark.machine import Machine, machine

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
        ({"cpu": "B"}, "cpu: B there, A here"),
        ({"architecture": "aarch64"}, "architecture: aarch64 there, x86_64 here"),
        ({"cpu_features": ("avx2",)}, "features: avx2 there, avx2 fma here"),
        ({"cores": 8}, "cores: 8 there, 2 here"),
        ({"memory_bytes": 8 * GIB}, "memory: 8 GiB there, 16 GiB here"),
        ({"memory_bytes": None}, "memory: unknown there, 16 GiB here"),
    ],
)
def test_what_decides_speed_is_told(there: dict, expected: str) -> None:
    other = replace(HERE, **there)
    assert HERE.differences(other) == (expected,)
    assert other.identity != HERE.identity
    assert HERE.software_differences(other) == ()


def test_software_is_told_apart() -> None:
    other = replace(HERE, onnxruntime=None, python="3.12.1", memory_bytes=16 * GIB + 1, governor=None)
    assert HERE.differences(other) == ()
    assert other.identity == HERE.identity
    expected = ("python: 3.12.1 there, 3.11.7 here", "onnxruntime: unknown there, 1.22.0 here")
    assert HERE.software_differences(other) == expected


def test_the_identity_never_changes() -> None:
    """Files bear it: caches of peaks, baselines."""
    assert HERE.identity == "a4c159acebdd"


def test_gpus_are_told_apart_where_they_are_known() -> None:
    h200, other = replace(HERE, gpu="NVIDIA H200"), replace(HERE, gpu="NVIDIA L4")
    assert h200.differences(other) == ("gpu: NVIDIA L4 there, NVIDIA H200 here",)
    assert h200.differences(HERE) == HERE.differences(h200) == h200.differences(h200) == ()
    assert len({m.identity for m in (HERE, h200, other)}) == 3


def test_no_gpu_is_looked_for_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cnntk.benchmark.cuda.nvml", None)  # importing it fails
    assert machine().gpu is None
    with pytest.raises(ImportError):
        machine("cuda:0")


def test_without_its_library_a_gpu_has_no_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert machine("cuda:0").gpu is None


@pytest.mark.gpu
def test_a_gpu_has_a_name() -> None:
    pytest.importorskip("pynvml")
    assert "NVIDIA" in str(machine("cuda:0").gpu)


def test_one_core_is_no_cores() -> None:
    assert replace(HERE, cores=1).cores_text == "1 core"
    assert HERE.cores_text == "2 cores"
    assert "A, 1 core (avx2)" in replace(HERE, cores=1).summary


def test_json_there_and_back() -> None:
    data = json.loads(json.dumps(HERE.to_json()))
    assert Machine.from_json(data) == HERE
    assert data["identity"] == HERE.identity


def test_this_machine() -> None:
    here = machine()
    assert here == machine()
    assert here.cores >= 1
    assert here.onnxruntime == onnxruntime.__version__
