"""Whether `compare` tells a model from a slower one, and not from itself: on this machine, with its noise.

python benchmarks/comparing.py [MODEL] [--seconds 20] [--rounds 10]

The slower model is the same one that then waits busily for 5 % of its median run, measured just before. "the
same engine" is compared with itself; "another engine" is the same file, loaded twice. Each comparison is told
on standard error as it comes.
"""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from common import in_turn, options, print_table

from cnntk.benchmark.compare import Comparison, compare_interleaved
from cnntk.benchmark.statistics.samples import time_runs
from cnntk.benchmark.statistics.system_load import load_between, read_counters
from cnntk.runtime import Engine
from cnntk.runtime.example_inputs import example_inputs
from cnntk.shipped import shipped_model

Call = Callable[[], object]

WORDS = ("no difference", "slower", "faster")


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("model", nargs="?", default=str(shipped_model()))
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--rounds", type=int, default=10)
    args = parser.parse_args()
    rounds, seconds = (1, 0.5) if args.quick else (args.rounds, args.seconds)
    pairs: dict[str, Callable[[], tuple[Call, Call]]] = {
        "the same engine": lambda: same(args.model),
        "another engine": lambda: (running(args.model), running(args.model)),
        "5 % slower": lambda: slower(args.model, 0.05),
    }
    calls = {name: functools.partial(measure, name, make_pair, seconds) for name, make_pair in pairs.items()}
    result = in_turn(calls, rounds)
    stem = Path(args.model).stem
    print(f"{stem} compared with others, {rounds} comparisons with each, {seconds:g} s a comparison:\n")
    print_table(map(summary, result, result.values()), ("compared with", *WORDS, "ratio: median, and all"))


def measure(name: str, make_pair: Callable[[], tuple[Call, Call]], seconds: float) -> Comparison:
    before = read_counters()
    result = compare_interleaved(*make_pair(), seconds=seconds)
    others = load_between(before, read_counters()).other_cpu_share
    busy = "" if others is None else f", others {others:.0%}"
    ratio = f"{result.ratio:.4f} [{result.low:.4f}, {result.high:.4f}]"
    print(f"{name}: {ratio} of {result.pairs} pairs{busy}: {result.verdict}", file=sys.stderr)
    return result


def same(model: str) -> tuple[Call, Call]:
    call = running(model)
    return call, call


def slower(model: str, share: float) -> tuple[Call, Call]:
    """A model, and the same one that takes longer by a share."""
    call = running(model)
    time_runs(call, seconds=0.5)
    wait_ns = int(np.median(time_runs(call, seconds=0.5).latencies_ms) * 1e6 * share)
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


def summary(name: str, result: list[Comparison]) -> tuple[str, ...]:
    counts = (str(sum(one.verdict == word for one in result)) for word in WORDS)
    ratios = [one.ratio for one in result]
    return name, *counts, f"{np.median(ratios):.3f}, {min(ratios):.3f} to {max(ratios):.3f}"


if __name__ == "__main__":
    main()
