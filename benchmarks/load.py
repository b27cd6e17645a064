"""How long a model takes to load: `Engine` against a bare InferenceSession, and from a cache.

python benchmarks/load.py [MODEL...]      # by default the LeNet that ships with cnntk, and a random VGG-11

The ways in turn, round by round, one thread each; medians. The bars: at most 5 ms over the bare session for
LeNet, at most 3 % for VGG-11. What an engine does more: SHA-256 of the file (of a large one while onnxruntime
loads it), the spec, and the search for weights outside of the file.
"""

from __future__ import annotations

import functools
import gc
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import onnxruntime
from common import in_turn, options, paired, print_table, row

from cnntk.runtime import Engine
from cnntk.shipped import shipped_model

BARE = "bare session"


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("models", nargs="*", type=Path)
    args = parser.parse_args()
    print("One thread; the ways in turn, round by round, from a file that is in the system's cache.\n")
    with tempfile.TemporaryDirectory() as folder:
        models = args.models or [Path(shipped_model()), *([] if args.quick else [vgg11(folder)])]
        print_table(r for model in models for r in rows(model, folder, 2 if args.quick else None))


def vgg11(folder: str) -> Path:
    from cnntk.exporters import export

    export("vgg11", target := Path(folder) / "vgg11.onnx", random=True)
    return target


def rows(model: Path, cache: str, rounds: int | None) -> Iterator[tuple[str, ...]]:
    """One for each way to load, of as many rounds as fit into about a minute."""
    ways: dict[str, Callable[[], object]] = {
        BARE: lambda: bare(model),
        "Engine": lambda: Engine(model, threads=1),
        "Engine, cached": lambda: Engine(model, threads=1, cache=cache),
        "Engine, cached, shared": lambda: Engine(model, threads=1, cache=cache, share_weights=True),
    }
    calls = {name: functools.partial(took_ms, way) for name, way in ways.items()}
    slowest = max(in_turn(calls, 1)[BARE])  # fills the caches, too
    times = in_turn(calls, rounds or max(6, min(300, round(15e3 / slowest))))
    for name in list(ways)[1:]:
        yield row(f"{model.stem}, {name}", BARE, paired(times[BARE], times[name]))


def bare(model: Path) -> object:
    """What a user would write without cnntk."""
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model, settings, providers=["CPUExecutionProvider"])


def took_ms(load: Callable[[], object]) -> float:
    """What was loaded is let go outside of them."""
    gc.collect()
    start = time.perf_counter()
    model_loaded = load()
    ms = 1e3 * (time.perf_counter() - start)
    del model_loaded
    return ms


if __name__ == "__main__":
    main()
