"""What starting costs: the command line over click, the runtime over onnxruntime and Pillow.

python benchmarks/startup.py
"""

from __future__ import annotations

import functools
import subprocess
import sys
import time

from common import duration, in_turn, options, paired, print_table, row

from cnntk.benchmark.cold_start import measure_cold_start
from cnntk.benchmark.workload import Workload
from cnntk.shipped import shipped_model

PAIRS = {
    ("cnntk --help", "import click"): (["-m", "cnntk", "--help"], ["-c", "import click"]),
    ("import cnntk.runtime", "import onnxruntime and Pillow"): (
        ["-c", "from cnntk.runtime import Classifier, Engine"],
        ["-c", "import onnxruntime, PIL.Image"],
    ),
}


def main() -> None:
    rounds = 2 if options(__doc__).parse_args().quick else 25
    print(f"Whole processes, the interpreter's start included, in turn, {rounds} rounds.\n")
    rows = []
    for (what, baseline), commands in PAIRS.items():
        calls = dict(zip((what, baseline), (functools.partial(took_ms, c) for c in commands), strict=True))
        times = in_turn(calls, rounds)
        rows.append(row(what, baseline, paired(times[baseline], times[what])))
    print_table(rows)
    result = measure_cold_start(Workload(shipped_model()), processes=rounds)
    print("Cold start of the LeNet that ships with cnntk, medians of as many processes:\n")
    parts = (result.import_ms, result.session_ms, result.first_run_ms, result.total_ms)
    print_table([[duration(ms) for ms in parts]], ("imports", "session", "first run", "in all"))


def took_ms(arguments: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
    return 1e3 * (time.perf_counter() - start)


if __name__ == "__main__":
    main()
