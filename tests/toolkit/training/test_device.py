"""The requested device, or an error."""

import pytest
import torch

from cnntk.runtime.errors import DeviceUnavailable, UsageError
from cnntk.training.device import torch_device

NO_CUDA = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")


def test_cpu() -> None:
    assert torch_device("cpu") == torch.device("cpu")


@NO_CUDA
@pytest.mark.parametrize("name", ["cuda", "cuda:1"])
def test_cuda_is_never_quietly_the_cpu(name: str) -> None:
    with pytest.raises(DeviceUnavailable, match=f"device '{name}': torch .* CUDA.* --device cpu"):
        torch_device(name)


@NO_CUDA
def test_auto_falls_to_the_cpu() -> None:
    assert torch_device("auto") == torch.device("cpu")


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:-1", "", "CPU", "mps"])
def test_unknown(name: str) -> None:
    with pytest.raises(UsageError, match=r"unknown device .*; use cpu, cuda, cuda:1"):
        torch_device(name)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_cuda() -> None:
    assert torch_device("cuda") == torch_device("auto") == torch.device("cuda", 0)
    with pytest.raises(DeviceUnavailable, match="this machine has"):
        torch_device("cuda:99")
