import os
import subprocess
import sys
from pathlib import Path

import onnxruntime
import pytest

from cnntk.runtime.errors import DeviceUnavailable, UsageError
from cnntk.runtime.session.cores import usable_cores
from cnntk.runtime.session.devices import resolve_device

HAS_CUDA = "CUDAExecutionProvider" in onnxruntime.get_available_providers()


def test_the_cpu() -> None:
    assert resolve_device("cpu").providers == [("CPUExecutionProvider", {})]
    assert resolve_device("cpu").reason == ""


@pytest.mark.skipif(HAS_CUDA, reason="has onnxruntime with CUDA")
def test_auto_says_why_it_took_the_cpu() -> None:
    device = resolve_device("auto")
    assert device.name == "cpu"
    assert device.reason.startswith("auto: the installed onnxruntime was built without CUDA")


@pytest.mark.skipif(HAS_CUDA, reason="has onnxruntime with CUDA")
@pytest.mark.parametrize("name", ["cuda", "cuda:0", "cuda:1"])
def test_cuda_that_can_not_be_had(name: str) -> None:
    with pytest.raises(
        DeviceUnavailable, match=rf"device '{name}': .*built without CUDA.*offers .*CPUExecutionProvider"
    ):
        resolve_device(name)


@pytest.mark.parametrize(
    ("name", "provider"),
    [
        ("openvino", "OpenVINOExecutionProvider"),
        ("tensorrt:1", "TensorrtExecutionProvider"),
        ("coreml", "CoreMLExecutionProvider"),
        ("directml", "DmlExecutionProvider"),
        ("qnn", "QNNExecutionProvider"),
    ],
)
def test_other_providers_are_had_or_refused(name: str, provider: str) -> None:
    if provider in onnxruntime.get_available_providers():
        device = resolve_device(name, {"an_option": "1"})
        assert device.providers[0][0] == provider
        assert device.options["an_option"] == "1"
    else:
        with pytest.raises(DeviceUnavailable, match=f"lacks {provider}"):
            resolve_device(name)


@pytest.mark.parametrize(
    "name", ["gpu", "CUDA", "cuda:", "cuda:-1", "cuda:x", "auto:1", "cpu:0", "openvino:1", ""]
)
def test_unknown_names(name: str) -> None:
    with pytest.raises(UsageError, match=r"^unknown device .*; use cpu, cuda, cuda:1"):
        resolve_device(name)


def test_the_cpu_takes_no_options() -> None:
    with pytest.raises(UsageError, match="takes no options, got device_type"):
        resolve_device("cpu", {"device_type": "CPU"})


def test_cores_are_those_of_this_process() -> None:
    assert 1 <= usable_cores() <= len(os.sched_getaffinity(0))


@pytest.mark.gpu
def test_cuda_keeps_float32_whole() -> None:
    device = resolve_device("cuda")
    assert device.name == "cuda:0"
    assert device.options["use_tf32"] == "0"
    assert resolve_device("cuda", {"use_tf32": "1"}).options["use_tf32"] == "1"
    assert resolve_device("auto").name == "cuda:0"


NOTHING_SENT = """
import os, sys
{first}
before = dict(os.environ)
from cnntk.runtime import Engine
Engine({model!r}, threads=1)
assert dict(os.environ) == before
files = [f"/proc/self/fd/{{fd}}" for fd in os.listdir("/proc/self/fd")]
held = [os.readlink(file) for file in files if os.path.exists(file)]
print(len(os.listdir("/proc/self/task")), sum("onnxruntime.db" in file for file in held))
"""


def telemetry(first: str, model: Path, home: Path) -> list[str]:
    """Threads of a process with an engine, and files of onnxruntime's telemetry that it holds open."""
    environment = {k: v for k, v in os.environ.items() if "TELEMETRY" not in k and k != "CI"}
    environment |= {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache"), "OMP_NUM_THREADS": "1"}
    environment["OPENBLAS_NUM_THREADS"] = "1"
    code = NOTHING_SENT.format(first=first, model=str(model))
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
    )
    return run.stdout.split()


def test_no_telemetry_begins(tiny_onnx: Path, tmp_path: Path) -> None:
    assert telemetry("", tiny_onnx, tmp_path) == ["1", "0"]
    assert not list(tmp_path.rglob("*.db"))


@pytest.mark.skipif(tuple(map(int, onnxruntime.__version__.split(".")[:2])) < (1, 29), reason="sends none")
def test_onnxruntime_by_itself_begins_it(tiny_onnx: Path, tmp_path: Path) -> None:
    threads, files = telemetry("import onnxruntime", tiny_onnx, tmp_path)
    if os.environ.get("CI"):
        pytest.skip("onnxruntime sends none where it sees a CI")
    assert int(threads) > 1
    assert int(files) > 0


def test_a_variable_that_was_set_stays() -> None:
    code = """
import os
import subprocess
import sys
from pathlib import Path
os.environ["ORT_DISABLE_TELEMETRY"] = "0"
from cnntk.runtime.session.devices import import_onnxruntime
import_onnxruntime()
print(os.environ["ORT_DISABLE_TELEMETRY"], "ORT_TELEMETRY_DISABLED" in os.environ)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["0", "False"]
