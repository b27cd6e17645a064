"""What starting costs: the command line over click, the runtime over onnxruntime and Pillow.

python benchmarks/start_up.py
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

ROUNDS = 15

PAIRS = {
    "cnntk --help over import click": (
        ["-m", "cnntk", "--help"],
        ["-c", "import click"],
    ),
    "import cnntk.runtime over onnxruntime and Pillow": (
        ["-c", "from cnntk.runtime import Classifier, Engine"],
        ["-c", "import onnxruntime, PIL.Image"],
    ),
}


def main() -> None:
    for title, (ours, base) in PAIRS.items():
        pairs = [(seconds(ours), seconds(base)) for _ in range(ROUNDS)]
        more = statistics.median(a - b for a, b in pairs) * 1e3
        a, b = (statistics.median(column) * 1e3 for column in zip(*pairs, strict=True))
        print(f"{title}: {a:.0f} ms against {b:.0f} ms, median of the differences {more:+.0f} ms")


def seconds(arguments: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
