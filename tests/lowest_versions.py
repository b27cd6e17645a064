"""Constraints that install the lowest versions that pyproject.toml declares: ``make test-lowest`` uses them.

Versions that constraints.txt pins stay as they are there.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from itertools import chain
from typing import Any

from source_tree import ROOT

_REQUIREMENT = re.compile(r"([\w.-]+)\s*>=\s*([\w.]+)")


def declared_versions(project: dict[str, Any]) -> dict[str, str]:
    """The lowest version of each package that the table ``project`` of pyproject.toml requires.

    Raises:
        ValueError: A requirement is not of the form ``name>=version``.
    """
    lines = chain(project["dependencies"], *project["optional-dependencies"].values())
    matches = {line: _REQUIREMENT.fullmatch(line) for line in lines}
    if odd := [line for line, match in matches.items() if match is None]:
        raise ValueError(f"pyproject.toml: {odd[0]!r}: expected name>=version")
    return {match[1]: match[2] for match in matches.values() if match is not None}


def lowest_constraints(declared: dict[str, str], pinned: Iterable[str]) -> list[str]:
    """Lines of a constraints file: what is pinned already, and the lowest version of everything else."""
    pins = [line.strip() for line in pinned if "==" in line]
    names = {line.partition("==")[0] for line in pins}
    return [*pins, *(f"{name}=={version}" for name, version in declared.items() if name not in names)]


def project_table() -> dict[str, Any]:
    """The table ``project`` of pyproject.toml."""
    table: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return table


if __name__ == "__main__":
    pinned = (ROOT / "constraints.txt").read_text().splitlines()
    print(*lowest_constraints(declared_versions(project_table()), pinned), sep="\n")
