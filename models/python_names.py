"""What a Python file defines, read from its text: nothing is imported or run."""

from __future__ import annotations

import ast
import importlib.util
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.machinery import ModuleSpec
from pathlib import Path

from cnntk.runtime.errors import UsageError
from cnntk.runtime.files import readable_file

__all__ = ["PythonNames", "check_reference", "file_of_module", "name_missing", "names_of_file"]

_DYNAMIC = frozenset({"globals", "locals", "vars", "setattr", "exec", "eval", "__getattr__"})
"""Names whose use may define others that can't be read from the text."""

_CONTAINERS = ("Module", "Sequential", "ModuleList")


@dataclass(frozen=True)
class PythonNames:
    """The names that a file defines.

    Attributes:
        defined: Names at the top of the file.
        is_complete: Whether there can be no others; else the file has a star import, or makes names when it
            runs.
        networks: Those that look like networks: modules, and classes and functions that build one without
            arguments; classes with required arguments only where there are no others.
    """

    defined: frozenset[str]
    is_complete: bool
    networks: tuple[str, ...]


def names_of_file(path: Path) -> PythonNames:
    """Reads the names that a Python file defines.

    Raises:
        UsageError: The file does not exist, is not text, or has a syntax error.
    """
    file = readable_file(path, "a Python file")
    try:
        tree = ast.parse(file.read_bytes(), str(file))
    except SyntaxError as error:
        raise UsageError(
            f"{path}: can't be imported: SyntaxError: {error.msg} ({file}:{error.lineno})"
        ) from error
    except ValueError as error:  # null bytes
        raise UsageError(f"{path}: can't be imported: {error}") from error
    collected = _Collected()
    for statement in _statements(tree.body):
        collected.add(statement)
    dynamic = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)} | collected.defined.keys()
    networks = tuple(name for name, is_network in collected.defined.items() if is_network)
    return PythonNames(
        frozenset(collected.defined),
        is_complete=not collected.star and not dynamic & _DYNAMIC,
        networks=tuple(name for name in networks if name not in collected.incomplete) or networks,
    )


def name_missing(file: str, verb: str, options: str) -> UsageError:
    """Returns the error of a Python file alone as a network; its notes are commands for the networks in it.

    Raises:
        UsageError: The file can't be read.
    """
    names = names_of_file(Path(file)).networks
    if not names:
        return UsageError(
            f"{file}: not a network; name the function, class or module in it, like {file}:function"
        )
    error = UsageError(f"{file}: not a network; name one that is in it:")
    for name in names:
        error.add_note(f"  cnntk {verb} {file}:{name} {options}")
    return error


def check_reference(reference: str) -> None:
    """Checks ``package.module:NAME`` or ``path/file.py:NAME``, as far as that runs no code.

    Raises:
        UsageError: There is no such file or package, or the file does not define the name.
    """
    origin, _, attribute = reference.rpartition(":")
    if not attribute.replace(".", "").isidentifier() or origin.partition(".")[0] in sys.stdlib_module_names:
        return  # its own message comes when it is located
    file = Path(origin) if origin.endswith(".py") else None
    if file is None and origin.replace(".", "").isidentifier():
        file = file_of_module(origin)
    if file is None:
        return
    names = names_of_file(file)
    if names.is_complete and attribute.partition(".")[0] not in names.defined:
        networks = f"; its networks are {', '.join(names.networks)}" if names.networks else ""
        raise UsageError(f"{reference}: {origin} has no {attribute!r}{networks}")


def file_of_module(name: str) -> Path | None:
    """Returns the file of a module, without importing it; None where that can't be known.

    Raises:
        UsageError: The package that it begins with is not installed.
    """
    package, *parts = name.split(".")
    if package in sys.modules:
        spec = sys.modules[package].__spec__
    else:
        spec = importlib.util.find_spec(package)
        if spec is None:
            raise UsageError(
                f"{name}: ModuleNotFoundError: No module named {package!r}; install it, or name a file as "
                "path/to/file.py:function"
            )
    for part in parts:
        if spec is None or spec.submodule_search_locations is None:
            return None
        spec = _find_spec(f"{spec.name}.{part}", list(spec.submodule_search_locations))
    is_source = spec is not None and spec.origin is not None and spec.origin.endswith(".py")
    return Path(spec.origin) if is_source else None  # type: ignore[union-attr,arg-type]


def _find_spec(name: str, path: list[str]) -> ModuleSpec | None:
    """Finds a submodule as an import does, but without the import of its package."""
    finders = (getattr(finder, "find_spec", None) for finder in sys.meta_path)
    specs = (find(name, path) for find in finders if find is not None)
    return next((spec for spec in specs if spec is not None), None)


@dataclass
class _Collected:
    """The names that were read so far, and whether each looks like a network.

    Classes in ``incomplete`` are built with arguments only.
    """

    defined: dict[str, bool] = field(default_factory=dict)
    incomplete: set[str] = field(default_factory=set)
    star: bool = False

    def add(self, statement: ast.stmt) -> None:
        """Adds what a statement defines."""
        match statement:
            case ast.ClassDef(name=name):
                self.defined[name] = self._is_network_class(statement)
                if any(_required(each) > 1 for each in _methods(statement) if each.name == "__init__"):
                    self.incomplete.add(name)
            case ast.FunctionDef(name=name):
                self.defined[name] = not name.startswith("_") and _builds(statement)
            case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
                self.star |= any(alias.name == "*" for alias in aliases)
                for alias in aliases:
                    self.defined.setdefault((alias.asname or alias.name).partition(".")[0], False)
            case ast.Assign(targets=targets, value=value):
                for target in targets:
                    self._assign(target, self._is_network(value))
            case ast.AnnAssign(target=target, value=value):
                self._assign(target, value is not None and self._is_network(value))
            case _:
                for node in ast.walk(statement):
                    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                        self.defined.setdefault(node.id, False)
        for node in ast.walk(statement):
            if isinstance(node, ast.Global):
                self.defined |= dict.fromkeys(set(node.names) - self.defined.keys(), False)
            elif isinstance(node, ast.NamedExpr):
                self._assign(node.target, is_network=False)

    def _assign(self, target: ast.expr, is_network: bool) -> None:
        for node in ast.walk(target):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                self.defined[node.id] = is_network and node is target

    def _is_network(self, value: ast.expr) -> bool:
        """Whether an expression calls a class of torch.nn, or a network of the file."""
        if not isinstance(value, ast.Call):
            return False
        function = value.func
        if isinstance(function, ast.Attribute):
            owner = ast.unparse(function.value)
            return (owner in ("nn", "torch.nn") and function.attr[:1].isupper()) or (
                isinstance(function.value, ast.Call) and self._is_network(function.value)  # Net().eval()
            )
        return isinstance(function, ast.Name) and (
            function.id in _CONTAINERS or self.defined.get(function.id, False)
        )

    def _is_network_class(self, node: ast.ClassDef) -> bool:
        bases = [ast.unparse(base) for base in node.bases]
        if any(base.endswith(_CONTAINERS) or self.defined.get(base, False) for base in bases):
            return True
        members = _methods(node)
        has_forward = any(each.name == "forward" for each in members)
        return has_forward or any("self.net =" in ast.unparse(each) for each in members)


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements that run when a file is imported, also those in ``if``, ``try`` and loops."""
    for statement in body:
        yield statement
        if not isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            for name in ("body", "orelse", "finalbody"):
                yield from _statements(getattr(statement, name, []))
            for handler in (*getattr(statement, "handlers", []), *getattr(statement, "cases", [])):
                yield from _statements(handler.body)


def _builds(node: ast.FunctionDef) -> bool:
    """Whether a function can be called without arguments and returns something."""
    returns = any(isinstance(n, ast.Return) and n.value is not None for n in ast.walk(node))
    return _required(node) == 0 and returns


def _methods(node: ast.ClassDef) -> list[ast.FunctionDef]:
    return [each for each in node.body if isinstance(each, ast.FunctionDef)]


def _required(node: ast.FunctionDef) -> int:
    """Number of its arguments without a default."""
    arguments = node.args
    required = len(arguments.posonlyargs) + len(arguments.args) - len(arguments.defaults)
    return required + sum(default is None for default in arguments.kw_defaults)
