"""The README's walk-through works: its commands run in order, in an empty folder.

A console block is part of the walk-through if the line before it begins with `MARK`. Lines that begin with
``$ `` are commands, which a backslash at the end continues on the next line; other lines are output and are
not compared.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from source_tree import ROOT

MARK = "<!-- walk-through"
_BLOCK = re.compile(rf"^{re.escape(MARK)}[^\n]*-->\n+```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def walk_through(markdown: str) -> list[str]:
    """The commands of all marked blocks, in order."""
    commands: list[str] = []
    continued = False
    for line in "".join(_BLOCK.findall(markdown)).splitlines():
        if continued:
            commands[-1] += "\n" + line
        elif line.startswith("$ "):
            commands.append(line.removeprefix("$ "))
        continued = (continued or line.startswith("$ ")) and line.endswith("\\")
    return commands


def run_all(commands: list[str], folder: Path) -> None:
    """Runs the commands in ``folder`` with the ``cnntk`` and ``python`` of this environment.

    Raises:
        AssertionError: A command's exit status is not 0; the message has the command and its output.
    """
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    environment = {**os.environ, "PATH": path, "COLUMNS": "100"}
    environment.pop("CNNTK_MODEL", None)
    for command in commands:
        result = subprocess.run(
            command,
            shell=True,
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert result.returncode == 0, f"$ {command}\n{result.stdout}"


@pytest.mark.slow
def test_the_walk_through_works(tmp_path: Path) -> None:
    commands = walk_through((ROOT / "README.md").read_text(encoding="utf-8"))
    assert any(command.startswith("cnntk ") for command in commands), f"README.md has no block after {MARK}"
    run_all(commands, tmp_path)


EXAMPLE = f"""
```console
$ false
```
{MARK}: run by a test -->
```console
$ echo one > file
an output
$ cat \\
  file
one
```
Text.

{MARK} -->

```console
$ test -s file  # the same folder
```
"""


def test_marked_blocks_run_in_one_folder(tmp_path: Path) -> None:
    commands = walk_through(EXAMPLE)
    assert commands == ["echo one > file", "cat \\\n  file", "test -s file  # the same folder"]
    run_all(commands, tmp_path)


@pytest.mark.parametrize("command", ["false", "cat missing", "cnntk infer missing.png"])
def test_a_command_that_fails_is_caught(command: str, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=re.escape(command)):
        run_all(["true", command], tmp_path)
