"""Which networks can be exported: the zoo, and transformers' image classifiers by default configuration.

    python benchmarks/coverage.py                    # all, with checks; random weights, nothing is downloaded
    python benchmarks/coverage.py --way capture      # source and capture alone
    python benchmarks/coverage.py --way torch        # torch.onnx.export alone, for comparison
    python benchmarks/coverage.py transformers:vit lenet

Each network has a process of its own, one at a time, with limits on time and memory. A row for each is
printed as it comes: what became of it, how long it took, its parity (the largest difference from float64 as a
share of what was allowed; below 1 holds), and where it was refused, why.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

GIB = 1 << 30

# What memory that is not there looks like: Python's way, and torch's and onnxruntime's.
OUT_OF_MEMORY = ("MemoryError", "allocate memory", "bad_alloc", "BFCArena")


def main() -> None:
    arguments = _arguments()
    if arguments.one:
        _child(arguments)
        return
    rows = []
    print(f"{'network':38} {'result':8} {'s':>6} {'GiB':>5} {'parity':>8}  reason")
    for name in arguments.networks or _all():
        row = {"network": name, **_run(name, arguments)}
        rows.append(row)
        print(_line(row), flush=True)
    counts = Counter(row["result"] for row in rows)
    print(f"{len(rows)} networks: " + ", ".join(f"{n} {result}" for result, n in counts.most_common()))
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("networks", nargs="*", help="as cnntk export takes them; by default all")
    parser.add_argument("--way", choices=tuple(WAYS), default="export")
    parser.add_argument("--timeout", type=float, default=240.0, help="seconds for each network")
    parser.add_argument("--memory", type=float, default=14.0, help="GiB of address space for each network")
    parser.add_argument("--json", help="file for the rows")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    return parser.parse_args()


def _all() -> list[str]:
    from cnntk.models import zoo

    try:
        from transformers.models.auto import modeling_auto
    except ImportError:
        print("transformers is not installed: the zoo alone", file=sys.stderr)
        return list(zoo.names())
    mapping = modeling_auto.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES
    return [*zoo.names(), *(f"transformers:{name}" for name in mapping)]


def _run(name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    command = [sys.executable, __file__, "--one", name, "--way", arguments.way]
    started = time.monotonic()
    limit = int(arguments.memory * GIB)
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=arguments.timeout,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
            env={**os.environ, "HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1"},
        )
    except subprocess.TimeoutExpired:
        return {
            "result": "timeout",
            "seconds": arguments.timeout,
            "reason": f"over {arguments.timeout:.0f} s",
        }
    seconds = round(time.monotonic() - started, 1)
    if any(sign in done.stderr or sign in done.stdout for sign in OUT_OF_MEMORY):
        return {"result": "memory", "seconds": seconds, "reason": f"needs over {arguments.memory:g} GiB"}
    try:
        return {"seconds": seconds, **json.loads(done.stdout.splitlines()[-1])}
    except (ValueError, IndexError):
        last = (done.stderr.strip().splitlines() or [f"exit {done.returncode}"])[-1]
        return {"result": "crashed", "seconds": seconds, "reason": last}


def _line(row: dict[str, Any]) -> str:
    parity = "" if row.get("parity") is None else format(row["parity"], ".3f")
    memory = "" if row.get("gib") is None else format(row["gib"], ".1f")
    start = f"{row['network']:38} {row['result']:8} {row['seconds']:6.1f} {memory:>5} {parity:>8}"
    return f"{start}  {row.get('reason', '')[:180]}"


def _child(arguments: argparse.Namespace) -> None:
    from cnntk.runtime.errors import CnntkError

    row: dict[str, Any] = {"result": "ok"}
    try:
        with tempfile.TemporaryDirectory() as folder:
            row["parity"] = WAYS[arguments.way](arguments.one, Path(folder))
    except CnntkError as error:
        row = {"result": "refused", "reason": f"{type(error).__name__}: {' '.join(str(error).split())}"}
    except Exception as error:  # a bug in cnntk or torch is a row as well, and called by its name
        row = {"result": "crashed", "reason": f"{type(error).__name__}: {' '.join(str(error).split())}"}
    row["gib"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20), 2)
    print(json.dumps(row))


def _export(name: str, folder: Path) -> float:
    from cnntk.exporters import export

    report = export(name, folder / "network.onnx", random=True, force=True)
    return max(p.onnx_error / p.bound if p.bound else 0.0 for p in report.parity)


def _capture(name: str, folder: Path) -> None:
    from cnntk.exporters.capture import capture
    from cnntk.exporters.options import ExportOptions
    from cnntk.exporters.sources import open_source

    capture(open_source(name, ExportOptions(random=True)), folder)


def _torch(name: str, folder: Path) -> None:
    import torch

    from cnntk.exporters.capture import example_inputs
    from cnntk.exporters.options import ExportOptions
    from cnntk.exporters.sources import open_source

    source = open_source(name, ExportOptions(random=True))
    shapes = tuple({0: torch.export.Dim("N")} for _ in source.inputs)
    torch.onnx.export(
        source.module,
        example_inputs(source.inputs),
        folder / "network.onnx",
        dynamic_shapes=shapes,
        dynamo=True,
    )


WAYS: dict[str, Callable[[str, Path], float | None]] = {
    "export": _export,
    "capture": _capture,
    "torch": _torch,
}

if __name__ == "__main__":
    main()
