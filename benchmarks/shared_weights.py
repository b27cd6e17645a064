"""What processes that share a model's weights take in memory, and what sharing costs in speed.

    cnntk export vgg11 --random --external-data -o vgg11.onnx
    python benchmarks/shared_weights.py vgg11.onnx [--processes 4] [--every]

Memory is the proportional set size of ``/proc/PID/smaps_rollup``: a page that several processes have mapped
counts for each of them in part, so that the sum over the processes is what they take together. The bar: four
processes together take at most 1.5 times what one takes. Latency is of one image on one thread, the ways in
turn, round by round, and the median of them.

- ordinary: each process packs the weights for its kernels, in memory of its own.
- shared: ``share_weights=True``: the kernels read the file's pages; nothing is packed.
- shared, cached: ``share_weights=True, cache=FOLDER``: the packed weights are in a file, too, and mapped.

``--every`` adds, on bare onnxruntime, the settings that were tried on the way.
"""

from __future__ import annotations

import argparse
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnxruntime

from cnntk.runtime import Engine
from cnntk.runtime.session import tensor_specs
from cnntk.runtime.trial import example_inputs

NO_PREPACKING = "session.disable_prepacking"


@dataclass(frozen=True)
class Memory:
    """Of a process, in MB."""

    pss: float
    private: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model")
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--every", action="store_true", help="try other settings, too")
    parser.add_argument("--child", metavar="WAY", help=argparse.SUPPRESS)
    parser.add_argument("--cache", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        run = runner(arguments.child, arguments.model, arguments.cache)
        run()
        print("ready", flush=True)
        sys.stdin.readline()
        return
    with tempfile.TemporaryDirectory() as cache:
        names = [*ways(arguments.model, cache), *(bare_ways(arguments.model) if arguments.every else ())]
        runner("shared, cached", arguments.model, cache)  # fills the cache
        latencies = interleaved(names, arguments.model, cache, arguments.rounds)
        base = statistics.median(latencies["ordinary"])
        for name in names:
            one = memory(name, arguments.model, cache, 1)
            many = memory(name, arguments.model, cache, arguments.processes)
            together, single = sum(m.pss for m in many), one[0].pss
            latency = statistics.median(latencies[name])
            print(
                f"{name:20} one {single:6.0f} MB ({one[0].private:4.0f} private), "
                f"{arguments.processes} together {together:6.0f} MB, ratio {together / single:.2f}; "
                f"latency {latency:6.1f} ms, {latency / base:.3f} of the ordinary"
            )


def ways(model: str, cache: str | None) -> dict[str, Callable[[], Engine]]:
    """How an engine is made."""
    return {
        "ordinary": lambda: Engine(model, threads=1),
        "shared": lambda: Engine(model, threads=1, share_weights=True),
        "shared, cached": lambda: Engine(model, threads=1, share_weights=True, cache=cache),
    }


def bare_ways(model: str) -> dict[str, Callable[[], Any]]:
    """Sessions of other settings."""
    levels = onnxruntime.GraphOptimizationLevel

    def session(level: Any = levels.ORT_ENABLE_ALL, without: tuple[str, ...] = ()) -> Any:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.graph_optimization_level = 1, level
        options.add_session_config_entry(NO_PREPACKING, "1")
        providers = ["CPUExecutionProvider"]
        return onnxruntime.InferenceSession(model, options, providers, disabled_optimizers=without)

    return {
        "unpacked": session,
        "unpacked, no NCHWc": lambda: session(without=("NchwcTransformer",)),
        "unpacked, extended": lambda: session(levels.ORT_ENABLE_EXTENDED),
        "unpacked, basic": lambda: session(levels.ORT_ENABLE_BASIC),
        "unpacked, none": lambda: session(levels.ORT_DISABLE_ALL),
    }


def runner(way: str, model: str, cache: str | None) -> Callable[[], object]:
    """A call that runs one image."""
    made = {**ways(model, cache), **bare_ways(model)}[way]()
    if isinstance(made, Engine):
        inputs = example_inputs(made.inputs, 1, made.image_sizes)
        return lambda: made.run(inputs)
    inputs = example_inputs(tensor_specs(made.get_inputs()), 1)
    return lambda: made.run(None, inputs)


def interleaved(names: list[str], model: str, cache: str, rounds: int) -> dict[str, list[float]]:
    """Latencies in ms."""
    runs = {name: runner(name, model, cache) for name in names}
    found: dict[str, list[float]] = {name: [] for name in names}
    for run in runs.values():
        run()
    for _ in range(rounds):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            found[name].append((time.perf_counter() - start) * 1e3)
    return found


def memory(name: str, model: str, cache: str, count: int) -> list[Memory]:
    """Of each of ``count`` processes that have run an image and live at once."""
    command = [sys.executable, __file__, model, "--child", name, "--cache", cache]
    children = []
    for _ in range(count):
        child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        child.stdout.readline()
        children.append(child)
    found = [_memory_of(child.pid) for child in children]
    for child in children:
        child.communicate("\n")
    return found


def _memory_of(pid: int) -> Memory:
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    total, private = (re.search(rf"^{key}:\s+(\d+) kB", text, re.M) for key in ("Pss", "Pss_Anon"))
    return Memory(int(total[1]) / 1024, int(private[1]) / 1024)


if __name__ == "__main__":
    main()
