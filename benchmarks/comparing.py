"""Whether `compare` tells a model from a slower one, and not from itself: on this machine, with its noise.

python benchmarks/comparing.py [MODEL] [--seconds 10] [--rounds 20]

The slower model is the same one that then waits busily for 5 % of its median run, measured just before. "the
same engine" is compared with itself; "another engine" is the same file, loaded twice.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Callable

import numpy as np

from cnntk.measuring.comparison import Comparison, compare
from cnntk.measuring.surroundings import meanwhile, surroundings
from cnntk.measuring.trace import record
from cnntk.runtime import Engine
from cnntk.runtime.trial import example_inputs
from cnntk.shipped import shipped_model

Call = Callable[[], object]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", default=str(shipped_model()))
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--rounds", type=int, default=20)
    asked = parser.parse_args()
    pairs: dict[str, Callable[[], tuple[Call, Call]]] = {
        "the same engine": lambda: same(asked.model),
        "another engine": lambda: (running(asked.model), running(asked.model)),
        "5 % slower": lambda: slower(asked.model, 0.05),
    }
    print(f"{asked.model}, {asked.seconds:g} s a comparison\n")
    print(f"{'second':16} {'ratio':>6} {'95 % interval':>17} {'pairs':>5} {'others':>6}  verdict")
    counts = {name: Counter[str]() for name in pairs}
    for _ in range(asked.rounds):
        for name, made in pairs.items():
            before = surroundings()
            found = compare(*made(), seconds=asked.seconds)
            others = meanwhile(before, surroundings()).others
            counts[name][found.verdict] += 1
            print(row(name, found, others), flush=True)
    print()
    for name, counted in counts.items():
        print(f"{name:16} {', '.join(f'{word}: {count}' for word, count in counted.most_common())}")


def same(model: str) -> tuple[Call, Call]:
    call = running(model)
    return call, call


def slower(model: str, share: float) -> tuple[Call, Call]:
    """A model, and the same one that takes longer by a share."""
    call = running(model)
    record(call, seconds=0.5)
    wait_ns = int(np.median(record(call, seconds=0.5).latencies_ms) * 1e6 * share)
    clock = time.perf_counter_ns

    def waiting() -> None:
        call()
        end = clock() + wait_ns
        while clock() < end:
            pass

    return call, waiting


def running(model: str) -> Call:
    engine = Engine(model)
    inputs = example_inputs(engine.inputs, 1, engine.image_sizes)
    return lambda: engine.run(inputs)


def row(name: str, found: Comparison, others: float | None) -> str:
    interval = f"{found.low:.4f} to {found.high:.4f}"
    busy = "" if others is None else f"{others * 100:.0f} %"
    return f"{name:16} {found.ratio:6.4f} {interval:>17} {found.pairs:5} {busy:>6}  {found.verdict}"


if __name__ == "__main__":
    main()
