import onnxruntime
import pytest

from cnntk.runtime.devices import resolve, usable_cores
from cnntk.runtime.errors import UsageError


def test_cpu_runs_on_the_cpu_alone() -> None:
    assert resolve("cpu").providers == [("CPUExecutionProvider", {})]


def test_auto_takes_what_is_offered() -> None:
    has_cuda = "CUDAExecutionProvider" in onnxruntime.get_available_providers()
    assert resolve("auto").name == ("cuda:0" if has_cuda else "cpu")


def test_unknown_names_are_wrong_use() -> None:
    with pytest.raises(UsageError, match="'gpu' is unknown"):
        resolve("gpu")


def test_cores() -> None:
    assert usable_cores() >= 1
