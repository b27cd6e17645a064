"""Reasons why CUDA is not available, and how to fix them."""

from __future__ import annotations

import ctypes
import glob
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["CudaState", "cuda_problem", "cuda_state"]

_WHEELS = ("onnxruntime", "onnxruntime-gpu")
_MISSING_LIBRARY = r"(lib[\w+-]+\.so[.\d]*): cannot open shared object file"
_SUCCESS, _NO_DEVICE, _DRIVER_TOO_OLD = 0, 100, 35  # CUresult, of cuda.h


@dataclass(frozen=True)
class CudaState:
    """CUDA on this machine and in this installation.

    Attributes:
        offered: Whether the installed onnxruntime was built with CUDA.
        wheels: Installed wheels of onnxruntime.
        needs: CUDA version that onnxruntime was built for, like ``13.0``; empty if unknown.
        missing: First library that can't be found, like ``libcublasLt.so.13``; empty if none is missing.
        others: Libraries like the missing one in other versions.
        driver: CUDA version that the driver supports, like ``12.4``; empty without a driver.
        driver_error: Error code of the driver's initialization; 0 for success.
        gpus: Number of GPUs.
    """

    offered: bool
    wheels: tuple[str, ...]
    needs: str = ""
    missing: str = ""
    others: tuple[str, ...] = ()
    driver: str = ""
    driver_error: int = 0
    gpus: int = 0


def cuda_state(onnxruntime: Any, provider: str = "CUDAExecutionProvider") -> CudaState:
    """Examines wheels, libraries, driver and GPUs, and loads the libraries that CUDA or TensorRT needs."""
    offered = provider in onnxruntime.get_available_providers()
    wheels = tuple(name for name in _WHEELS if _installed(name))
    if not offered or sys.platform == "win32":  # there, onnxruntime's own message must suffice
        return CudaState(offered, wheels, gpus=1, driver="unknown")
    needs = str(getattr(onnxruntime, "cuda_version", "") or "")
    kind = provider.removesuffix("ExecutionProvider").lower()
    library = Path(onnxruntime.__file__).parent / f"capi/libonnxruntime_providers_{kind}.so"
    missing = _load(str(library)) or _load("libcudnn.so.9")
    if missing and missing != "libcuda.so.1":
        return CudaState(offered, wheels, needs, missing, _other_versions(missing))
    driver, error, gpus = _driver()
    return CudaState(offered, wheels, needs, driver=driver, driver_error=error, gpus=gpus)


def cuda_problem(state: CudaState, index: int = 0) -> str | None:
    """Returns why GPU number ``index`` is not available, and the fix; None if no problem is known."""
    if not state.offered and len(state.wheels) > 1:
        return (
            "onnxruntime and onnxruntime-gpu are both installed and overwrite each other. "
            "pip uninstall -y onnxruntime onnxruntime-gpu, then pip install 'cnntk[gpu]'"
        )
    if not state.offered:
        return (
            "the installed onnxruntime was built without CUDA. Replace it: "
            "pip uninstall -y onnxruntime, then pip install 'cnntk[gpu]'"
        )
    if state.missing:
        major = state.needs.partition(".")[0]
        others = f"; installed in another version: {', '.join(state.others)}" if state.others else ""
        return (
            f"the library {state.missing} is missing (onnxruntime needs CUDA {state.needs}){others}. "
            f"Install CUDA {major} with cuDNN 9: pip install 'onnxruntime-gpu[cuda,cudnn]'"
        )
    if not state.driver:
        return (
            "no NVIDIA driver is installed (libcuda.so.1). Install it, or start the container with --gpus all"
        )
    if state.driver_error == _DRIVER_TOO_OLD or _major(state.driver) < _major(state.needs):
        return (
            f"the NVIDIA driver is too old: it supports CUDA {state.driver}, onnxruntime needs "
            f"{state.needs}. Update the driver, or install an onnxruntime-gpu for the older CUDA"
        )
    if state.driver_error not in (_SUCCESS, _NO_DEVICE):
        return f"the NVIDIA driver fails to start (CUDA error {state.driver_error}). Check nvidia-smi"
    if state.gpus == 0:
        return "the driver finds no GPU. Check nvidia-smi and CUDA_VISIBLE_DEVICES"
    if index >= state.gpus:
        return f"GPU {index} does not exist: the driver finds {state.gpus}, numbered from 0"
    return None


def _load(path: str) -> str:
    """Loads a library; returns the name of its first missing dependency, or an empty string.

    Libraries that pip installed (the nvidia packages, torch) are not on the system's search path. They are
    loaded here by their path, because the loader then accepts them by name.
    """
    tried: set[str] = set()
    while True:
        try:
            ctypes.CDLL(path)
        except OSError as error:
            match = re.search(_MISSING_LIBRARY, str(error))
            if match is None:  # for example symbols that onnxruntime itself provides
                return ""
            name = match.group(1)
            paths = _pip_installed(name)
            if name in tried or not paths:
                return name
            tried.add(name)
            if missing := _load(paths[0]):
                return missing
        else:
            return ""


def _pip_installed(pattern: str) -> list[str]:
    folders = [folder for folder in sys.path if os.path.isdir(folder)]
    subfolders = ("nvidia/*/lib", "torch/lib")
    return [
        path
        for folder in folders
        for subfolder in subfolders
        for path in sorted(glob.glob(os.path.join(glob.escape(folder), subfolder, pattern)))
    ]


def _other_versions(name: str) -> tuple[str, ...]:
    """Returns names of libraries like ``libcublasLt.so.13`` in other versions."""
    stem = name.partition(".so")[0] + ".so"
    paths = (*_pip_installed(stem + ".*"), *glob.glob(f"/usr/local/cuda*/lib64/{stem}.*"))
    return tuple(sorted({os.path.basename(p) for p in paths} - {name}))


def _driver() -> tuple[str, int, int]:
    """Returns the CUDA version that the driver supports, its error code, and the number of GPUs."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return "", 0, 0
    version, count = ctypes.c_int(), ctypes.c_int()
    driver.cuDriverGetVersion(ctypes.byref(version))
    error = driver.cuInit(0)
    if error == _SUCCESS:
        driver.cuDeviceGetCount(ctypes.byref(count))
    return f"{version.value // 1000}.{version.value % 1000 // 10}", error, count.value


def _major(version: str) -> int:
    number = version.partition(".")[0]
    return int(number) if number.isdigit() else 0


def _installed(wheel: str) -> bool:
    from importlib import metadata  # not for every import of the runtime: it costs 5 ms

    try:
        metadata.version(wheel)
    except metadata.PackageNotFoundError:
        return False
    return True
