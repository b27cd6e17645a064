"""Runs cnntk's own figures, and writes them to docs/benchmarks.md with the machine and the date.

    python benchmarks/page.py [--only NAME ...] [--photographs FOLDER]
    python benchmarks/page.py --quick --output trial.md      # minutes: does every script run?

Takes about an hour on two cores. What is not run keeps what the page had, with its own date.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from common import HEADER, options, table_lines

from cnntk.benchmark.machine import detect_machine
from cnntk.benchmark.statistics.system_load import load_between, read_counters
from cnntk.runtime.errors import DeviceUnavailable
from cnntk.runtime.session.devices import resolve_device

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "benchmarks.md"

TITLES = {
    "overhead": "What the runtime costs over bare onnxruntime",
    "startup": "What starting costs",
    "load": "What loading costs",
    "export_cost": "What an export with checks costs over torch.onnx.export",
    "preprocessing": "What preprocessing in the graph costs",
    "directory": "A folder of photographs",
    "batching": "Batches of many clients' requests",
    "shared_weights": "Weights that processes share",
    "quantized": "Quantized models, compared with other quantizers",
    "layers": "Layer by layer",
    "gpu": "On a GPU",
    "comparing": "How far comparisons can be trusted",
}

HEAD = """# Benchmarks

Measured by `python benchmarks/page.py`, everything interleaved with what it is compared with. Times are
medians; the speed-up is the other's time divided by this one's, with its 95 % confidence interval in square
brackets, and the verdict is "faster" or "slower" only if all of the interval is, by over 2 %. Figures hold
for the machine and the day that stand with them, and so does the CPU share of other processes.
"""

SHORT = """## In short

The first row of each comparison below.
"""


PHOTOGRAPHS = ("preprocessing", "directory")
"""Scripts that take a folder of them, and else do without."""


def main() -> None:
    args = arguments()
    parts, failed = load_parts(args.output), []
    for name in args.only:
        if name == "gpu" and (problem := without_cuda()):
            print(f"{name}: left out: {problem}")
            continue
        print(f"{name} ...", flush=True)
        start = time.monotonic()
        script_arguments = ["--quick"] if args.quick else []
        if args.photographs and name in PHOTOGRAPHS:
            script_arguments.append(args.photographs)
        try:
            parts[name] = measured(name, script_arguments)
        except subprocess.CalledProcessError:
            failed.append(name)
        args.output.write_text(page(parts), encoding="utf-8")
        print(f"{name}: {time.monotonic() - start:.0f} s", flush=True)
    if failed:
        sys.exit(f"{', '.join(failed)}: failed; the page keeps what it had")


def arguments() -> argparse.Namespace:
    parser = options(__doc__)
    parser.add_argument("--only", nargs="+", choices=list(TITLES), default=list(TITLES), metavar="NAME")
    parser.add_argument("--photographs", help=f"a folder, for {' and '.join(PHOTOGRAPHS)}")
    parser.add_argument("--output", type=Path, default=PAGE)
    args = parser.parse_args()
    if args.quick and args.output.resolve() == PAGE.resolve():
        parser.error("--quick has no figures to keep: name another --output")
    return args


def environment() -> dict[str, str]:
    """As of a user's installation, whose modules pip has compiled."""
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**variables, "PYTHONWARNINGS": "ignore"}


def without_cuda() -> str:
    """Why there is no GPU here; empty where there is one."""
    try:
        resolve_device("cuda")
    except DeviceUnavailable as error:
        return str(error)
    return ""


def load_parts(path: Path) -> dict[str, str]:
    """The parts that the page has, by name."""
    if not path.exists():
        return {}
    result = re.split(r"(?m)^## ", path.read_text(encoding="utf-8"))[1:]
    bodies = {title: body for title, _, body in (part.partition("\n") for part in result)}
    return {name: bodies[title].strip() for name, title in TITLES.items() if title in bodies}


def page(parts: dict[str, str]) -> str:
    """All of it, the parts in the order of `TITLES`."""
    texts = [HEAD]
    if short := list(in_short(parts)):
        texts.append("\n".join((SHORT, *table_lines(short, ("part", *HEADER)), "")))
    texts += (f"## {title}\n\n{parts[name]}\n" for name, title in TITLES.items() if name in parts)
    return "\n".join(texts)


def in_short(parts: dict[str, str]) -> Iterator[tuple[str, ...]]:
    """The first row of each table of comparisons, which says the most."""
    for name, title in TITLES.items():
        anchor = re.sub(r"[^\w -]", "", title).lower().replace(" ", "-")
        lines = parts.get(name, "").splitlines()
        for header, first in zip(lines, lines[2:], strict=False):
            if cells(header) == HEADER:
                yield f"[{title}](#{anchor})", *cells(first)


def cells(line: str) -> tuple[str, ...]:
    return tuple(line.removeprefix("| ").removesuffix(" |").split(" | "))


def measured(name: str, script_arguments: list[str]) -> str:
    """A part of the page: what a script printed, where and when."""
    before = read_counters()
    # Its own children are its, and no others': os.times counts them once they have ended.
    done = subprocess.run(
        [sys.executable, str(HERE / f"{name}.py"), *script_arguments],
        stdout=subprocess.PIPE,
        text=True,
        cwd=HERE.parent,
        env=environment(),
        check=True,
    )
    others = load_between(before, read_counters()).other_cpu_share
    when = f"{datetime.now(UTC).date()}, {detect_machine().summary}"
    noise = "" if others is None else f"; other processes used {others:.0%} of the cores meanwhile"
    return f"`benchmarks/{name}.py`, {when}{noise}.\n\n{done.stdout.strip()}"


if __name__ == "__main__":
    main()
