"""What processes that share a model's weights take in memory, and what sharing costs in speed.

python benchmarks/shared_weights.py [MODEL.onnx] [--processes 4]    # by default VGG-11 with random weights

MODEL is exported with ``--external-data``. Memory is the proportional set size of ``/proc/PID/smaps_rollup``:
a page that several processes have mapped counts for each of them in part, so that the sum over the processes
is what they take together. The bar: four processes together take at most 1.5 times what one takes.

- ordinary: each process packs the weights for its kernels, in memory of its own.
- shared: ``share_weights=True``: the kernels read the file's pages; nothing is packed.
- shared, cached: ``share_weights=True, cache=FOLDER``: the packed weights are in a file, too, and mapped.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common import options, print_table, row

from cnntk.benchmark.compare import compare_interleaved
from cnntk.runtime import Engine
from cnntk.runtime.example_inputs import example_inputs

WAYS: dict[str, dict[str, Any]] = {
    "ordinary": {},
    "shared": {"share_weights": True},
    "shared, cached": {"share_weights": True, "cache": True},
}


@dataclass(frozen=True)
class Memory:
    """Of a process, in MB."""

    pss: float
    private: float


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("model", nargs="?", type=Path)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--child", metavar="WAY", help=argparse.SUPPRESS)
    parser.add_argument("--cache", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        runner(args.child, args.model, args.cache)()
        print("ready", flush=True)
        sys.stdin.readline()
        return
    with tempfile.TemporaryDirectory() as folder:
        model = args.model or exported("lenet" if args.quick else "vgg11", Path(folder))
        report(model, Path(folder) / "cache", args.processes, 0.5 if args.quick else 12.0)


def exported(name: str, folder: Path) -> Path:
    from cnntk.exporters import export

    export(name, target := folder / f"{name}.onnx", random=True, external_data=True)
    return target


def report(model: Path, cache: Path, processes: int, seconds: float) -> None:
    runners = {way: runner(way, model, cache) for way in WAYS}  # fills the cache, too
    print("One image, one thread:\n")
    ordinary = runners.pop("ordinary")
    print_table(
        row(f"{model.stem}, {way}", "ordinary", compare_interleaved(ordinary, call, seconds=seconds))
        for way, call in runners.items()
    )
    print("Memory, shared pages counted in parts; private is what no file is behind:\n")
    header = ("weights", "one process", "of it private", f"{processes} together", "ratio")
    print_table((occupied(way, model, cache, processes) for way in WAYS), header)


def runner(way: str, model: Path, cache: Path) -> Callable[[], object]:
    """A call that runs one image."""
    engine_options = {key: cache if key == "cache" else value for key, value in WAYS[way].items()}
    engine = Engine(model, threads=1, **engine_options)
    inputs = example_inputs(engine.inputs, 1, engine.image_sizes)
    return lambda: engine.run(inputs)


def occupied(way: str, model: Path, cache: Path, processes: int) -> tuple[str, ...]:
    (one,), many = (memory(way, model, cache, count) for count in (1, processes))
    together = sum(m.pss for m in many)
    sizes = (f"{mb:.0f} MB" for mb in (one.pss, one.private, together))
    return way, *sizes, f"{together / one.pss:.2f}"


def memory(way: str, model: Path, cache: Path, count: int) -> list[Memory]:
    """Of each of ``count`` processes that have run an image and live at once."""
    command = [sys.executable, __file__, str(model), "--child", way, "--cache", str(cache)]
    children = []
    for _ in range(count):
        child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        child.stdout.readline()
        children.append(child)
    result = [memory_of(child.pid) for child in children]
    for child in children:
        child.communicate("\n")
    return result


def memory_of(pid: int) -> Memory:
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    total, private = (re.search(rf"^{key}:\s+(\d+) kB", text, re.M) for key in ("Pss", "Pss_Anon"))
    return Memory(int(total[1]) / 1024, int(private[1]) / 1024)


if __name__ == "__main__":
    main()
