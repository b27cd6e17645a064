"""What starting costs: the command line over click, a first answer over onnxruntime and Pillow by hand.

python benchmarks/startup.py
"""

from __future__ import annotations

import functools
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import duration, in_turn, options, paired, print_table, row
from PIL import Image

from cnntk.benchmark.cold_start import measure_cold_start
from cnntk.benchmark.workload import Workload
from cnntk.shipped import shipped_model

BY_HAND = """
import numpy, onnxruntime, sys
from PIL import Image
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
pixels = numpy.asarray(Image.open(sys.argv[2]).convert("L"))[None, :, :, None]
print(session.run(["probabilities"], {"image": pixels})[0].argmax())
"""
CLASSIFIER = """
import sys
from cnntk.runtime import Classifier
print(Classifier(sys.argv[1])(sys.argv[2]).best.label)
"""


def main() -> None:
    rounds = 2 if options(__doc__).parse_args().quick else 25
    print(f"Whole processes, the interpreter's start included, in turn, {rounds} rounds.\n")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        Image.new("L", (28, 28), 9).save(image := str(Path(folder) / "image.png"))
        for (what, baseline), commands in pairs(str(shipped_model()), image).items():
            calls = dict(
                zip((what, baseline), (functools.partial(took_ms, c) for c in commands), strict=True)
            )
            times = in_turn(calls, rounds)
            for clock, suffix in enumerate(("", ", CPU time")):
                first, second = ([took[clock] for took in times[name]] for name in (baseline, what))
                rows.append(row(what + suffix, baseline, paired(first, second)))
    print_table(rows)
    result = measure_cold_start(Workload(shipped_model()), processes=rounds)
    print("Cold start of the LeNet that ships with cnntk, medians of as many processes:\n")
    parts = (result.import_ms, result.session_ms, result.first_run_ms, result.total_ms)
    print_table([[duration(ms) for ms in parts]], ("imports", "session", "first run", "in all"))


def pairs(model: str, image: str) -> dict[tuple[str, str], tuple[list[str], list[str]]]:
    """Commands of two processes by their names; of the shipped LeNet, from nothing to its first answer."""
    by_hand = ["-c", BY_HAND, model, image]
    return {
        ("cnntk --help", "import click"): (["-m", "cnntk", "--help"], ["-c", "import click"]),
        ("Classifier, one PNG", "onnxruntime, Pillow and numpy by hand"): (
            ["-c", CLASSIFIER, model, image],
            by_hand,
        ),
        ("cnntk infer, one PNG", "onnxruntime, Pillow and numpy by hand"): (
            ["-m", "cnntk", "infer", "-m", model, image],
            by_hand,
        ),
    }


def took_ms(arguments: list[str]) -> tuple[float, float]:
    """Time of a process, and CPU time of all its threads, which depends less on what else runs."""
    start, cpu_start = time.perf_counter(), children_cpu_s()
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
    return 1e3 * (time.perf_counter() - start), 1e3 * (children_cpu_s() - cpu_start)


def children_cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
