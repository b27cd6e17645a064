"""Which networks can be exported: one small variant of each family of timm, torchvision and transformers.

    python benchmarks/coverage.py                          # all, by cnntk and by torch.onnx.export alone
    python benchmarks/coverage.py --way torch --seeds 3    # torch.onnx.export alone, with weights of 3 seeds
    python benchmarks/coverage.py timm:resnet18 torchvision.models:swin_t transformers:vit lenet

Weights are trained-like (`trained_like.py`); nothing is downloaded. torch.onnx.export counts as right where
the outputs of its file for batches of 2 and 3 images equal torch's within 1e-3 of the largest output. Each
export has a process of its own, one at a time, with limits on time and memory. Its row is printed when it
ends: the result, seconds, GiB, the error (cnntk: the largest difference from float64 as a share of the limit;
torch: the largest difference as a share of the largest output), and the reason where it is not right.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

GIB = 1 << 30

# What memory that is not there looks like: Python's way, and torch's and onnxruntime's.
OUT_OF_MEMORY = ("MemoryError", "allocate memory", "bad_alloc", "BFCArena")

# Largest difference of torch.onnx.export's file from torch, as a share of the largest output.
RIGHT = 1e-3

# fmt: off
TORCHVISION = (
    "alexnet", "convnext_tiny", "densenet121", "efficientnet_b0", "efficientnet_v2_s", "googlenet",
    "inception_v3", "maxvit_t", "mnasnet0_5", "mobilenet_v2", "mobilenet_v3_small", "regnet_x_400mf",
    "regnet_y_400mf", "resnet18", "resnext50_32x4d", "shufflenet_v2_x0_5", "squeezenet1_1", "swin_t",
    "swin_v2_t", "vgg11", "vgg11_bn", "vit_b_32", "wide_resnet50_2",
)
# fmt: on
"""One small variant of each classifier of torchvision."""


def main() -> None:
    arguments = _arguments()
    if arguments.one:
        _child(arguments)
        return
    rows: list[dict[str, Any]] = []
    print(f"{'network':44} {'seed':>4} {'way':6} {'result':8} {'s':>6} {'GiB':>5} {'error':>8}  reason")
    for row in _rows(arguments):
        rows.append(row)
        print(_line(row), flush=True)
        if arguments.json:
            with Path(arguments.json).open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
    print(_summary(rows))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("networks", nargs="*", help="as cnntk export takes them; by default all")
    parser.add_argument("--way", choices=("both", *WAYS), default="both")
    parser.add_argument("--seeds", type=int, default=1, help="weights of each network")
    parser.add_argument("--timeout", type=float, default=400.0, help="seconds for each export")
    parser.add_argument("--memory", type=float, default=14.0, help="GiB of address space for each export")
    parser.add_argument("--json", help="file to which each row is added as a line")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    return parser.parse_args()


def _rows(arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    ways = ("cnntk", "torch") if arguments.way == "both" else (arguments.way,)
    for name in arguments.networks or _all():
        for seed in range(arguments.seeds):
            with tempfile.TemporaryDirectory() as folder:
                for way in ways:
                    yield {
                        "network": name,
                        "seed": seed,
                        "way": way,
                        **_run(name, seed, way, folder, arguments),
                    }


def _all() -> list[str]:
    from cnntk.models import zoo
    from cnntk.runtime.errors import MissingDependency

    names = list(zoo.names())
    for package, listed in (("timm", _timm), ("torchvision", _torchvision), ("transformers", _transformers)):
        try:
            names += listed()
        except (ImportError, MissingDependency):
            print(f"{package} is not installed: left out", file=sys.stderr)
    return names


def _timm() -> list[str]:
    """The network of each module of timm with the fewest weights, without its test networks."""
    import torch

    from cnntk.exporters.sources._torchvision import import_torchvision

    import_torchvision("timm")
    import timm

    names = []
    for family in timm.list_modules():
        sizes = {}
        for name in timm.list_models(module=family, exclude_filters="test_*"):
            with torch.device("meta"):
                network = timm.create_model(name)
            sizes[name] = (network.num_classes == 0, sum(p.numel() for p in network.parameters()))
        names.append(f"timm:{min(sizes, key=sizes.__getitem__)}")
    return names


def _torchvision() -> list[str]:
    importlib.metadata.version("torchvision")  # raises an ImportError where it is not installed
    return [f"torchvision.models:{name}" for name in TORCHVISION]


def _transformers() -> list[str]:
    from transformers.models.auto import modeling_auto

    return [f"transformers:{name}" for name in modeling_auto.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES]


def _run(name: str, seed: int, way: str, folder: str, arguments: argparse.Namespace) -> dict[str, Any]:
    command = [sys.executable, __file__, "--one", name, str(seed), folder, "--way", way]
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
    error = "" if row.get("error") is None else format(row["error"], ".2g")
    memory = "" if row.get("gib") is None else format(row["gib"], ".1f")
    start = f"{row['network']:44} {row['seed']:4} {row['way']:6} {row['result']:8} {row['seconds']:6.1f}"
    return f"{start} {memory:>5} {error:>8}  {row.get('reason', '')[:300]}"


def _summary(rows: list[dict[str, Any]]) -> str:
    """How many networks each way gets right with all seeds, and how many of torch's cnntk gets right, too."""
    right: dict[str, set[str]] = {}
    for way in dict.fromkeys(row["way"] for row in rows):
        wrong = {row["network"] for row in rows if row["way"] == way and row["result"] != "ok"}
        right[way] = {row["network"] for row in rows if row["way"] == way} - wrong
    text = f"{len({row['network'] for row in rows})} networks"
    text += "".join(f"; {way} gets {len(names)} right" for way, names in right.items())
    if {"cnntk", "torch"} <= right.keys():
        text += f"; of torch's cnntk gets {len(right['cnntk'] & right['torch'])} right"
    return text


def _child(arguments: argparse.Namespace) -> None:
    from cnntk.runtime.errors import CnntkError

    name, seed, folder = arguments.one
    row: dict[str, Any] = {"result": "ok"}
    try:
        row["error"] = WAYS[arguments.way](name, int(seed), Path(folder))
        if arguments.way == "torch" and not row["error"] <= RIGHT:
            row |= {"result": "wrong", "reason": f"differs by {row['error']:.2g} of the largest output"}
    except CnntkError as error:
        row = {"result": "refused", "reason": f"{type(error).__name__}: {' '.join(str(error).split())}"}
    except Exception as error:  # a bug in cnntk or torch is a row as well, and called by its name
        row = {"result": "crashed", "reason": f"{type(error).__name__}: {' '.join(str(error).split())}"}
    row["gib"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20), 2)
    print(json.dumps(row))


def _weights(name: str, seed: int, folder: Path) -> Path:
    """Trained-like weights of the network, made by the first way and read by the second."""
    from trained_like import make_trained_like, photo_batch

    from cnntk.exporters.options import ExportOptions
    from cnntk.exporters.sources import open_source
    from cnntk.models.weights import write_weights

    path = folder / "weights.safetensors"
    if not path.exists():
        source = open_source(name, ExportOptions(random=True, seed=seed))
        assert source.module is not None
        make_trained_like(source.module, photo_batch(source.inputs[0], 6, seed), seed)
        write_weights(source.module, path)
    return path


def _export(name: str, seed: int, folder: Path) -> float:
    from cnntk.exporters import export

    report = export(name, folder / "network.onnx", weights=_weights(name, seed, folder), force=True)
    return max(p.onnx_error / p.bound if p.bound else 0.0 for p in report.parity)


def _capture(name: str, seed: int, folder: Path) -> None:
    from cnntk.exporters.capture import capture
    from cnntk.exporters.options import ExportOptions
    from cnntk.exporters.sources import open_source

    capture(open_source(name, ExportOptions(random=True, seed=seed)))


def _torch(name: str, seed: int, folder: Path) -> float:
    """Returns the file's largest difference from torch at batch 2 and 3, as a share of the largest output."""
    import onnxruntime
    import torch
    from trained_like import photo_batch

    from cnntk.exporters.capture import example_inputs
    from cnntk.exporters.options import ExportOptions
    from cnntk.exporters.sources import open_source
    from cnntk.exporters.sources.console import suppress_output

    source = open_source(name, ExportOptions(weights=_weights(name, seed, folder)))
    path = folder / "torch.onnx"
    shapes = tuple({0: torch.export.Dim("N")} for _ in source.inputs)
    assert source.module is not None
    with suppress_output():
        torch.onnx.export(
            source.module,
            example_inputs(source.inputs),
            path,
            dynamic_shapes=shapes,
            dynamo=True,
            verbose=False,
        )
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    worst = 0.0
    for size in (2, 3):
        images = photo_batch(source.inputs[0], size, seed + 1000)
        with torch.no_grad():
            expected = [tensor.numpy() for tensor in source.module(images).values()]
        actual = session.run(None, {session.get_inputs()[0].name: images.numpy()})
        for answer, truth in zip(actual, expected, strict=True):
            assert answer.shape == truth.shape, f"shape {answer.shape}, expected {truth.shape}"
            difference = abs(answer.astype("f8") - truth).max() / max(abs(truth).max(), 1e-30)
            worst = max(worst, float(difference)) if difference == difference else float("inf")
    return worst


WAYS: dict[str, Callable[[str, int, Path], float | None]] = {
    "cnntk": _export,
    "capture": _capture,
    "torch": _torch,
}

if __name__ == "__main__":
    main()
