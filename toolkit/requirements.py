"""Requirements of cnntk, as its metadata declares them: what is missing, and what is too old."""

from __future__ import annotations

import importlib.metadata as metadata
import re
from collections.abc import Iterable

from cnntk.runtime.session.devices import release_numbers

__all__ = ["installed_version", "missing_packages", "onnxruntime_wheels", "outdated_packages"]

_RUNTIMES = ("cpu", "gpu")  # extras of which one is enough
_NAME = re.compile(r"[\w.-]+")
_OLDEST = re.compile(r">=\s*([\w.+!-]+)")
_EXTRA = re.compile(r"""\bextra\s*==\s*["']([^"']+)["']""")


def missing_packages(requirements: Iterable[str] | None = None) -> dict[str, tuple[str, ...]]:
    """Missing packages of each extra, without cpu and gpu, of which one is enough.

    Args:
        requirements: Requirements, as in a distribution's metadata: ``onnx>=1.22; extra == "export"``; those
            of cnntk by default.
    """
    missing: dict[str, tuple[str, ...]] = {}
    for name, _, extra in _parse(requirements):
        if extra and extra not in _RUNTIMES and installed_version(name) is None:
            missing[extra] = (*missing.get(extra, ()), name)
    return missing


def outdated_packages(requirements: Iterable[str] | None = None) -> tuple[str, ...]:
    """Installed packages that are older than required, each with what is required and the fix.

    Args:
        requirements: As for `missing_packages`.
    """
    problems: dict[str, str] = {}
    for name, oldest, extra in _parse(requirements):
        version = installed_version(name)
        if version is not None and release_numbers(version) < release_numbers(oldest):
            needs = f"cnntk[{extra}]" if extra else "cnntk"
            fix = f"pip install -U '{name}>={oldest}'"
            problems.setdefault(name, f"{name} {version} is too old; {needs} needs {oldest} or newer: {fix}")
    return tuple(problems.values())


def onnxruntime_wheels() -> tuple[str, ...]:
    """Installed distributions that contain the module onnxruntime; each one overwrites the others' files."""
    wheels = (d for d in metadata.distributions() if d.name.lower().startswith("onnxruntime"))
    module = "onnxruntime/__init__.py"
    return tuple(sorted({d.name for d in wheels if any(str(f) == module for f in d.files or ())}))


def installed_version(package: str) -> str | None:
    """Returns the version of an installed package; None if it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _parse(requirements: Iterable[str] | None) -> list[tuple[str, str, str]]:
    """Name, oldest version and extra of each requirement; the latter two are empty where there is none."""
    if requirements is None:
        try:
            requirements = metadata.requires("cnntk") or ()
        except metadata.PackageNotFoundError:  # run from its files, without an installation
            requirements = ()
    parsed = []
    for line in requirements:
        specifier, _, marker = line.partition(";")
        name, oldest, extra = _NAME.match(specifier), _OLDEST.search(specifier), _EXTRA.search(marker)
        if name is not None:
            parsed.append((name[0], oldest[1] if oldest else "", extra[1] if extra else ""))
    return parsed
