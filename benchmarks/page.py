"""Runs cnntk's own figures, and writes them to docs/benchmarks.md with the machine and the date.

python benchmarks/page.py [--photographs FOLDER] [--only NAME ...]

Takes about an hour on two cores. What is not run keeps what the page had, with its own date.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from cnntk.measuring.machine import machine
from cnntk.measuring.surroundings import meanwhile, surroundings

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "benchmarks.md"

TITLES = {
    "overhead": "What the runtime costs over bare onnxruntime",
    "start_up": "What starting costs",
    "load": "What loading costs",
    "export_cost": "What an export with proof costs over torch.onnx.export",
    "preprocessing": "What preprocessing in the graph costs",
    "directory": "A folder of photographs",
    "batching": "Batches of many clients' requests",
    "quantized": "Quantised models, beside other quantisers",
    "layers": "Layer by layer",
    "comparing": "How far comparisons can be trusted",
}

HEAD = """# Benchmarks

Measured by `python benchmarks/page.py`: each script beside what it is compared with, in one run, in turns; in
square brackets the 95 % confidence interval. Figures hold for the machine and the day that stand with them.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=list(TITLES), default=list(TITLES))
    parser.add_argument("--photographs", help="a folder, for `directory`, which else makes some up")
    given = parser.parse_args()
    parts = known()
    for name in given.only:
        arguments = [given.photographs] if given.photographs and name == "directory" else []
        print(f"{name} ...", flush=True)
        parts[name] = measured(name, arguments)
        order = [parts[n] for n in TITLES if n in parts]
        PAGE.write_text("\n".join([HEAD, *order]), encoding="utf-8")


def known() -> dict[str, str]:
    """The parts that the page has, by name."""
    if not PAGE.exists():
        return {}
    found = re.split(r"(?m)^(?=## )", PAGE.read_text(encoding="utf-8"))[1:]
    names = {title: name for name, title in TITLES.items()}
    return {names[part.splitlines()[0][3:]]: part.rstrip("\n") + "\n" for part in found}


def measured(name: str, arguments: list[str]) -> str:
    """A part of the page: what a script printed, where and when."""
    before = surroundings()
    # Its own children are its, and no others': os.times counts them once they have ended.
    done = subprocess.run(
        [sys.executable, str(HERE / f"{name}.py"), *arguments],
        stdout=subprocess.PIPE,
        text=True,
        cwd=HERE.parent,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
        check=True,
    )
    others = meanwhile(before, surroundings()).others
    when = f"{datetime.now(UTC).date()}, {machine().summary}"
    noise = "" if others is None else f"; other processes used {others:.0%} of the cores meanwhile"
    text = re.sub(r"\S*/(\S+\.onnx)", r"\1", done.stdout).strip()
    return f"## {TITLES[name]}\n\n`benchmarks/{name}.py`, {when}{noise}.\n\n```text\n{text}\n```\n"


if __name__ == "__main__":
    main()
