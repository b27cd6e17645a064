"""The device to train on: the requested one, or an error, never another one silently."""

from __future__ import annotations

import torch

from cnntk.runtime.errors import DeviceUnavailable
from cnntk.training.options import device_index

__all__ = ["torch_device"]


def torch_device(name: str) -> torch.device:
    """Returns the device called ``name``: ``cpu``, ``cuda``, ``cuda:1``, or ``auto`` (CUDA if there is any).

    Raises:
        UsageError: No device has that name.
        DeviceUnavailable: torch can't use the device.
    """
    index = device_index(name)
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise DeviceUnavailable(f"device {name!r}: {_cuda_problem()}; or train with --device cpu")
    if index >= torch.cuda.device_count():
        raise DeviceUnavailable(
            f"device {name!r}: this machine has {torch.cuda.device_count()} CUDA device(s), numbered from 0"
        )
    return torch.device("cuda", index)


def _cuda_problem() -> str:
    if torch.version.cuda is None:
        return f"torch {torch.__version__} is built without CUDA; install a build that has it"
    return f"torch {torch.__version__} finds no CUDA device; check nvidia-smi"
