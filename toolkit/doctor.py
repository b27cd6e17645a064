"""`diagnose`: the machine, the providers, and the problems of the installation."""

from __future__ import annotations

import platform
from dataclasses import dataclass

from cnntk.benchmark.machine import cpu_features, cpu_name, memory_bytes, read_cpu_info
from cnntk.requirements import installed_version, missing_packages, onnxruntime_wheels, outdated_packages
from cnntk.runtime.errors import MissingDependency
from cnntk.runtime.sections import Section, size_text, under
from cnntk.runtime.session.cores import usable_cores
from cnntk.runtime.session.cuda import CudaState, cuda_problem, cuda_state
from cnntk.runtime.session.devices import import_onnxruntime
from cnntk.version import __version__

__all__ = ["Diagnosis", "cpu_features", "cuda_problems", "diagnose", "wheel_problems"]

_PACKAGES = ("numpy", "pillow", "onnxruntime", "onnxruntime-gpu", "torch", "onnx", "onnxscript", "onnx-ir")


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
        return (Section("", lines=lines, tone="bad" if self.problems else "good"),)


def diagnose() -> Diagnosis:
    """Examines the machine and the installation."""
    packages = {name: installed_version(name) for name in _PACKAGES}
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
        missing_extras=missing_packages(),
        problems=(*wheel_problems(onnxruntime_wheels()), *problems, *outdated_packages()),
    )


def wheel_problems(wheels: tuple[str, ...]) -> tuple[str, ...]:
    """The conflict of wheels that contain the same module, where several are installed."""
    if len(wheels) < 2:
        return ()
    text = f"{' and '.join(wheels)} overwrite each other's files: pip uninstall -y {' '.join(wheels)}"
    return (f"{text}, then install one: pip install 'cnntk[cpu]' or 'cnntk[gpu]'",)


def cuda_problems(cuda: CudaState) -> tuple[str, ...]:
    """Problem of CUDA, where onnxruntime's wheel for it is the only one installed."""
    if cuda.wheels != ("onnxruntime-gpu",):
        return ()
    problem = cuda_problem(cuda)
    return () if problem is None else (f"CUDA: {problem}",)


def _providers() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Providers of onnxruntime, and its problems."""
    try:
        ort = import_onnxruntime()
        return tuple(ort.get_available_providers()), cuda_problems(cuda_state(ort))
    except MissingDependency as error:
        return (), (str(error),)
