"""``cnntk doctor``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cnntk.cli.output import json_option, print_json, print_table, size_text

if TYPE_CHECKING:
    from cnntk.doctor import Diagnosis


@click.command()
@json_option
def doctor(as_json: bool) -> int:
    """Look at the machine, the providers and the installation."""
    from cnntk.doctor import diagnose

    found = diagnose()
    if as_json:
        print_json(found.to_json())
    else:
        _print(found)
    return int(bool(found.problems))


def _print(d: Diagnosis) -> None:
    memory = f", {size_text(d.memory_bytes)} memory" if d.memory_bytes else ""
    print_table(
        [
            ("cnntk", d.cnntk),
            ("python", d.python),
            ("system", d.system),
            ("cpu", f"{d.cpu}, {d.cores} cores usable{memory}"),
            ("", " ".join(d.cpu_features) or "features unknown"),
            *((name, version or "not installed") for name, version in d.packages.items()),
            ("providers", ", ".join(d.providers) or "none"),
            *((f"[{extra}]", f"lacks {', '.join(names)}: pip install 'cnntk[{extra}]'")
              for extra, names in d.missing_extras.items()),
        ]
    )  # fmt: skip
    for problem in d.problems:
        print(f"problem: {problem}")
    if not d.problems:
        print("no problems found")
