"""The source files of the four packages, for the tests and tools that look at all of them."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
PACKAGES = ("runtime", "models", "exporters", "toolkit")


class Name(NamedTuple):
    """A name that a file binds.

    Attributes:
        text: The name.
        line: Number of the line that binds it.
        is_class: Whether it is the name of a class.
    """

    text: str
    line: int
    is_class: bool = False


def source_files(folders: Iterable[str] = PACKAGES, suffix: str = ".py") -> list[Path]:
    """The files below ``folders`` of the repository, sorted."""
    return sorted(file for folder in folders for file in (ROOT / folder).rglob(f"*{suffix}"))


def relative(file: Path) -> str:
    """``file`` as a path from the root of the repository."""
    return file.relative_to(ROOT).as_posix()


def bound_names(source: str) -> Iterator[Name]:
    """Variables, attributes, arguments, functions, classes and import aliases that ``source`` binds."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Name(id=text, ctx=ast.Store()) | ast.Attribute(attr=text, ctx=ast.Store()):
                yield Name(text, node.lineno)
            case ast.arg(arg=text) | ast.alias(asname=str(text)):
                yield Name(text, node.lineno)
            case ast.FunctionDef(name=text) | ast.AsyncFunctionDef(name=text):
                yield Name(text, node.lineno)
            case ast.ClassDef(name=text):
                yield Name(text, node.lineno, is_class=True)
