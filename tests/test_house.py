"""The house stands as ARCHITECTURE.md says: no import goes up a floor, no package is forgotten."""

import ast
import tomllib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SETUPTOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]

MAY_IMPORT = {
    "runtime": {"runtime"},
    "models": {"models", "runtime"},
    "exporters": {"exporters", "models", "runtime"},
    "toolkit": {"toolkit", "exporters", "models", "runtime"},
}
FORBIDDEN_LIBRARIES = {
    "runtime": {"torch", "onnx", "onnx_ir", "onnxscript", "click", "rich", "sklearn", "safetensors"},
    "models": {"onnx", "onnx_ir", "onnxscript", "onnxruntime", "click", "rich"},
    "exporters": {"click", "rich"},
    "toolkit": set(),
}


def imports_of(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def floor_of(module: str) -> str | None:
    head, _, rest = module.partition(".")
    if head != "cnntk":
        return None
    first = rest.partition(".")[0]
    return first if first in ("runtime", "models", "exporters") else "toolkit"


def climbs(floor: str, source: str) -> list[str]:
    """Imports that a file on ``floor`` may not make."""
    wrong = []
    for module in imports_of(source):
        target = floor_of(module)
        if target is not None and module != "cnntk" and target not in MAY_IMPORT[floor]:
            wrong.append(module)
        if module.partition(".")[0] in FORBIDDEN_LIBRARIES[floor]:
            wrong.append(module)
    return wrong


@pytest.mark.parametrize("floor", MAY_IMPORT)
def test_no_import_goes_up(floor: str) -> None:
    for file in (ROOT / floor).rglob("*.py"):
        assert climbs(floor, file.read_text(encoding="utf-8")) == [], file


@pytest.mark.parametrize(
    ("floor", "source"),
    [
        ("runtime", "from cnntk.models import zoo"),
        ("runtime", "def f():\n    import torch"),
        ("models", "from cnntk.exporters import export"),
        ("exporters", "from cnntk.cli import main"),
    ],
)
def test_a_climb_is_caught(floor: str, source: str) -> None:
    assert climbs(floor, source)


def test_every_package_is_listed() -> None:
    found = {
        ".".join((name, *init.parent.relative_to(ROOT / folder).parts))
        for name, folder in SETUPTOOLS["package-dir"].items()
        for init in (ROOT / folder).rglob("__init__.py")
    }
    assert found == set(SETUPTOOLS["packages"])


def test_every_data_file_is_listed() -> None:
    """A file that package-data does not list is silently not in the wheel."""
    listed = {
        file
        for package, patterns in SETUPTOOLS["package-data"].items()
        for pattern in patterns
        for file in _folder(package).glob(pattern)
    }
    found = {
        file
        for folder in MAY_IMPORT
        for file in (ROOT / folder).rglob("*")
        if file.is_file() and file.suffix not in (".py", ".pyc")
    }
    assert found == listed


@pytest.mark.parametrize("package", ["cnntk", "cnntk.runtime", "cnntk.exporters", "cnntk.models"])
def test_public_names_are_there(package: str) -> None:
    module = import_module(package)
    assert dir(module) == sorted(module.__all__)
    for name in module.__all__:
        assert getattr(module, name) is not None


def _folder(package: str) -> Path:
    parts = package.split(".")
    for length in range(len(parts), 0, -1):
        if (base := SETUPTOOLS["package-dir"].get(".".join(parts[:length]))) is not None:
            return ROOT.joinpath(base, *parts[length:])
    raise KeyError(package)
