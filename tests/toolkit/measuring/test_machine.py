"""Machines are the same where what decides speed is, whatever software they have."""

import json
from dataclasses import replace

import onnxruntime
import pytest

from cnntk.measuring.machine import Machine, machine

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


def test_json_there_and_back() -> None:
    data = json.loads(json.dumps(HERE.to_json()))
    assert Machine.from_json(data) == HERE
    assert data["identity"] == HERE.identity


def test_this_machine() -> None:
    here = machine()
    assert here == machine()
    assert here.cores >= 1
    assert here.onnxruntime == onnxruntime.__version__
