"""The test files for what changed since the remote's main branch: ``make check`` runs them.

A source file is tested by the file of its name under ``tests/``, else by all tests of its folder.
The tests of the source as a whole are always among them.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from pathlib import Path

from source_tree import PACKAGES, ROOT

ALWAYS = ("tests/test_house.py", "tests/test_words.py", "tests/test_import_cost.py")


def select_tests(changed: Iterable[str], root: Path = ROOT) -> list[str]:
    """Test files and folders below ``root`` to run after changes to the files ``changed``, sorted.

    Args:
        changed: Paths from the root of the repository.
        root: The repository.
    """
    tests = {path for path in ALWAYS if (root / path).exists()}
    for path in map(Path, changed):
        if path.parts[0] == "tests" and path.name.startswith("test_"):
            candidates = [path]
        elif path.parts[0] in PACKAGES:
            folder = Path("tests") / path.parent
            candidates = [folder / f"test_{path.stem.lstrip('_')}.py", folder]
        else:
            continue
        tests.update([c.as_posix() for c in candidates if (root / c).exists()][:1])
    return sorted(tests)


def changed_files() -> list[str]:
    """Files that differ from the remote's main branch (without a remote, from ``HEAD``), with new ones."""
    base = _git("merge-base", "origin/HEAD", "HEAD") or ["HEAD"]
    return _git("diff", "--name-only", base[0]) + _git("ls-files", "--others", "--exclude-standard")


def _git(*arguments: str) -> list[str]:
    result = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)
    return result.stdout.splitlines()


if __name__ == "__main__":
    print(*select_tests(changed_files()))
