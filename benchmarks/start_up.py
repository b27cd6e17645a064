"""What starting costs: the command line over click, the runtime over onnxruntime and Pillow.

python benchmarks/start_up.py
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

from cnntk.runtime.timing import Race

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
        found = Race.of([[1e3 * s for s in column] for column in zip(*pairs, strict=True)])
        print(
            f"{title}: {found.first_ms:.0f} ms against {found.second_ms:.0f} ms, median of the differences "
            f"{more:+.0f} ms, ratio {found.ratio:.2f} [{found.low:.2f}, {found.high:.2f}]"
        )


def seconds(arguments: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
