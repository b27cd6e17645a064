"""The structure that ARCHITECTURE.md describes: no import goes up a layer, no package is missing."""

import ast
import tomllib
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from importlib import import_module
from pathlib import Path

import pytest
from source_tree import PACKAGES, ROOT, relative, source_files

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


NODES_LIMIT, EDGES_LIMIT = 17, 55
"""Most folders and modules at the top of toolkit/ plus the other packages, and most imports between them."""


def layer_of(module: str) -> str | None:
    head, _, rest = module.partition(".")
    if head != "cnntk":
        return None
    first = rest.partition(".")[0]
    return first if first in ("runtime", "models", "exporters") else "toolkit"


def upward_imports(layer: str, source: str) -> list[str]:
    """Imports that a file on ``layer`` may not make."""
    imports = []
    for module in imports_of(source):
        target = layer_of(module)
        if target is not None and module != "cnntk" and target not in MAY_IMPORT[layer]:
            imports.append(module)
        if module.partition(".")[0] in FORBIDDEN_LIBRARIES[layer]:
            imports.append(module)
    return imports


@pytest.mark.parametrize("layer", MAY_IMPORT)
def test_no_import_goes_up(layer: str) -> None:
    for file in (ROOT / layer).rglob("*.py"):
        assert upward_imports(layer, file.read_text(encoding="utf-8")) == [], file


@pytest.mark.parametrize(
    ("layer", "source"),
    [
        ("runtime", "from cnntk.models import zoo"),
        ("runtime", "def f():\n    import torch"),
        ("models", "from cnntk.exporters import export"),
        ("exporters", "from cnntk.cli import main"),
    ],
)
def test_an_upward_import_is_caught(layer: str, source: str) -> None:
    assert upward_imports(layer, source)


def node_of(module: str) -> str | None:
    """The folder or module at the top of toolkit/, or the other package, that ``module`` belongs to."""
    head, _, rest = module.partition(".")
    name = rest.partition(".")[0]
    exists = name in PACKAGES or any((ROOT / "toolkit" / file).exists() for file in (name, f"{name}.py"))
    return name if head == "cnntk" and name and exists else None


def import_edges(sources: dict[str, str]) -> set[tuple[str, str]]:
    """The imports between nodes, in files by path, with those for type checkers, without the public names."""
    edges = set()
    for path, source in sources.items():
        package, top = path.split("/")[:2]
        node = package if package != "toolkit" else top.removesuffix(".py")
        if node in ("__init__", "__main__"):
            continue
        modules = {m for m in imports_of(source) if m != "cnntk"}
        edges |= {(node, target) for m in modules if (target := node_of(m)) not in (None, node)}
    return edges


def test_few_edges() -> None:
    sources = {relative(f): f.read_text(encoding="utf-8") for f in source_files()}
    edges = import_edges(sources)
    nodes = {node for edge in edges for node in edge}
    assert len(nodes) <= NODES_LIMIT, sorted(nodes)
    assert len(edges) <= EDGES_LIMIT, sorted(edges)


def test_edges_are_counted() -> None:
    sources = {
        "toolkit/cli/main.py": "from cnntk.data.folder import x\nfrom cnntk.cli.y import z\nimport torch",
        "toolkit/doctor.py": "from cnntk import version",
        "toolkit/__init__.py": "from cnntk.data import Split",
        "models/zoo.py": "if TYPE_CHECKING:\n    from cnntk.runtime import Engine",
    }
    assert import_edges(sources) == {("cli", "data"), ("doctor", "version"), ("models", "runtime")}


def import_cycle(sources: dict[str, str]) -> list[str]:
    """A cycle of imports between modules, in files by path, with lazy ones and those for type checkers."""
    modules = {module_of(path): set(imports_of(source)) for path, source in sources.items()}
    try:
        TopologicalSorter(
            {name: targets & set(modules) - {name} for name, targets in modules.items()}
        ).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def module_of(path: str) -> str:
    return ".".join(("cnntk", *Path(path.removeprefix("toolkit/")).with_suffix("").parts)).removesuffix(
        ".__init__"
    )


def test_no_cycle_of_imports() -> None:
    assert import_cycle({relative(f): f.read_text(encoding="utf-8") for f in source_files()}) == []


def test_a_cycle_is_caught() -> None:
    sources = {
        "toolkit/data/__init__.py": "from cnntk.data import images",
        "toolkit/data/images.py": "import numpy",
        "toolkit/doctor.py": "if TYPE_CHECKING:\n    from cnntk.runtime.engine import Engine",
        "runtime/engine.py": "def f():\n    import cnntk.doctor",
    }
    assert set(import_cycle(sources)) == {"cnntk.doctor", "cnntk.runtime.engine"}
    del sources["runtime/engine.py"]
    assert import_cycle(sources) == []


def test_every_package_is_listed() -> None:
    packages = {
        ".".join((name, *init.parent.relative_to(ROOT / folder).parts))
        for name, folder in SETUPTOOLS["package-dir"].items()
        for init in (ROOT / folder).rglob("__init__.py")
    }
    assert packages == set(SETUPTOOLS["packages"])


def test_every_data_file_is_listed() -> None:
    """A file that package-data does not list is silently not in the wheel."""
    listed = {
        file
        for package, patterns in SETUPTOOLS["package-data"].items()
        for pattern in patterns
        for file in _folder(package).glob(pattern)
    }
    files = {
        file
        for folder in MAY_IMPORT
        for file in (ROOT / folder).rglob("*")
        if file.is_file() and file.suffix not in (".py", ".pyc")
    }
    assert files == listed


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


def private_imports(package: str, source: str) -> list[str]:
    """Modules of another package that are private there and imported here; packages are ``cnntk.NAME``."""
    modules = [module.split(".") for module in imports_of(source) if module.startswith("cnntk.")]
    return [
        ".".join(parts)
        for parts in modules
        if parts[1] != package and any(part.startswith("_") and part[:2] != "__" for part in parts[2:])
    ]


@pytest.mark.parametrize("folder", ["runtime", "models", "exporters", "toolkit"])
def test_no_package_imports_private_modules_of_another(folder: str) -> None:
    for file in (ROOT / folder).rglob("*.py"):
        parts = file.relative_to(ROOT / "toolkit" if folder == "toolkit" else ROOT).parts
        assert private_imports(parts[0], file.read_text(encoding="utf-8")) == [], file


def test_a_private_module_of_another_package_is_found() -> None:
    source = "from cnntk.exporters.shapes._dims import same\nfrom cnntk.runtime._log import logger"
    assert private_imports("exporters", source) == ["cnntk.runtime._log", "cnntk.runtime._log.logger"]
