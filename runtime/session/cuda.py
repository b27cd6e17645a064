"""Why CUDA can't be had here, and what mends it."""

from __future__ import annotations

import ctypes
import glob
import importlib.metadata as metadata
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["CudaState", "cuda_problem", "cuda_state"]

_WHEELS = ("onnxruntime", "onnxruntime-gpu")
_MISSING_LIBRARY = re.compile(r"(lib[\w+-]+\.so[.\d]*): cannot open shared object file")
_SUCCESS, _NO_DEVICE, _DRIVER_TOO_OLD = 0, 100, 35  # CUresult, of cuda.h


@dataclass(frozen=True)
class CudaState:
    """What this machine and this installation have of CUDA.

    Attributes:
        offered: the installed onnxruntime was built with CUDA.
        wheels: which of onnxruntime's wheels are installed.
        needs: CUDA's version that onnxruntime was built for, like ``13.0``; empty where it does not tell.
        missing: the first library that can't be found, like ``libcublasLt.so.13``; empty if all are there.
        others: libraries like the missing one, of other versions.
        driver: CUDA's version that the driver supports, like ``12.4``; empty without a driver.
        driver_error: of the driver's own start; 0 for none.
        gpus: how many there are.
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
    """Looks at the wheels, the libraries, the driver and the GPUs; loads the libraries that it finds.

    Args:
        onnxruntime: the module.
        provider: of onnxruntime, the one that rests on CUDA: this, or TensorRT's.
    """
    offered = provider in onnxruntime.get_available_providers()
    wheels = tuple(name for name in _WHEELS if _installed(name))
    if not offered or sys.platform == "win32":  # there onnxruntime's own message has to do
        return CudaState(offered, wheels, gpus=1, driver="unknown")
    needs = str(getattr(onnxruntime, "cuda_version", "") or "")
    kind = provider.removesuffix("ExecutionProvider").lower()
    library = Path(onnxruntime.__file__).parent / f"capi/libonnxruntime_providers_{kind}.so"
    missing = _load(str(library)) or _load("libcudnn.so.9")
    if missing and missing != "libcuda.so.1":
        return CudaState(offered, wheels, needs, missing, _like(missing))
    driver, error, gpus = _driver()
    return CudaState(offered, wheels, needs, driver=driver, driver_error=error, gpus=gpus)


def cuda_problem(state: CudaState, index: int = 0) -> str | None:
    """Why GPU number ``index`` can't be had, and what mends it; None if nothing speaks against it."""
    if not state.offered:
        return _wheel_problem(state.wheels)
    if state.missing:
        return _library_problem(state)
    if not state.driver:
        return (
            "there is no NVIDIA driver (libcuda.so.1). Install it; in a container, start that with --gpus all"
        )
    if state.driver_error == _DRIVER_TOO_OLD or _major(state.driver) < _major(state.needs):
        return (
            f"the NVIDIA driver is too old: it supports CUDA {state.driver}, onnxruntime needs "
            f"{state.needs}. Update the driver, or install an onnxruntime-gpu for the older CUDA"
        )
    if state.driver_error not in (_SUCCESS, _NO_DEVICE):
        return f"the NVIDIA driver does not start (CUDA error {state.driver_error}). Look at nvidia-smi"
    if state.gpus == 0:
        return "the driver sees no GPU. Look at nvidia-smi and at CUDA_VISIBLE_DEVICES"
    if index >= state.gpus:
        return f"there is no GPU {index}: the driver sees {state.gpus}, numbered from 0"
    return None


def _wheel_problem(wheels: tuple[str, ...]) -> str:
    if len(wheels) > 1:
        return (
            "onnxruntime and onnxruntime-gpu are both installed and overwrite each other. "
            "pip uninstall -y onnxruntime onnxruntime-gpu, then pip install 'cnntk[gpu]'"
        )
    return (
        "the installed onnxruntime has no CUDA. Replace it: "
        "pip uninstall -y onnxruntime, then pip install 'cnntk[gpu]'"
    )


def _library_problem(state: CudaState) -> str:
    major = state.needs.partition(".")[0]
    here = f"; here is {', '.join(state.others)}, of another version" if state.others else ""
    return (
        f"the library {state.missing} is missing (onnxruntime needs CUDA {state.needs}){here}. "
        f"Install CUDA {major} with cuDNN 9: pip install 'onnxruntime-gpu[cuda,cudnn]'"
    )


def _load(path: str) -> str:
    """Loads a library; the name of the first one that it needs and that can't be found, or nothing.

    What pip installed (the nvidia packages, torch) is not where the system looks. It is loaded here first: a
    library that is loaded already is found by its name.
    """
    tried: set[str] = set()
    while True:
        try:
            ctypes.CDLL(path)
        except OSError as error:
            match = _MISSING_LIBRARY.search(str(error))
            if match is None:  # symbols that onnxruntime itself brings
                return ""
            name = match.group(1)
            places = _pip_installed(name)
            if name in tried or not places:
                return name
            tried.add(name)
            if missing := _load(places[0]):
                return missing
        else:
            return ""


def _pip_installed(pattern: str) -> list[str]:
    folders = [folder for folder in sys.path if os.path.isdir(folder)]
    places = ("nvidia/*/lib", "torch/lib")
    return [
        path
        for folder in folders
        for place in places
        for path in sorted(glob.glob(os.path.join(glob.escape(folder), place, pattern)))
    ]


def _like(name: str) -> tuple[str, ...]:
    """Names of libraries like ``libcublasLt.so.13``, of other versions."""
    stem = name.partition(".so")[0] + ".so"
    places = (*_pip_installed(stem + ".*"), *glob.glob(f"/usr/local/cuda*/lib64/{stem}.*"))
    return tuple(sorted({os.path.basename(p) for p in places} - {name}))


def _driver() -> tuple[str, int, int]:
    """CUDA's version that the driver supports, the error of its start, and how many GPUs it sees."""
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
    try:
        metadata.version(wheel)
    except metadata.PackageNotFoundError:
        return False
    return True
