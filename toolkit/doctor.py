"""`diagnose`: the machine, the providers, and the problems of the installation."""

from __future__ import annotations

import importlib.metadata as metadata
import platform
import re
from collections.abc import Iterable
from dataclasses import dataclass

from cnntk.benchmark.machine import cpu_features, cpu_name, memory_bytes, read_cpu_info
from cnntk.runtime.errors import MissingDependency
from cnntk.runtime.sections import Section, size_text, under
from cnntk.runtime.session.cores import usable_cores
from cnntk.runtime.session.cuda import CudaState, cuda_problem, cuda_state
from cnntk.runtime.session.devices import import_onnxruntime
from cnntk.version import __version__

__all__ = ["Diagnosis", "cpu_features", "cuda_problems", "diagnose", "missing_packages"]

_PACKAGES = ("numpy", "pillow", "onnxruntime", "onnxruntime-gpu", "torch", "onnx", "onnxscript", "onnx-ir")
_RUNTIMES = ("cpu", "gpu")  # extras of which one is enough
_OF_EXTRA = re.compile(r"""([\w.-]+).*;.*\bextra\s*==\s*["']([^"']+)["']""")


@dataclass(frozen=True)
class Diagnosis:
    """Description of the machine and the installation.

    Attributes:
        cnntk: Version of cnntk.
        python: Version of Python.
        system: Operating system and architecture.
        cpu: Model name of the CPU.
        cpu_features: Instruction sets, as `cpu_features` names them; empty where they are unknown.
        cores: Number of cores available to this process.
        memory_bytes: Memory of the machine in bytes; None where it is unknown.
        packages: Version of each package; None where it is not installed.
        providers: Providers of onnxruntime.
        missing_extras: Missing packages of each extra.
        problems: Problems of the installation, each with a fix; empty where there are none.
    """

    cnntk: str
    python: str
    system: str
    cpu: str
    cpu_features: tuple[str, ...]
    cores: int
    memory_bytes: int | None
    packages: dict[str, str | None]
    providers: tuple[str, ...]
    missing_extras: dict[str, tuple[str, ...]]
    problems: tuple[str, ...]

    def sections(self) -> tuple[Section, ...]:
        """The machine, the packages and the problems, for text and pages."""
        memory = f", {size_text(self.memory_bytes)} memory" if self.memory_bytes else ""
        lacking = (
            (f"[{extra}]", f"lacks {', '.join(names)}: pip install 'cnntk[{extra}]'")
            for extra, names in self.missing_extras.items()
        )
        lines = (
            ("cnntk", self.cnntk),
            ("python", self.python),
            ("system", self.system),
            ("cpu", f"{self.cpu}, {self.cores} cores usable{memory}"),
            ("", " ".join(self.cpu_features) or "features unknown"),
            *((name, version or "not installed") for name, version in self.packages.items()),
            ("providers", ", ".join(self.providers) or "none"),
            *lacking,
            *under("problems", self.problems or ("none",)),
        )
        return (Section("", lines=lines),)


def diagnose() -> Diagnosis:
    """Examines the machine and the installation."""
    packages = {name: _version(name) for name in _PACKAGES}
    providers, problems = _providers()
    cpu_info = read_cpu_info()
    return Diagnosis(
        cnntk=__version__,
        python=platform.python_version(),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        cpu=cpu_name(cpu_info),
        cpu_features=cpu_features(cpu_info),
        cores=usable_cores(),
        memory_bytes=memory_bytes(),
        packages=packages,
        providers=providers,
        missing_extras=missing_packages(_requirements()),
        problems=problems,
    )


def cuda_problems(cuda: CudaState) -> tuple[str, ...]:
    """Problems of onnxruntime's wheels and of CUDA, where the wheel for it is installed."""
    if "onnxruntime-gpu" not in cuda.wheels:
        return ()
    problem = cuda_problem(cuda)
    return () if problem is None else (f"CUDA: {problem}",)


def missing_packages(requirements: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Missing packages of each extra, without cpu and gpu, of which one is enough.

    Args:
        requirements: Requirements, as in a distribution's metadata: ``onnx>=1.22; extra == "export"``.
    """
    missing: dict[str, tuple[str, ...]] = {}
    for name, extra in (m.groups() for line in requirements if (m := _OF_EXTRA.match(line))):
        if extra not in _RUNTIMES and _version(name) is None:
            missing[extra] = (*missing.get(extra, ()), name)
    return missing


def _providers() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Providers of onnxruntime, and its problems."""
    try:
        ort = import_onnxruntime()
        return tuple(ort.get_available_providers()), cuda_problems(cuda_state(ort))
    except MissingDependency as error:
        return (), (str(error),)
    except AttributeError:
        return (), ("onnxruntime's folder is empty: uninstall onnxruntime and install it again",)


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _requirements() -> list[str]:
    """Requirements of cnntk, as pip installs them."""
    try:
        return metadata.requires("cnntk") or []
    except metadata.PackageNotFoundError:  # run from its files, without an installation
        return []
